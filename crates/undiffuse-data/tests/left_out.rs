//! What lies among the data and is no data, or cannot be reached: left out, and never without a word.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use tempfile::TempDir;
use undiffuse_data::{Cache, Dataset, Image, Options, contact_sheet, encode_png, gif, sheet_mark};
use zip::write::SimpleFileOptions;

fn image(seed: u32) -> Image {
    Image::new(8, 8, 3, (0..8 * 8 * 3u32).map(|i| (i * (seed + 3) * 7 % 256) as u8).collect())
}

fn picture(seed: u32) -> Vec<u8> {
    encode_png(&image(seed), &[]).unwrap()
}

fn sample(seed: u32) -> Vec<u8> {
    encode_png(&image(seed), &[("undiffuse".into(), "{\"seed\": 1}".into())]).unwrap()
}

fn open(path: &Path) -> Dataset {
    Dataset::open(path, &Options { cache: Cache::Off, ..Options::default() }).unwrap_or_else(|e| panic!("{e}"))
}

fn names(data: &Dataset) -> Vec<&str> {
    (0..data.len()).map(|i| data.name(i)).collect()
}

/// The only warning that begins so.
fn warning(data: &Dataset, begin: &str) -> String {
    let warnings = data.warnings();
    let found: Vec<_> = warnings.iter().filter(|w| w.starts_with(begin)).collect();
    assert_eq!(found.len(), 1, "`{begin}`: {warnings:?}");
    found[0].clone()
}

type Files = Vec<(&'static str, Vec<u8>)>;

fn folder(files: &Files) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    folder
}

/// The same files as a folder, a zip and a tar.
fn everywhere(files: &Files, check: impl Fn(&Dataset)) {
    let tree = folder(files);
    check(&open(tree.path()));
    let packed = tempfile::tempdir().unwrap();
    let (zip, tar) = (packed.path().join("x.zip"), packed.path().join("x.tar"));
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    fs::write(&zip, writer.finish().unwrap().into_inner()).unwrap();
    fs::write(&tar, builder.into_inner().unwrap()).unwrap();
    check(&open(&zip));
    check(&open(&tar));
}

#[test]
fn our_own_runs_models_reports_and_sheets() {
    let sheet = |what: &str| encode_png(&Image::filled(300, 90, &[7]), &[sheet_mark(what)]).unwrap();
    let files: Files = vec![
        ("a.png", picture(1)),
        ("b.png", picture(2)),
        ("photos-contact.png", sheet("contact sheet")),
        ("renamed.png", sheet("grid")),
        ("b-diffuse.gif", gif(&[image(5), image(6)], 80).unwrap()),
        ("runs/photos/config.toml", b"".to_vec()),
        ("runs/photos/metrics.jsonl", b"".to_vec()),
        ("runs/photos/samples/000001.png", picture(3)),
        ("runs/photos/model/model_index.json", b"{}".to_vec()),
        ("eval/photos/report.json", b"{}".to_vec()),
        ("eval/photos/report.html", b"".to_vec()),
        ("eval/photos/x.png", picture(4)),
    ];
    everywhere(&files, |data| {
        // The size is that of the pictures: sheets have no say.
        assert_eq!((names(data), data.width(), data.classes().len()), (vec!["a.png", "b.png"], 8, 0));
        assert!(data.skipped().is_empty());
        let folders = warning(data, "left out 2 folders that undiffuse wrote");
        assert!(folders.ends_with("(first: the report eval/photos), with 2 images"), "{folders}");
        let sheets = warning(data, "left out 3 sheets of pictures that undiffuse drew");
        assert!(
            sheets.contains("(first: b-diffuse.gif)") || sheets.contains("(first: photos-contact.png)"),
            "{sheets}"
        );
    });
}

#[test]
fn a_contact_sheet_in_the_data_changes_nothing() {
    let tree = folder(&vec![("a.png", picture(1)), ("b.png", picture(2))]);
    let before = open(tree.path());
    let sheet = encode_png(&contact_sheet(&before), &[sheet_mark("contact sheet")]).unwrap();
    fs::write(tree.path().join("sheet.png"), sheet).unwrap();
    assert_eq!(open(tree.path()).fingerprint(), before.fingerprint());
}

#[test]
fn samples_are_data_where_they_are_meant_to_be() {
    let samples = folder(&vec![("0.png", sample(1)), ("1.png", sample(2)), ("2.png", sample(3))]);
    let data = open(samples.path());
    assert_eq!(data.len(), 3);
    assert!(!data.warnings().iter().any(|w| w.starts_with("made by a model")), "{:?}", data.warnings());
    // The samples of a run, given as what to look at.
    let run = folder(&vec![
        ("config.toml", vec![]),
        ("metrics.jsonl", vec![]),
        ("samples/0.png", picture(1)),
        ("samples/1.png", picture(2)),
    ]);
    assert_eq!(open(&run.path().join("samples")).len(), 2);
    assert_eq!(open(run.path()).len(), 2);
    // A few among photographs are trained on as well, and said to be.
    let mixed = folder(&vec![("a.png", picture(1)), ("b.png", picture(2)), ("out/0.png", sample(3))]);
    let data = open(mixed.path());
    assert_eq!(data.len(), 3);
    assert!(warning(&data, "made by a model").ends_with("1 of 3 images (first: out/0.png)"));
}

#[test]
fn hidden_folders_are_counted_and_named() {
    let files: Files = vec![
        (".5/a.png", picture(1)),
        (".5/b.png", picture(2)),
        (".75/a.png", picture(3)),
        ("1/a.png", picture(4)),
        ("2/a.png", picture(5)),
        ("2/._a.png", b"resource fork".to_vec()),
        (".git/HEAD", b"ref".to_vec()),
    ];
    everywhere(&files, |data| {
        assert_eq!((names(data), data.classes()), (vec!["1/a.png", "2/a.png"], &["1".to_owned(), "2".to_owned()][..]));
        let told = warning(data, "left out 3 images under names that begin with a dot");
        assert!(told.contains(": .5 (2), .75 (1). "), "{told}");
    });
}

#[test]
fn what_is_left_out_is_told_anew_when_nothing_is_decoded() {
    let (tree, cache) = (folder(&vec![("a.png", picture(1)), ("b.png", picture(2))]), tempfile::tempdir().unwrap());
    let options = Options { cache: Cache::Dir(cache.path().to_owned()), ..Options::default() };
    let open = || Dataset::open(tree.path(), &options).unwrap();
    assert!(!open().is_from_cache() && open().is_from_cache());
    fs::create_dir(tree.path().join(".5")).unwrap();
    fs::write(tree.path().join(".5/c.png"), picture(3)).unwrap();
    let data = open();
    assert!(data.is_from_cache());
    warning(&data, "left out 1 image under names that begin with a dot: .5 (1)");
    fs::remove_dir_all(tree.path().join(".5")).unwrap();
    assert!(!open().warnings().iter().any(|w| w.starts_with("left out")));
}

#[test]
fn captions_and_tables_that_are_not_used_are_told() {
    let files: Files =
        vec![("a.png", picture(1)), ("a.caption", b"one\tcat\x1b[2J\na cat".to_vec()), ("b.png", picture(2))];
    everywhere(&files, |data| {
        assert_eq!(data.captions(0).collect::<Vec<_>>(), ["one\tcat\u{1b}[2J", "a cat"]);
        assert!(warning(data, "captions, which 1 of 2 images have, are not trained on").contains("words yet"));
        let report = undiffuse_data::DataReport::new(data).to_string();
        assert!(report.contains(r#"captions     1 images, such as "one\tcat\u{1b}[2J""#), "{report}");
    });
    let made = tempfile::tempdir().unwrap();
    let mut writer = zip::ZipWriter::new(fs::File::create(made.path().join("x.zip")).unwrap());
    for seed in 1..3 {
        writer.start_file(format!("{seed}.png"), SimpleFileOptions::default()).unwrap();
        writer.write_all(&picture(seed)).unwrap();
    }
    writer.finish().unwrap();
    fs::write(made.path().join("metadata.jsonl"), "{\"file_name\": \"1.png\", \"text\": \"x\"}").unwrap();
    warning(&open(&made.path().join("x.zip")), "metadata.jsonl beside the archive is not read");
}

#[test]
fn classes_that_are_easily_mistaken_are_told() {
    let files: Files = vec![("Cats/a.png", picture(1)), ("cats/b.png", picture(2)), ("None/c.png", picture(3))];
    everywhere(&files, |data| {
        assert_eq!(data.classes(), ["Cats", "None", "cats"]);
        warning(data, "the classes `Cats` and `cats` differ only in upper and lower case");
        warning(data, "a class is called `None`");
    });
}

#[cfg(unix)]
#[test]
fn names_that_are_no_utf8_stay_apart() {
    use std::os::unix::ffi::OsStrExt;
    let tree = tempfile::tempdir().unwrap();
    for (i, class) in [&b"caf\xe9"[..], b"caf\xe8"].iter().enumerate() {
        let class = tree.path().join(std::ffi::OsStr::from_bytes(class));
        fs::create_dir(&class).unwrap();
        fs::write(class.join("a.png"), picture(i as u32)).unwrap();
    }
    assert_eq!(open(tree.path()).classes(), [r"caf\xe8", r"caf\xe9"]);
}

#[cfg(unix)]
#[test]
fn pipes_do_not_hold_anything_up() {
    let tree = folder(&vec![("a.png", picture(1)), ("b.png", picture(2))]);
    for name in ["c.png", "a.txt", "metadata.jsonl", "d"] {
        assert!(std::process::Command::new("mkfifo").arg(tree.path().join(name)).status().unwrap().success());
    }
    let data = open(tree.path());
    assert_eq!(data.len(), 2);
    assert_eq!((data.skipped()[0].name.as_str(), data.skipped().len()), ("c.png", 1));
    assert!(data.skipped()[0].reason.contains("a pipe"), "{:?}", data.skipped());
    for name in ["d", "c.png"] {
        let error = Dataset::open(&tree.path().join(name), &Options::default()).unwrap_err().to_string();
        assert!(error.contains("is a pipe, a socket or a device"), "{error}");
        assert!(Image::open(&tree.path().join(name), &Options::default()).is_err());
    }
}

#[cfg(unix)]
#[test]
fn links_in_circles_come_to_an_end() {
    let tree = folder(&vec![("a.png", picture(1)), ("b.png", picture(2))]);
    let folders: Vec<_> = (0..9).map(|i| tree.path().join(i.to_string())).collect();
    folders.iter().for_each(|folder| fs::create_dir(folder).unwrap());
    for (i, folder) in folders.iter().enumerate() {
        for (j, other) in folders.iter().enumerate().filter(|(j, _)| *j != i) {
            std::os::unix::fs::symlink(other, folder.join(j.to_string())).unwrap();
        }
    }
    let error = Dataset::open(tree.path(), &Options::default()).unwrap_err().to_string();
    assert!(error.contains("or lead in circles"), "{error}");
}
