//! Every kind of source, whole and damaged.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use undiffuse_data::source::SOURCES;
use undiffuse_data::{Cache, DataError, Dataset, Image, Limits, Options, encode_png};
use zip::write::SimpleFileOptions;

/// A small picture unlike any other of another seed.
fn picture(seed: u8) -> Vec<u8> {
    encode(seed, &[])
}

/// The same with words of its own.
fn titled(seed: u8, title: &str) -> Vec<u8> {
    encode(seed, &[("Title".to_owned(), title.to_owned())])
}

fn encode(seed: u8, texts: &[(String, String)]) -> Vec<u8> {
    let pixels = (0..8 * 8 * 3u32).map(|i| (i * (seed as u32 + 3) * 7 % 256) as u8).collect();
    encode_png(&Image::new(8, 8, 3, pixels), texts).unwrap()
}

fn options() -> Options {
    Options { cache: Cache::Off, ..Options::default() }
}

fn open(path: &Path) -> Result<Dataset, DataError> {
    Dataset::open(path, &options())
}

fn message(path: &Path) -> String {
    open(path).unwrap_err().to_string()
}

/// Files by name, the way each kind of source holds them.
type Files = Vec<(&'static str, Vec<u8>)>;

fn pets() -> Files {
    let table = "{\"file_name\": \"cat/a.png\", \"text\": [\"a cat\", \"one cat\"]}\n\
                 {\"file_name\": \"dog/c.png\", \"text\": \"a dög\"}\n";
    vec![
        (".hidden.png", b"no picture".to_vec()),
        ("cat/a.png", picture(1)),
        ("cat/b.png", picture(2)),
        ("cat/b.txt", b"line one\nline two".to_vec()),
        ("dog/c.png", titled(3, "not asked")),
        ("dog/deep/naïve 猫.png", titled(4, "a title")),
        ("dog/notes.md", b"ignored".to_vec()),
        ("__MACOSX/cat/a.png", b"resource fork".to_vec()),
        ("metadata.jsonl", table.as_bytes().to_vec()),
    ]
}

fn folder(files: &Files) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    folder
}

fn zip(files: &Files) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn tar(files: &Files) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Written directly, because `set_path` refuses names that lead out of the archive.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn put(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let file = folder.path().join(name);
    fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn a_folder_and_its_archives_are_the_same_dataset() {
    let made = tempfile::tempdir().unwrap();
    let tree = folder(&pets());
    let paths = [
        tree.path().to_path_buf(),
        put(&made, "pets.zip", &zip(&pets())),
        put(&made, "pets.tar", &tar(&pets())),
        put(&made, "pets.tgz", &gzip(&tar(&pets()))),
        put(&made, "wrong-ending.dat", &gzip(&tar(&pets()))),
    ];
    for (path, tag) in paths.iter().zip(["folder", "zip", "tar", "tar", "tar"]) {
        let dataset = open(path).unwrap();
        assert_eq!(dataset.source(), tag);
        assert_eq!((dataset.len(), dataset.channels(), dataset.width()), (4, 3, 8), "{path:?}");
        assert_eq!(dataset.classes(), ["cat", "dog"]);
        let names: Vec<_> = (0..4).map(|i| dataset.name(i)).collect();
        assert_eq!(names, ["cat/a.png", "cat/b.png", "dog/c.png", "dog/deep/naïve 猫.png"]);
        let labels: Vec<_> = (0..4).map(|i| dataset.label(i)).collect();
        assert_eq!(labels, [Some(0), Some(0), Some(1), Some(1)]);
        let captions: Vec<Vec<_>> = (0..4).map(|i| dataset.captions(i).collect()).collect();
        assert_eq!(captions, [vec!["a cat", "one cat"], vec!["line one", "line two"], vec!["a dög"], vec!["a title"]]);
        assert_eq!(dataset.caption_table().distinct(), 6);
        assert_eq!((dataset.ignored(), dataset.skipped().len()), (1, 0));
        assert_eq!(dataset.fingerprint(), open(&paths[0]).unwrap().fingerprint());
        let raw = Image::new(8, 8, 3, (0..192u32).map(|i| (i * 4 * 7 % 256) as u8).collect());
        assert_eq!(dataset.image(0), raw);
    }
}

#[test]
fn one_bad_picture_is_skipped_and_named() {
    let mut files = pets();
    files.push(("cat/cut.png", picture(9)[..60].to_vec()));
    files.push(("cat/phone.heic", b"\0\0\0\x18ftypheic".to_vec()));
    let made = tempfile::tempdir().unwrap();
    let tree = folder(&files);
    let archives = [put(&made, "a.zip", &zip(&files)), put(&made, "a.tar", &tar(&files)), tree.path().to_path_buf()];
    for path in archives {
        let dataset = open(&path).unwrap();
        let skipped: Vec<_> = dataset.skipped().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(skipped, ["cat/cut.png", "cat/phone.heic"]);
        assert!(dataset.skipped()[0].reason.contains("damaged PNG"), "{:?}", dataset.skipped());
        assert!(dataset.skipped()[1].reason.contains("HEIC"), "{:?}", dataset.skipped());
        assert!(dataset.warnings().iter().any(|w| w.starts_with("skipped 2 images (first: cat/cut.png")));
        let strict = Dataset::open(&path, &Options { strict: true, ..options() }).unwrap_err();
        assert!(strict.to_string().starts_with("2 images in"), "{strict}");
    }
}

#[test]
fn archives_cannot_lead_outside() {
    let files: Files =
        vec![("../../../etc/a.png", picture(1)), ("/root/b.png", picture(2)), ("..\\win\\c.png", picture(3))];
    let made = tempfile::tempdir().unwrap();
    for path in [put(&made, "evil.zip", &zip(&files)), put(&made, "evil.tar", &tar(&files))] {
        let dataset = open(&path).unwrap();
        let mut names: Vec<_> = (0..3).map(|i| dataset.name(i)).collect();
        names.sort();
        assert_eq!(names, ["etc/a.png", "root/b.png", "win/c.png"]);
    }
    assert_eq!(fs::read_dir(made.path()).unwrap().count(), 2);
}

#[test]
fn cut_archives_are_named_as_damaged() {
    let made = tempfile::tempdir().unwrap();
    let (zip, tar) = (zip(&pets()), tar(&pets()));
    let tgz = gzip(&tar);
    // Two blocks of zeros end a tar; what is cut before them is content.
    let cases =
        [("a.zip", &zip[..zip.len() / 2]), ("a.tar", &tar[..tar.len() / 2 + 100]), ("a.tgz", &tgz[..tgz.len() / 2])];
    for (name, bytes) in cases {
        let text = message(&put(&made, name, bytes));
        assert!(text.contains(name) && text.contains("is damaged") && text.contains("again"), "{text}");
    }
    let empty = message(&put(&made, "empty.zip", b""));
    assert!(empty.contains("an empty file") && empty.contains("What works"), "{empty}");
}

#[test]
fn members_that_cannot_be_unpacked_are_skipped() {
    let made = tempfile::tempdir().unwrap();
    let bytes = zip(&pets());
    // Bit 0 of the flags of the first picture says "encrypted", in its own header and in the central directory.
    let mut locked = bytes.clone();
    let header = |bytes: &[u8], sign: &[u8]| {
        let at = bytes.windows(4).enumerate().filter(|(_, w)| w == &sign).map(|(i, _)| i);
        at.collect::<Vec<_>>()[1]
    };
    let (local, central) = (header(&bytes, b"PK\x03\x04"), header(&bytes, b"PK\x01\x02"));
    locked[local + 6] |= 1;
    locked[central + 8] |= 1;
    let dataset = open(&put(&made, "locked.zip", &locked)).unwrap();
    assert_eq!((dataset.len(), dataset.skipped()[0].name.as_str()), (3, "cat/a.png"));
    assert!(dataset.skipped()[0].reason.contains("encrypted"), "{:?}", dataset.skipped());
    // A changed byte in the packed content breaks its checksum.
    let mut flipped = bytes.clone();
    flipped[local + 30 + "cat/a.png".len() + 60] ^= 0xff;
    let dataset = open(&put(&made, "flipped.zip", &flipped)).unwrap();
    assert_eq!((dataset.len(), dataset.skipped()[0].name.as_str()), (3, "cat/a.png"));
}

#[test]
fn bombs_in_archives_are_skipped() {
    let mut files = pets();
    files.push(("cat/bomb.png", vec![0; 1 << 20]));
    let made = tempfile::tempdir().unwrap();
    let tree = folder(&files);
    let limits = Limits { file: 100_000, ..Limits::default() };
    for path in [put(&made, "b.zip", &zip(&files)), put(&made, "b.tar", &tar(&files)), tree.path().into()] {
        let dataset = Dataset::open(&path, &Options { limits, ..options() }).unwrap();
        assert_eq!((dataset.len(), dataset.skipped()[0].name.as_str()), (4, "cat/bomb.png"));
        assert!(dataset.skipped()[0].reason.contains("more than the limit"), "{:?}", dataset.skipped());
    }
}

#[test]
fn pictures_without_ending_are_found_by_their_content() {
    let files: Files = vec![("a", picture(1)), ("b", picture(2)), ("LICENSE", b"MIT".to_vec())];
    let made = tempfile::tempdir().unwrap();
    let tree = folder(&files);
    for path in [put(&made, "b.zip", &zip(&files)), put(&made, "b.tar", &tar(&files)), tree.path().into()] {
        let dataset = open(&path).unwrap();
        assert_eq!((dataset.len(), dataset.skipped().len()), (2, 0), "{path:?}");
    }
}

#[cfg(unix)]
#[test]
fn links_and_strange_names() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let tree = folder(&pets());
    let at = |name: &str| tree.path().join(name);
    symlink(tree.path(), at("cat/loop")).unwrap();
    symlink(at("nowhere.png"), at("dog/broken.png")).unwrap();
    symlink(at("cat/a.png"), at("dog/linked.png")).unwrap();
    fs::write(tree.path().join(OsStr::from_bytes(b"dog/\xff\xfe.png")), picture(7)).unwrap();
    let dataset = open(tree.path()).unwrap();
    let names: Vec<_> = (0..dataset.len()).map(|i| dataset.name(i)).collect();
    let expected =
        ["cat/a.png", "cat/b.png", r"dog/\xff\xfe.png", "dog/c.png", "dog/deep/naïve 猫.png", "dog/linked.png"];
    assert_eq!(names, expected);
    assert_eq!(dataset.skipped().len(), 1);
    assert!(dataset.skipped()[0].reason.contains("link to a file that is not there"), "{:?}", dataset.skipped());
    assert!(dataset.warnings().iter().any(|w| w.contains("cat/loop is a symbolic link")), "{:?}", dataset.warnings());
}

#[test]
fn captions_beside_pictures_and_numbered_labels() {
    let rows = "file_name,label,text\na.png,10,\"ten, at last\"\nb.png,9,\nc.png,2,two\n";
    let files: Files = vec![
        ("a.png", picture(1)),
        ("b.png", picture(2)),
        ("b.txt", b"\xef\xbb\xbfnine\n".to_vec()),
        ("c.png", picture(3)),
        ("c.txt", b"not this".to_vec()),
        ("metadata.csv", rows.as_bytes().to_vec()),
    ];
    let tree = folder(&files);
    let dataset = open(tree.path()).unwrap();
    // Numbers are sorted as numbers, not as text.
    assert_eq!(dataset.classes(), ["2", "9", "10"]);
    assert_eq!([0, 1, 2].map(|i| dataset.label(i)), [Some(2), Some(1), Some(0)]);
    let first = |i| dataset.captions(i).next();
    assert_eq!([0, 1, 2].map(first), [Some("ten, at last"), Some("nine"), Some("two")]);

    let wrong: Files = vec![("a.png", picture(1)), ("metadata.jsonl", b"{\"file_name\": \"a.png\"".to_vec())];
    let text = message(folder(&wrong).path());
    assert!(text.contains("metadata.jsonl is damaged: line 1:"), "{text}");
}

#[test]
fn whatever_else_is_refused_with_what_works() {
    let made = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 5] = [
        ("a.7z", b"7z\xbc\xaf\x27\x1c\0\0", "a 7z archive"),
        ("a.parquet", b"PAR1....", "a Parquet file"),
        ("a.png", &picture(1), "a single picture"),
        ("a.bin", b"hello", "a file of an unknown kind"),
        ("a.tar.xz", b"\xfd7zXZ\0", "an xz-compressed file"),
    ];
    for (name, bytes, found) in cases {
        let text = message(&put(&made, name, bytes));
        assert!(text.contains(found), "{text}");
        for kind in SOURCES {
            assert!(text.contains(kind.reads), "{} is not offered in: {text}", kind.tag);
        }
    }
    let text = message(&made.path().join("no/such"));
    assert!(text.starts_with("no such file or folder") && text.contains("no/such"), "{text}");
}

#[test]
fn other_compressions_are_named_and_not_called_damage() {
    // The method stands in both headers of a file: 12 is bzip2.
    let mut bytes = zip(&vec![("a.png", picture(1)), ("b.png", picture(2)), ("metadata.jsonl", b"{}".to_vec())]);
    for (sign, offset) in [(&b"PK\x03\x04"[..], 8), (b"PK\x01\x02", 10)] {
        let headers: Vec<_> = (0..bytes.len() - 4).filter(|&at| bytes[at..].starts_with(sign)).collect();
        headers.into_iter().for_each(|at| bytes[at + offset] = 12);
    }
    let made = tempfile::tempdir().unwrap();
    let text = message(&put(&made, "x.zip", &bytes));
    assert!(
        text.starts_with("cannot use ") && text.contains("compressed with bzip2") && !text.contains("damaged"),
        "{text}"
    );
}

#[test]
fn headers_of_an_archive_have_an_end() {
    // A name of 8 MB, as packed zeros would make one of any length.
    let mut header = tar::Header::new_gnu();
    let mut builder = tar::Builder::new(Vec::new());
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(8 << 20);
    header.set_cksum();
    builder.append(&header, &vec![b'x'; 8 << 20][..]).unwrap();
    let bytes = gzip(&builder.into_inner().unwrap());
    let made = tempfile::tempdir().unwrap();
    let text = message(&put(&made, "x.tgz", &bytes));
    assert!(text.contains("a header of more than 1048576 bytes"), "{text}");
}
