//! What is decoded against what Pillow decodes; see `make_fixtures.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use undiffuse_data::decode::{self, DecodeError};
use undiffuse_data::{Image, Limits, Options, encode_png, transform};

#[derive(Deserialize)]
struct Expected {
    width: usize,
    height: usize,
    channels: usize,
    tolerance: u8,
    pixels: String,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).unwrap()
}

fn expected() -> BTreeMap<String, Expected> {
    serde_json::from_slice(&read("expected.json")).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// The largest difference, after checking the shape.
fn compare(name: &str, image: &Image, expected: &Expected) {
    assert_eq!((image.width, image.height), (expected.width, expected.height), "{name}");
    let image = image.to_channels(expected.channels);
    let worst = image.pixels.iter().zip(bytes(&expected.pixels)).map(|(a, b)| a.abs_diff(b)).max().unwrap();
    assert!(worst <= expected.tolerance, "{name}: off by {worst}, allowed {}", expected.tolerance);
}

#[test]
fn every_fixture_looks_as_pillow_sees_it() {
    let mut tried = 0;
    for (name, expected) in expected().iter().filter(|(name, _)| !name.contains('@')) {
        let decoded = decode::decode(&read(name), &Options::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        compare(name, &decoded.image, expected);
        let size = decode::dimensions(&read(name), &Options::default()).unwrap();
        assert_eq!(size, (expected.width, expected.height), "{name}: header");
        let extension = name.rsplit('.').next().unwrap();
        assert!(decode::FORMATS[decoded.format].extensions.contains(&extension), "{name}");
        tried += 1;
    }
    assert!(tried >= 30);
}

#[test]
fn grey_pictures_have_one_channel_whatever_their_format() {
    for name in ["grey.png", "grey.jpg", "grey.bmp", "grey.pgm", "bit1.png", "bit1.pbm", "grey16.png", "grey_alpha.png"]
    {
        assert_eq!(decode::decode(&read(name), &Options::default()).unwrap().image.channels, 1, "{name}");
    }
    for name in ["rgb.png", "palette.png", "cmyk.jpg", "animated.gif", "rgb16.png"] {
        assert_eq!(decode::decode(&read(name), &Options::default()).unwrap().image.channels, 3, "{name}");
    }
}

#[test]
fn transparency_shows_the_background() {
    let over = |background| decode::decode(&read("rgba.png"), &Options { background, ..Options::default() }).unwrap();
    let (white, blue) = (over([255; 3]).image, over([0, 0, 255]).image);
    // The first row is fully transparent enough to differ, the last almost opaque.
    assert!(white.pixel(0, 0)[0] > 200 && blue.pixel(0, 0)[0] < 50);
    assert!(white.pixel(9, 5)[0].abs_diff(blue.pixel(9, 5)[0]) < 40);
}

#[test]
fn crop_and_lanczos_are_pillows() {
    let all = expected();
    let busy = decode::decode(&read("busy.png"), &Options::default()).unwrap().image;
    for size in [8, 23, 31] {
        let name = format!("busy.png@{size}");
        compare(&name, &transform::square(&busy, size), &all[&name]);
    }
    compare("busy.png@grey", &busy.to_grey(), &all["busy.png@grey"]);
}

#[test]
fn cut_files_are_damaged_not_half_grey() {
    let names = [
        "rgb.png",
        "rgb16.png",
        "orientation1.jpg",
        "progressive.jpg",
        "cmyk.jpg",
        "lossy.webp",
        "alpha.webp",
        "still.gif",
        "rgb.bmp",
        "rgb.ppm",
        "lzw.tiff",
    ];
    for name in names {
        let whole = read(name);
        // A GIF or BMP may do without its last bytes; a file that lost a third may not.
        for length in [whole.len() * 2 / 3, whole.len() / 2, 40, 9, 3, 1, 0] {
            let result = decode::decode(&whole[..length], &Options::default());
            assert!(result.is_err(), "{name} cut to {length} of {} bytes was decoded", whole.len());
        }
    }
    let jpeg = read("subsampled.jpg");
    let error = decode::decode(&jpeg[..jpeg.len() - 30], &Options::default()).unwrap_err();
    assert!(error.to_string().contains("ends before the picture does"), "{error}");
}

#[test]
fn what_follows_a_jpeg_does_not_matter() {
    let mut jpeg = read("progressive.jpg");
    jpeg.extend_from_slice(b"trailing bytes of a camera");
    assert!(decode::decode(&jpeg, &Options::default()).is_ok());
}

#[test]
fn bombs_are_refused_by_their_header() {
    let mut bomb = read("grey.png");
    // Width and height in IHDR, and the chunk's checksum.
    bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let checksum = crc32fast::hash(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    let error = decode::decode(&bomb, &Options::default()).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { width: 65536, height: 65536, .. }), "{error}");

    let limits = Limits { pixels: 59, ..Limits::default() };
    let error = decode::decode(&read("rgb.png"), &Options { limits, ..Options::default() }).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
    let limits = Limits { file: 50, ..Limits::default() };
    let error = decode::decode(&read("rgb.png"), &Options { limits, ..Options::default() }).unwrap_err();
    assert!(matches!(error, DecodeError::TooLong { .. }), "{error}");
    let limits = Limits { memory: 100, ..Limits::default() };
    for name in ["rgb.png", "rgb.bmp", "lossy.webp", "orientation1.jpg", "lzw.tiff", "still.gif"] {
        let result = decode::decode(&read(name), &Options { limits, ..Options::default() });
        assert!(result.is_err(), "{name} was decoded in 100 bytes");
    }
}

#[test]
fn strangers_are_named() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b"hello", "unknown content"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"<html><body>404", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ];
    for (bytes, expected) in cases {
        let message = decode::decode(bytes, &Options::default()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_picture_is_opened_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong-ending.jpg");
    std::fs::write(&file, encode_png(&Image::filled(3, 2, &[1, 2, 3]), &[]).unwrap()).unwrap();
    assert_eq!(Image::open(&file, &Options::default()).unwrap(), Image::filled(3, 2, &[1, 2, 3]));
    let missing = Image::open(&folder.path().join("no.png"), &Options::default()).unwrap_err();
    assert!(missing.to_string().starts_with("no such file or folder"), "{missing}");
}

/// A TIFF of one grey pixel in 32-bit floating point, uncompressed.
fn float_tiff() -> Vec<u8> {
    // Width, height, bits, compression, black is zero, where, samples, rows, bytes, floating point.
    let tags: [(u16, u16, u32); 10] = [
        (256, 4, 1),
        (257, 4, 1),
        (258, 3, 32),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, 1),
        (279, 4, 4),
        (339, 3, 3),
    ];
    let mut bytes = b"II*\0\x0c\0\0\0\0\0\x80?".to_vec();
    bytes.extend((tags.len() as u16).to_le_bytes());
    for (tag, kind, value) in tags {
        bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        bytes.extend([1u32.to_le_bytes(), value.to_le_bytes()].concat());
    }
    bytes.extend([0; 4]);
    bytes
}

#[test]
fn what_is_not_read_is_not_called_damaged() {
    let reason = |bytes: &[u8], options: &Options| decode::decode(bytes, options).unwrap_err().to_string();
    let float = reason(&float_tiff(), &Options::default());
    assert!(float.starts_with("TIFF of a kind that is not read"), "{float}");
    let mut crc = read("rgb.png");
    let at = crc.windows(4).position(|w| w == b"IDAT").unwrap();
    crc[at + 8] ^= 1;
    let crc = reason(&crc, &Options::default());
    assert_eq!(crc, "damaged PNG: a checksum does not match: part of it was changed or lost");
    let limits = Limits { memory: 100, ..Limits::default() };
    let large = reason(&read("rgb.png"), &Options { limits, ..Options::default() });
    assert!(large.starts_with("PNG that takes more than the limit of 100 bytes"), "{large}");
}
