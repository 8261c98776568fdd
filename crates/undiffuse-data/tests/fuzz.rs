//! Damaged inputs for every reader of data: none of them panics, hangs, takes memory without bound or shows a programmer's
//! view of an error. `UNDIFFUSE_FUZZ_SECONDS` is how long each goes on.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use undiffuse_data::{
    Cache, DataError, DataReport, Dataset, Image, Limits, Options, decode, encode_png, read_png_text, read_texts,
};
use undiffuse_fuzz::{check_message, fuzz};
use zip::write::SimpleFileOptions;

#[global_allocator]
static MEMORY: undiffuse_fuzz::Counted = undiffuse_fuzz::Counted;

fn options() -> Options {
    let limits = Limits { pixels: 1 << 22, memory: 64 << 20, file: 4 << 20 };
    Options { cache: Cache::Off, size: Some(8), limits, ..Options::default() }
}

/// Opens the data and looks at all that is said of them, in the same way as `undiffuse data`.
fn open(path: &Path) {
    match Dataset::open(path, &options()) {
        Ok(data) => {
            data.skipped().iter().for_each(|skipped| check_message(&skipped.reason));
            data.warnings().iter().for_each(|warning| check_message(warning));
            check_message(&DataReport::new(&data).to_string());
        }
        Err(e) => check_message(&e.to_string()),
    }
}

/// A small picture unlike any other of another seed.
fn picture(seed: u32) -> Vec<u8> {
    let pixels = (0..6 * 6 * 3).map(|i| (i * (seed + 3) * 7 % 256) as u8).collect();
    encode_png(&Image::new(6, 6, 3, pixels), &[]).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const TABLE: &str =
    "{\"file_name\":\"a/1.png\",\"text\":\"one\",\"label\":3}\n{\"file_name\":\"b/2.png\",\"text\":[\"two\"]}\n";

fn files() -> Vec<(String, Vec<u8>)> {
    let files = [
        ("a/1.png", picture(1)),
        ("b/2.png", picture(2)),
        ("metadata.jsonl", TABLE.into()),
        ("b/2.txt", b"2".to_vec()),
    ];
    files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // A name that the library refuses is one that this archive cannot have.
        let _ = builder.append_data(&mut header, name, &bytes[..]);
    }
    builder.into_inner().unwrap()
}

fn zip(files: &[(String, Vec<u8>)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(name.as_str(), SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A target that reads its input as the file `name` in a folder that may hold others.
fn as_file(target: &str, name: &str, others: &[(&str, Vec<u8>)], corpus: &[Vec<u8>]) {
    let folder = tempfile::tempdir().unwrap();
    others.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes).unwrap());
    let file = folder.path().join(name);
    fuzz(target, corpus, |input| {
        fs::write(&file, input).unwrap();
        open(if others.is_empty() { &file } else { folder.path() });
    });
}

#[test]
fn pictures_of_every_format() {
    let fixtures = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut paths: Vec<_> = fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|p| p.extension() != Some("json".as_ref()))
        .collect();
    paths.sort();
    let mut corpus: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    // A WebP whose EXIF block claims 3.4 GB.
    let mut claims = fs::read(fixtures().join("orientation6.webp")).unwrap();
    let at = claims.windows(4).position(|bytes| bytes == b"EXIF").unwrap();
    claims[at + 4..at + 8].copy_from_slice(&3_449_338_650u32.to_le_bytes());
    corpus.push(claims);
    fuzz("pictures", &corpus, |input| {
        decode::dimensions(input, &options()).err().iter().for_each(|e| check_message(&e.to_string()));
        match decode::decode(input, &options()) {
            Ok(decoded) => assert!(decoded.image.width * decoded.image.height <= 1 << 22),
            Err(e) => check_message(&e.to_string()),
        }
    });
}

#[test]
fn text_in_pngs() {
    let text = |keyword: &str, text: &str| (keyword.to_owned(), text.to_owned());
    let image = Image::filled(2, 2, &[7]);
    let plain = encode_png(&image, &[text("undiffuse", "{\"seed\": 1}"), text("note", "\u{3c3} -> 0")]).unwrap();
    let mut packed = Vec::new();
    let mut encoder = png::Encoder::new(&mut packed, 1, 1);
    encoder.add_ztxt_chunk("parameters".into(), "a cat, steps: 20 ".repeat(9)).unwrap();
    encoder.write_header().unwrap().write_image_data(&[7]).unwrap();
    fuzz("png-text", &[plain, packed], |input| {
        read_png_text(input).err().iter().for_each(|e| check_message(&e.to_string()));
    });
}

#[test]
fn words_in_pictures() {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/words")).unwrap();
    let mut paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let pictures = paths.iter().filter(|path| path.extension() != Some("json".as_ref()));
    let corpus: Vec<Vec<u8>> = pictures.map(|path| fs::read(path).unwrap()).collect();
    fuzz("words", &corpus, |input| match read_texts(input, &options()) {
        Ok(texts) => assert!(texts.iter().map(|(_, text)| text.len()).sum::<usize>() <= 64 << 20),
        Err(e) => check_message(&e.to_string()),
    });
}

/// `00 00 08 n`, the dimensions, the values.
fn idx(dims: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

#[test]
fn idx_pictures_and_labels() {
    let values: Vec<u8> = (0..48).map(|i| i * 5).collect();
    let (images, labels) = (idx(&[3, 4, 4], &values), idx(&[3], &[2, 0, 1]));
    let lies = idx(&[u32::MAX, 1, 1], &values);
    let corpus = [images.clone(), gzip(&images), idx(&[4, 2, 2, 3], &values), lies.clone()];
    as_file("idx-pictures", "x-images-idx3-ubyte", &[("x-labels-idx1-ubyte", labels.clone())], &corpus);
    let corpus = [labels.clone(), gzip(&labels), idx(&[u32::MAX], &[1, 2, 3])];
    let names = ("classes.txt", b"one\ntwo\nthree\n".to_vec());
    as_file("idx-labels", "x-labels-idx1-ubyte", &[("x-images-idx3-ubyte", images), names.clone()], &corpus);
    as_file("idx-labels-of-many", "x-labels-idx1-ubyte", &[("x-images-idx3-ubyte", lies), names], &corpus);
}

#[test]
fn tar_archives() {
    let mut long = files();
    long.push((format!("{}/3.png", "long".repeat(40)), picture(3)));
    let plain = tar(&files());
    as_file("tar", "x.tar", &[], &[gzip(&plain), plain, tar(&long)]);
}

#[test]
fn zip_archives() {
    let corpus = [zip::CompressionMethod::Stored, zip::CompressionMethod::DEFLATE].map(|method| zip(&files(), method));
    as_file("zip", "x.zip", &[], &corpus);
}

#[test]
fn tables() {
    let csv = "file_name,text,label\na.png,\"one, first\",3\nb.png,two,4\n";
    let tables = [
        ("metadata.jsonl", TABLE.replace("a/1", "a").replace("b/2", "b")),
        ("metadata.csv", csv.to_owned()),
        ("metadata.tsv", csv.replace(',', "\t")),
        ("captions.txt", "a.png,one\nb.png#0\ttwo\n".to_owned()),
        (
            "captions_x.json",
            r#"{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1, "caption": "x"}]}"#
                .to_owned(),
        ),
        ("a.txt", "a caption\n\u{feff}of two lines".to_owned()),
    ];
    for (name, text) in tables {
        as_file(name, name, &[("a.png", picture(1)), ("b.png", picture(2))], &[text.into_bytes()]);
    }
}

#[test]
fn names_of_folders_and_files() {
    let names = [
        "cat/a.png\ndog/b.png\nc.png",
        "train/1/a.png\ntest/2/b.png\n10_x/y.caption\n10_x/y.jpg",
        ".5/a.png\n.75/b.png\n1/c.png\nNone/d.png\nnone/e.png\n\u{c4}/f.png\nA\u{308}/g.png",
        "runs/x/config.toml\nruns/x/metrics.jsonl\nruns/x/a.png\nm/model_index.json\n__MACOSX/._a.png\nphoto",
    ];
    let corpus = names.map(|names| names.as_bytes().to_vec());
    let (folder, mut first) = (tempfile::tempdir().unwrap(), picture(0));
    first.extend(b"unlike the others");
    let file = folder.path().join("x.tar");
    fuzz("names", &corpus, |input| {
        let names = String::from_utf8_lossy(input);
        let list = names.lines().take(50).enumerate();
        let files: Vec<_> =
            list.map(|(i, name)| (name.to_owned(), if i == 0 { first.clone() } else { picture(9) })).collect();
        fs::write(&file, tar(&files)).unwrap();
        open(&file);
    });
}

#[test]
fn the_cache() {
    let (data, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    (1..4).for_each(|i| fs::write(data.path().join(format!("{i}.png")), picture(i)).unwrap());
    let options = Options { cache: Cache::Dir(cache.path().to_owned()), ..options() };
    let open = || -> Result<Dataset, DataError> { Dataset::open(data.path(), &options) };
    let whole = open().unwrap();
    let file = whole.cache_file().unwrap().to_owned();
    fuzz("cache", &[fs::read(&file).unwrap()], |input| {
        let mut bytes = input.to_vec();
        mend_checksum(&mut bytes);
        // A new file, as a mapped one must not change under its readers.
        fs::remove_file(&file).unwrap();
        fs::write(&file, bytes).unwrap();
        let again = open().unwrap();
        assert_eq!((again.len(), again.image(2)), (3, whole.image(2)));
    });
}

/// Makes the sum over a cache's JSON right again, as whoever wants to do harm would.
fn mend_checksum(bytes: &mut [u8]) {
    let Some(end) = bytes.len().checked_sub(20) else { return };
    let length = u64::from_le_bytes(bytes[end..end + 8].try_into().unwrap());
    let Some(begin) = usize::try_from(length).ok().and_then(|length| end.checked_sub(length)) else { return };
    let sum = crc32fast::hash(&bytes[begin..end]);
    bytes[end + 8..end + 12].copy_from_slice(&sum.to_le_bytes());
}
