//! The idx format of MNIST and its family: one file of pictures, one of labels, either may be gzipped.
//!
//! An idx file is `00 00 type ndims`, then `ndims` big-endian `u32` sizes, then the values [LeCun, MNIST page].
//! Type `08` is unsigned byte, the only one that pictures use. Pictures have dimensions `n, height, width` or
//! `n, height, width, channels`.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::layout::SIDECAR;
use super::{Entry, Input, Opened, Payload, Probe, Sink, Source, SourceKind, tables_beside};
use crate::{DataError, Image, Options, files};

pub(super) const KIND: SourceKind = SourceKind {
    tag: "idx",
    reads: "idx files as MNIST has them (…-images-idx3-ubyte, also .gz), or the folder they are in",
    accepts,
    open,
};

const UNSIGNED_BYTE: u8 = 0x08;
/// The most pixels that a picture may have.
const LARGEST: usize = 1 << 26;
/// Names the classes, one a line, when it lies beside the pictures.
const CLASSES: &str = "classes.txt";

fn accepts(probe: &Probe) -> bool {
    match probe.is_folder {
        true => !images_in(&probe.path).is_empty(),
        false => matches!(probe.head[..], [0, 0, UNSIGNED_BYTE, 1 | 3 | 4, ..]),
    }
}

fn open(path: &Path, _: &Options) -> Opened {
    let images = match path.is_dir() {
        true => images_in(path),
        false => vec![images_beside(path)?],
    };
    let pairs: Vec<Pair> = images.into_iter().map(|images| Pair { labels: beside(&images, LABELS), images }).collect();
    let names = pairs[0].images.with_file_name(CLASSES);
    let names = names.is_file().then_some(names);
    let files = pairs.iter().flat_map(|p| [Some(&p.images), p.labels.as_ref()]).chain([names.as_ref()]);
    let inputs = files.flatten().map(|file| Input::of(file)).collect::<Result<_, _>>()?;
    let classes = names.map(|file| read_classes(&file)).transpose()?;
    Ok(Box::new(Idx { pairs, classes, inputs }))
}

struct Pair {
    images: PathBuf,
    labels: Option<PathBuf>,
}

struct Idx {
    pairs: Vec<Pair>,
    classes: Option<Vec<String>>,
    inputs: Vec<Input>,
}

impl Source for Idx {
    fn visit(&mut self, sink: &mut Sink) -> Result<(), DataError> {
        for pair in &self.pairs {
            if visit_pair(pair, self.classes.as_deref(), sink)? {
                break;
            }
        }
        Ok(())
    }

    fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    fn count(&self) -> Option<usize> {
        let headers = self.pairs.iter().map(|p| Values::open(&p.images).map(|v| v.dims[0]));
        headers.sum::<Result<usize, _>>().ok()
    }

    fn classes(&self) -> Option<Vec<String>> {
        self.classes.clone()
    }

    fn notes(&self) -> Vec<String> {
        let without = self.pairs.iter().filter(|p| p.labels.is_none());
        let without = without.map(|p| format!("{} has no labels file beside it", p.images.display()));
        without.chain(self.inputs.first().and_then(|images| tables_beside(&images.path))).collect()
    }
}

/// Streams one pair; returns whether the sink ended the visit.
fn visit_pair(pair: &Pair, classes: Option<&[String]>, sink: &mut Sink) -> Result<bool, DataError> {
    let mut values = Values::open(&pair.images)?;
    let (count, height, width, channels) = match values.dims[..] {
        [n, h, w] => (n, h, w, 1),
        [n, h, w, c @ (1 | 3)] => (n, h, w, c),
        _ => {
            let found = format!("pictures need 3 dimensions (n, height, width), found {}", shape(&values.dims));
            return Err(DataError::corrupt(&pair.images, found));
        }
    };
    let length = height.checked_mul(width).filter(|&n| n > 0 && n <= LARGEST).map(|n| n * channels);
    let Some(length) = length else {
        return Err(DataError::corrupt(&pair.images, format!("the header says {width}x{height} pixels a picture")));
    };
    let labels = pair.labels.as_deref().map(|file| read_labels(file, count)).transpose()?;
    let label_of = |i: usize| -> Result<Option<String>, DataError> {
        let Some(&label) = labels.as_ref().map(|l| &l[i]) else { return Ok(None) };
        let Some(classes) = classes else { return Ok(Some(label.to_string())) };
        let name = classes.get(label as usize).cloned();
        let missing = || {
            let file = pair.images.with_file_name(CLASSES);
            DataError::corrupt(&file, format!("it names {} classes, but label {label} occurs", classes.len()))
        };
        name.map(Some).ok_or_else(missing)
    };
    let stem = stem(&pair.images);
    for i in 0..count {
        let mut pixels = vec![0; length];
        values.fill(&mut pixels, || format!("picture {i} of {count} ({width}x{height} bytes each)"))?;
        let image = Image { width, height, channels, pixels };
        let payload = Payload::Pixels(image, "idx");
        let entry = Entry { name: format!("{stem}/{i:05}"), payload, label: label_of(i)?, captions: Vec::new() };
        if sink(entry).is_break() {
            return Ok(true);
        }
    }
    values.finish(count)?;
    Ok(false)
}

fn read_labels(file: &Path, count: usize) -> Result<Vec<u8>, DataError> {
    let mut values = Values::open(file)?;
    if values.dims != [count] {
        let problem = format!("expected {count} labels, one for each picture, found {}", shape(&values.dims));
        return Err(DataError::corrupt(file, problem));
    }
    // No more memory than there are labels: the header may lie.
    let mut labels = Vec::new();
    let read = values.reader.by_ref().take(count as u64).read_to_end(&mut labels);
    read.and_then(|n| if n == count { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) })
        .map_err(|e| values.fails(e, format!("the {count} labels")))?;
    values.finish(count)?;
    Ok(labels)
}

/// `3 x 28 x 28`.
fn shape(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

fn read_classes(file: &Path) -> Result<Vec<String>, DataError> {
    let text = files::read(file, SIDECAR).map_err(|e| DataError::io(file, e.source))?;
    let text = String::from_utf8_lossy(&text);
    let names: Vec<String> = text.lines().map(|l| l.trim().to_string()).filter(|l| !l.is_empty()).collect();
    match names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        Some((_, twice)) => Err(DataError::corrupt(file, format!("the class name `{twice}` is there twice"))),
        None => Ok(names),
    }
}

/// The values of an idx file, behind its header.
struct Values {
    path: PathBuf,
    dims: Vec<usize>,
    reader: Box<dyn Read>,
}

impl Values {
    fn open(path: &Path) -> Result<Values, DataError> {
        let file = files::open(path).map_err(|e| DataError::io(path, e.source))?;
        let gzipped = Probe::new(path)?.gzipped;
        let buffered = BufReader::with_capacity(1 << 16, file);
        let reader: Box<dyn Read> = if gzipped {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(buffered)))
        } else {
            Box::new(buffered)
        };
        let mut values = Values { path: path.to_path_buf(), dims: Vec::new(), reader };
        let mut magic = [0; 4];
        values.fill(&mut magic, || "the four bytes 00 00 08 NN at its start".into())?;
        let [0, 0, UNSIGNED_BYTE, ndims @ 1..=4] = magic else {
            let problem = format!(
                "expected an idx file of bytes (00 00 08 01 to 04), found {}",
                magic.map(|byte| format!("{byte:02x}")).join(" ")
            );
            return Err(DataError::corrupt(path, problem));
        };
        for _ in 0..ndims {
            let mut size = [0; 4];
            values.fill(&mut size, || format!("{ndims} dimensions in its header"))?;
            values.dims.push(u32::from_be_bytes(size) as usize);
        }
        Ok(values)
    }

    fn fill(&mut self, out: &mut [u8], what: impl FnOnce() -> String) -> Result<(), DataError> {
        self.reader.read_exact(out).map_err(|e| self.fails(e, what()))
    }

    fn fails(&self, e: std::io::Error, what: String) -> DataError {
        let problem = match e.kind() {
            std::io::ErrorKind::UnexpectedEof => format!("it ends inside {what}"),
            _ => format!("{e}, while reading {what}"),
        };
        DataError::corrupt(&self.path, problem + ". Fetch the file again")
    }

    /// Checks that nothing follows; for gzip this also checks the sum over the whole content.
    fn finish(&mut self, count: usize) -> Result<(), DataError> {
        let problem = match self.reader.read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => format!("data follows after the {count} items that its header announces"),
            Err(e) => format!("{e}. Fetch the file again"),
        };
        Err(DataError::corrupt(&self.path, problem))
    }
}

/// The words in which the names of a picture file and its labels file differ.
const LABELS: [(&str, &str); 2] = [("images", "labels"), ("idx3", "idx1")];
const IMAGES: [(&str, &str); 2] = [("labels", "images"), ("idx1", "idx3")];

/// The file beside `path` whose name differs by `words`, gzipped or not.
fn beside(path: &Path, words: [(&str, &str); 2]) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let other = words.iter().fold(name.to_string(), |name, (from, to)| name.replacen(from, to, 1));
    let plain = other.strip_suffix(".gz").unwrap_or(&other);
    let candidates = [other.clone(), plain.to_string(), format!("{plain}.gz")];
    candidates.into_iter().filter(|c| c != name).map(|c| path.with_file_name(c)).find(|c| c.is_file())
}

/// `path` if it holds pictures; if it holds labels, the pictures beside it.
fn images_beside(path: &Path) -> Result<PathBuf, DataError> {
    if Values::open(path)?.dims.len() > 1 {
        return Ok(path.to_path_buf());
    }
    beside(path, IMAGES).ok_or_else(|| {
        DataError::corrupt(path, "it holds labels, and no file of pictures (…-images-idx3-ubyte) lies beside it")
    })
}

/// Files in a folder that are named as idx pictures are, sorted.
fn images_in(folder: &Path) -> Vec<PathBuf> {
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let stem = name.strip_suffix(".gz").unwrap_or(&name);
        stem.contains("images") && stem.ends_with("idx3-ubyte")
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.map(|e| e.path()).filter(named).collect();
    found.sort();
    // A file and its gzipped copy are the same pictures.
    found.dedup_by(|b, a| b.to_string_lossy().strip_suffix(".gz") == Some(&*a.to_string_lossy()));
    found
}

/// `t10k` for `t10k-images-idx3-ubyte.gz`.
fn stem(images: &Path) -> String {
    let name = images.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split("images").next().unwrap_or_default().trim_end_matches(['-', '.', '_']);
    if stem.is_empty() { "images".into() } else { stem.into() }
}
