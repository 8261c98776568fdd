//! What no machine has room for is refused at once, and what is printed may go nowhere.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../undiffuse/tests/fixtures/pipelines/ddim-classes")
}

fn undiffuse(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_undiffuse"));
    command.args(args).current_dir(folder).env("UNDIFFUSE_CACHE", folder.join("cache")).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A photograph's worth of a data set.
fn photos(folder: &Path) {
    std::fs::create_dir(folder.join("photos")).unwrap();
    for k in 0..8 {
        let image = undiffuse::data::Image::new(8, 8, 1, (0..64).map(|i| (i * k % 251) as u8).collect());
        let png = undiffuse::data::encode_png(&image, &[]).unwrap();
        std::fs::write(folder.join(format!("photos/{k}.png")), png).unwrap();
    }
}

#[test]
fn sizes_are_priced_before_memory_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    photos(folder);
    let model = model();
    let model = model.to_str().unwrap();
    let train = ["train", "--data", "photos", "--images", "8", "--plain"];
    let cases: [(&[&str], &[&str]); 9] = [
        (&["sample", model, "-n", "18446744073709551615"], &["-n 18446744073709551615", "memory"]),
        (&["sample", model, "-n", "1000000000000"], &["-n 1000000000000", "needs about", "TB of memory"]),
        (&["sample", model, "--size", "4294967296x4294967296"], &["--size", "4294967296"]),
        (&["sample", model, "--size", "1000000"], &["--size", "1000000", "memory"]),
        (&["sample", model, "--threads", "5000"], &["--threads 5000", "from 1 to"]),
        (&["eval", model, "--data", "photos", "-n", "1000000000000"], &["-n 1000000000000", "at most"]),
        (&["data", "photos", "--size", "4294967296"], &["size", "4294967296"]),
        (&[&train[..], &["--set", "train.batch=100000000"]].concat(), &["train.batch = 100000000"]),
        (
            &[&train[..], &["--set", "train.batch=1000000"]].concat(),
            &["1000000 pictures", "memory", "train.accumulate"],
        ),
    ];
    for (args, words) in cases {
        let began = Instant::now();
        let output = undiffuse(folder, args).output().unwrap();
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {err}");
        assert!(began.elapsed() < Duration::from_secs(20), "{args:?}");
        assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
        for word in words {
            assert!(err.contains(word), "{args:?}: `{word}` is missing in {err}");
        }
    }
    let made: Vec<_> = ["samples", "eval", "runs/photos/config.toml"].map(|made| folder.join(made).exists()).into();
    assert_eq!(made, [false; 3]);
}

/// A batch is as large as fits; results do not depend on it.
#[test]
fn a_batch_that_is_too_large_is_split() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let args = ["sample", model.to_str().unwrap(), "-n", "3", "--steps", "2", "--batch", "18446744073709551615"];
    let output = undiffuse(folder.path(), &args).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

const PRINTING: [&[&str]; 4] = [&["plan", "--list"], &["--help"], &["data", "photos"], &["inspect", "photos/1.png"]];

fn quiet(output: &Output, args: &[&str]) {
    let err = text(&output.stderr);
    assert!(!err.contains("panicked"), "{args:?}: {err}");
}

/// A full disk behind standard output is a failure that is told; nobody panics.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_behind_standard_output_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    photos(folder);
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let model = model();
    let sample: &[&str] = &["sample", model.to_str().unwrap(), "-n", "1", "--steps", "2"];
    for args in PRINTING.into_iter().chain([sample]) {
        let output = undiffuse(folder, args).stdout(full()).output().unwrap();
        quiet(&output, args);
        if args != ["--help"] {
            assert_eq!(output.status.code(), Some(1), "{args:?}");
            assert!(text(&output.stderr).contains("cannot write to standard output"), "{args:?}");
        }
        // Neither is one behind standard error.
        let output = undiffuse(folder, args).stderr(full()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {:?}", output.status);
    }
    assert_eq!(std::fs::read_dir(folder.join("samples/ddim-classes")).unwrap().count(), 1);
}

/// A reader that has gone ends nothing with an error.
#[test]
#[cfg(unix)]
fn a_reader_that_is_gone_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    photos(folder);
    let model = model();
    let sample: &[&str] = &["sample", model.to_str().unwrap(), "-n", "1", "--steps", "2"];
    for args in PRINTING.into_iter().chain([sample]) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = undiffuse(folder, args).stdout(writer).output().unwrap();
        quiet(&output, args);
        assert!(output.status.success(), "{args:?}: {:?} {}", output.status, text(&output.stderr));
    }
}
