//! Weights as they come into memory: in their file's pages, or copied.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use undiffuse_nn::weights::{Hold, Named, Stored, export, load};
use undiffuse_nn::{Network, NetworkConfig, params};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/unet/plain")
}

fn blank() -> Network {
    let config = fs::read_to_string(fixture().join("config.json")).unwrap();
    NetworkConfig::from_json(&config).unwrap().network(&Device::flex()).unwrap()
}

/// The bytes of the fixture's weights in a file of the test's own.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("undiffuse-weights-{name}-{}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn read(&self, hold: Hold) -> Network {
        let stored = Stored::read([("weights".to_owned(), File::open(&self.0).unwrap())]).unwrap();
        stored.held(hold).fill(blank()).unwrap()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn bytes() -> Vec<u8> {
    fs::read(fixture().join("diffusion_pytorch_model.safetensors")).unwrap()
}

/// Where the values begin.
fn header(bytes: &[u8]) -> usize {
    8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize
}

fn numbers(network: &Network) -> Vec<f32> {
    export(network).into_iter().flat_map(|Named { values, .. }| values).collect()
}

/// What is written into the file shows in mapped weights, which are its pages, and not in copied ones.
#[cfg(unix)]
#[test]
fn mapped_weights_are_the_files_pages() {
    let bytes = bytes();
    let file = Copy::new("pages", &bytes);
    let (mapped, copied) = (file.read(Hold::Mapped), file.read(Hold::Copied));
    let before = numbers(&load(blank(), &fixture().join("diffusion_pytorch_model.safetensors")).unwrap());
    assert!(numbers(&mapped) == before && numbers(&copied) == before);
    let mut to = OpenOptions::new().write(true).open(&file.0).unwrap();
    to.seek(SeekFrom::Start(header(&bytes) as u64)).unwrap();
    to.write_all(&vec![0; bytes.len() - header(&bytes)]).unwrap();
    assert_eq!(numbers(&copied), before);
    assert!(numbers(&mapped).iter().all(|&v| v == 0.0));
}

/// A tensor that is written to gets memory of its own; the file and other tensors keep theirs, and a deleted file its pages.
#[test]
fn writing_to_mapped_weights_leaves_the_file_alone() {
    let file = Copy::new("writing", &bytes());
    let [network, other] = [(); 2].map(|()| file.read(Hold::Mapped));
    let before = numbers(&network);
    let more = params::map(network, |_, values| values + 1.0);
    assert_eq!(fs::read(&file.0).unwrap(), bytes());
    drop(file);
    assert_eq!(numbers(&more), before.iter().map(|v| v + 1.0).collect::<Vec<_>>());
    let again = params::map(more, |_, values| values - 1.0);
    assert!(numbers(&again).iter().zip(&before).all(|(a, b)| (a - b).abs() < 1e-5));
    assert_eq!(numbers(&other), before);
}

/// Numbers that do not begin where a number can are copied.
#[test]
fn odd_places_are_read_too() {
    let bytes = bytes();
    for shift in 1..4 {
        let size = header(&bytes) - 8 + shift;
        let spaces = vec![b' '; shift];
        let moved = [&(size as u64).to_le_bytes()[..], &bytes[8..header(&bytes)], &spaces, &bytes[header(&bytes)..]];
        let file = Copy::new(&format!("odd-{shift}"), &moved.concat());
        assert_eq!(numbers(&file.read(Hold::Mapped)), numbers(&file.read(Hold::Copied)), "{shift}");
    }
}
