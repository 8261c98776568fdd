//! Rows of numbers that are kept beside a dataset: made once, whole or not at all.

use std::{fs, io};

use undiffuse_data::{Rows, Take};

const ROWS: [&[f32]; 4] = [&[1.0, -2.5], &[], &[0.1, f32::MAX, -0.0], &[7.0]];

fn make(take: &mut Take) -> io::Result<()> {
    ROWS.iter().try_for_each(|row| take(row))
}

fn never(_: &mut Take) -> io::Result<()> {
    Err(io::Error::other("it was made already"))
}

fn all(rows: &Rows) -> Vec<Vec<f32>> {
    (0..rows.len()).map(|i| rows.get(i)).collect()
}

#[test]
fn rows_are_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deep/some.rows");
    let expected: Vec<Vec<f32>> = ROWS.iter().map(|row| row.to_vec()).collect();
    assert_eq!(all(&Rows::made(None, make).unwrap()), expected);
    assert_eq!(all(&Rows::made(Some(&file), make).unwrap()), expected);
    assert_eq!(all(&Rows::made(Some(&file), never).unwrap()), expected);
    assert!(Rows::made(Some(&folder.path().join("other.rows")), never).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "what fails leaves nothing");
}

#[test]
fn damaged_files_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("some.rows");
    Rows::made(Some(&file), make).unwrap();
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        broken[at] ^= 4;
        for bytes in [&broken[..], &whole[..at]] {
            fs::write(&file, bytes).unwrap();
            let rows = Rows::made(Some(&file), make).unwrap();
            assert_eq!(rows.get(2), ROWS[2], "{at}");
            assert_eq!(fs::read(&file).unwrap(), whole);
        }
    }
}
