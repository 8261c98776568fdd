//! idx files: the bundled ones, and every way in which one can be damaged.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use undiffuse_data::{Cache, DataError, Dataset, Options};

fn open(path: &Path) -> Result<Dataset, DataError> {
    Dataset::open(path, &Options { cache: Cache::Off, ..Options::default() })
}

fn idx(dims: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Three pictures of 4×4 in which pixel *j* of picture *i* is `100 i + j`, with labels 2, 0, 2.
fn images() -> Vec<u8> {
    idx(&[3, 4, 4], &(0..3).flat_map(|i| (0..16).map(move |j| i * 100 + j)).collect::<Vec<u8>>())
}

fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes).unwrap());
    folder
}

#[test]
fn fashion_mnist_is_what_its_authors_published() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data/fashion-mnist");
    let dataset = open(&path).unwrap();
    assert_eq!((dataset.len(), dataset.channels(), dataset.width()), (10_000, 1, 28));
    let names =
        ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];
    assert_eq!(dataset.classes(), names);
    // The labels that the tutorials of other frameworks print, and a thousand pictures of each class.
    let labels: Vec<u32> = (0..10_000).map(|i| dataset.label(i).unwrap()).collect();
    assert_eq!(labels[..10], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]);
    assert!((0..10).all(|class| labels.iter().filter(|&&l| l == class).count() == 1000));
    // The test set's mean, 0.2868 of white, and standard deviation, 0.3524.
    let report = undiffuse_data::DataReport::new(&dataset);
    assert!((report.statistics[0].mean / 255.0 - 0.2868).abs() < 1e-4, "{:?}", report.statistics);
    assert!((report.statistics[0].std / 255.0 - 0.3524).abs() < 1e-4, "{:?}", report.statistics);
}

#[test]
fn a_pair_is_found_from_every_side() {
    let labels = idx(&[3], &[2, 0, 2]);
    let whole = folder(&[
        ("t10k-images-idx3-ubyte.gz", gzip(&images())),
        ("t10k-labels-idx1-ubyte", labels.clone()),
        ("train-images.idx3-ubyte", images()),
        ("train-labels.idx1-ubyte.gz", gzip(&labels)),
        ("unrelated.png", vec![]),
    ]);
    for name in
        ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte", "train-images.idx3-ubyte", "train-labels.idx1-ubyte.gz"]
    {
        let dataset = open(&whole.path().join(name)).unwrap();
        assert_eq!((dataset.len(), dataset.width(), dataset.source()), (3, 4, "idx"), "{name}");
        assert_eq!(dataset.classes(), ["0", "2"]);
        assert_eq!([0, 1, 2].map(|i| dataset.label(i)), [Some(1), Some(0), Some(1)]);
        assert_eq!(dataset.pixels(1), (100..116).collect::<Vec<u8>>());
    }
    let both = open(whole.path()).unwrap();
    assert_eq!((both.len(), both.name(0), both.name(5)), (6, "t10k/00000", "train/00002"));
}

#[test]
fn class_names_and_missing_labels() {
    let pair = |classes: &str| {
        folder(&[
            ("a-images-idx3-ubyte", images()),
            ("a-labels-idx1-ubyte", idx(&[3], &[2, 0, 2])),
            ("classes.txt", classes.as_bytes().to_vec()),
        ])
    };
    let dataset = open(pair("zebra\nape\n\ncat\n").path()).unwrap();
    assert_eq!(dataset.classes(), ["zebra", "ape", "cat"]);
    assert_eq!([0, 1, 2].map(|i| dataset.label(i)), [Some(2), Some(0), Some(2)]);
    let text = open(pair("zebra\nape\n").path()).unwrap_err().to_string();
    assert!(text.contains("names 2 classes, but label 2 occurs"), "{text}");
    let text = open(pair("ape\nape\ncat\n").path()).unwrap_err().to_string();
    assert!(text.contains("`ape` is there twice"), "{text}");

    let alone = folder(&[("a-images-idx3-ubyte", images())]);
    let dataset = open(alone.path()).unwrap();
    assert_eq!((dataset.classes().len(), dataset.label(0)), (0, None));
    assert!(dataset.warnings().iter().any(|w| w.contains("has no labels file beside it")));
}

#[test]
fn damage_is_named_with_what_was_expected() {
    let good = images();
    let mut wrong_type = good.clone();
    wrong_type[2] = 0x0d;
    let zipped = gzip(&good);
    let mut broken = zipped.clone();
    *broken.last_mut().unwrap() ^= 1;
    let mut long = good.clone();
    long.push(0);
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("cut inside", good[..40].to_vec(), "it ends inside picture 1 of 3 (4x4 bytes each)"),
        ("cut header", good[..9].to_vec(), "it ends inside 3 dimensions in its header"),
        ("cut magic", good[..2].to_vec(), "it ends inside the four bytes"),
        ("type", wrong_type, "expected an idx file of bytes"),
        ("too long", long, "data follows after the 3 items"),
        ("cut gzip", zipped[..zipped.len() - 12].to_vec(), "it ends inside picture"),
        ("gzip checksum", broken, "Fetch the file again"),
        ("empty pictures", idx(&[3, 0, 4], &[]), "0 pixels a picture"),
        ("huge pictures", idx(&[3, 1 << 20, 1 << 20], &[]), "pixels a picture"),
    ];
    for (what, bytes, expected) in cases {
        let folder = folder(&[("x-images-idx3-ubyte", bytes)]);
        let text = open(folder.path()).unwrap_err().to_string();
        assert!(text.contains(expected) && text.contains("x-images-idx3-ubyte is damaged"), "{what}: {text}");
    }
    let folder = folder(&[("x-images-idx3-ubyte", good), ("x-labels-idx1-ubyte", idx(&[2], &[0, 1]))]);
    let text = open(folder.path()).unwrap_err().to_string();
    assert!(text.contains("expected 3 labels, one for each picture, found 2"), "{text}");
}

#[test]
fn colour_idx_and_labels_alone() {
    let colour = folder(&[("c-images-idx3-ubyte", idx(&[2, 4, 4, 3], &(0..96).collect::<Vec<u8>>()))]);
    let dataset = open(colour.path()).unwrap();
    assert_eq!((dataset.channels(), dataset.pixels(1)[0]), (3, 48));
    let alone = folder(&[("y-labels-idx1-ubyte", idx(&[2], &[0, 1]))]);
    let text = open(&alone.path().join("y-labels-idx1-ubyte")).unwrap_err().to_string();
    assert!(text.contains("it holds labels"), "{text}");
}
