//! A tar archive of pictures, plain or gzipped. Nothing is ever unpacked to disk.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ::tar::Archive;
use flate2::read::MultiGzDecoder;

use super::layout::{self, Layout, Role, SIDECAR, SIDECARS};
use super::ours::Ours;
use super::{Entry, Input, MOST_FILES, Opened, Payload, Probe, Sink, Source, SourceKind, failed, tables_beside};
use crate::{DataError, Options, files};

pub(super) const KIND: SourceKind =
    SourceKind { tag: "tar", reads: "a .tar, .tar.gz or .tgz of image files", accepts, open };

fn accepts(probe: &Probe) -> bool {
    let signed = probe.head.get(257..262) == Some(b"ustar");
    !probe.is_folder && (signed || probe.ends_with(&[".tar", ".tar.gz", ".tgz"]))
}

fn open(path: &Path, options: &Options) -> Opened {
    let gzipped = Probe::new(path)?.gzipped;
    let inputs = vec![Input::of(path)?];
    let limit = options.limits.file;
    Ok(Box::new(Tar { path: path.to_path_buf(), gzipped, inputs, limit, names: Vec::new(), layout: None }))
}

struct Tar {
    path: PathBuf,
    gzipped: bool,
    inputs: Vec<Input>,
    limit: u64,
    /// Names of the members that are files, in the order of the archive.
    names: Vec<String>,
    layout: Option<Layout>,
}

/// One file of the archive, while it passes by.
struct Member<'a> {
    /// Its place among the files.
    number: usize,
    name: String,
    size: u64,
    content: &'a mut dyn Read,
}

/// The most that stands between two files: their header, and their names where those are long. `tar` reads names whole.
const HEADERS: u64 = 1 << 20;

/// Reads no further than it is allowed to.
struct Allowed<R> {
    reader: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Allowed<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let most = self.left.get().min(out.len() as u64) as usize;
        if most == 0 && !out.is_empty() {
            return Err(std::io::Error::other(format!("a header of more than {HEADERS} bytes")));
        }
        let read = self.reader.read(&mut out[..most])?;
        self.left.set(self.left.get() - read as u64);
        Ok(read)
    }
}

impl Tar {
    /// Calls `each` for every file, in the order of the archive, until it returns false.
    fn walk(&self, each: &mut dyn FnMut(Member) -> std::io::Result<bool>) -> Result<(), DataError> {
        let file = files::open(&self.path).map_err(|e| DataError::io(&self.path, e.source))?;
        let buffered = BufReader::with_capacity(1 << 16, file);
        let reader: Box<dyn Read> = match self.gzipped {
            true => Box::new(MultiGzDecoder::new(buffered)),
            false => Box::new(buffered),
        };
        let left = Rc::new(Cell::new(HEADERS));
        let mut archive = Archive::new(Allowed { reader, left: left.clone() });
        let mut number = 0;
        let mut go = || -> std::io::Result<()> {
            let mut members = archive.entries()?;
            loop {
                left.set(HEADERS);
                let Some(member) = members.next() else { return Ok(()) };
                let mut member = member?;
                left.set(u64::MAX);
                if member.header().entry_type().is_file() {
                    let name = layout::clean(&String::from_utf8_lossy(&member.path_bytes()));
                    let size = member.size();
                    if !each(Member { number, name, size, content: &mut member })? {
                        return Ok(());
                    }
                    number += 1;
                }
                // What is left of it would otherwise count as a header.
                std::io::copy(&mut member, &mut std::io::sink())?;
            }
        };
        let result = go();
        result.map_err(|e| {
            let problem =
                format!("after {number} files: {e}. A download that broke off looks like this: fetch it again");
            DataError::corrupt(&self.path, problem)
        })
    }

    /// A first pass over the archive: sidecars may come after the pictures that they describe.
    fn read_layout(&mut self) -> Result<Layout, DataError> {
        if let Some(layout) = &self.layout {
            return Ok(layout.clone());
        }
        let mut names = Vec::new();
        let mut sidecars: HashMap<usize, Vec<u8>> = HashMap::new();
        let mut held = 0;
        self.walk(&mut |Member { number, name, size, content }| {
            if matches!(layout::role(&name), Role::Table | Role::Text) && size <= SIDECAR && held + size <= SIDECARS {
                let mut bytes = Vec::new();
                held += content.read_to_end(&mut bytes)? as u64;
                sidecars.insert(number, bytes);
            }
            names.push(name);
            Ok(number < MOST_FILES)
        })?;
        if names.len() > MOST_FILES {
            let problem = format!("it holds more than {MOST_FILES} files");
            return Err(DataError::TooLarge { path: self.path.clone(), problem });
        }
        let mut notes: Vec<String> =
            layout::hidden_note(layout::hidden_among(names.iter().map(String::as_str))).into_iter().collect();
        // Numbers of files are their places in the archive, so names that are left out only lose their role.
        notes.extend(Ours::among(names.iter().map(String::as_str)).hide(&mut names));
        // Only what a picture needs is missed here.
        let missing = || layout::too_many_sidecars(&self.path);
        let mut layout = layout::layout(&self.path, &names, &mut |i| sidecars.remove(&i).ok_or_else(missing))?;
        layout.notes.extend(notes);
        self.names = names;
        self.layout = Some(layout.clone());
        Ok(layout)
    }
}

impl Source for Tar {
    fn visit(&mut self, sink: &mut Sink) -> Result<(), DataError> {
        let layout = self.read_layout()?;
        let mut pictures = layout.pictures.into_iter().peekable();
        let limit = self.limit;
        self.walk(&mut |Member { number, name, size, content }| {
            let Some(picture) = pictures.next_if(|p| p.file == number) else {
                return Ok(pictures.peek().is_some());
            };
            if size > limit {
                let reason = format!("{size} bytes, more than the limit of {limit}");
                return Ok(sink(failed(name, reason)).is_continue());
            }
            let mut bytes = Vec::with_capacity(size.min(1 << 20) as usize);
            if content.read_to_end(&mut bytes)? as u64 != size {
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, format!("it ends inside {name}")));
            }
            if !picture.certain && ::image::guess_format(&bytes).is_err() {
                return Ok(true);
            }
            let payload = Payload::Bytes(bytes);
            let entry = Entry { name, payload, label: picture.label, captions: picture.captions };
            Ok(sink(entry).is_continue())
        })
    }

    fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    fn tables(&mut self) -> Result<Vec<(String, Vec<u8>)>, DataError> {
        let mut tables = Vec::new();
        self.walk(&mut |Member { number, name, size, content }| {
            if layout::role(&name) == Role::Table && size <= SIDECAR {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                tables.push((name, bytes));
            }
            Ok(number < MOST_FILES)
        })?;
        Ok(tables)
    }

    fn count(&self) -> Option<usize> {
        self.layout.as_ref().map(|layout| layout.pictures.len())
    }

    fn notes(&self) -> Vec<String> {
        let found = self.layout.iter().flat_map(|layout| layout.notes.iter().cloned());
        found.chain(tables_beside(&self.path)).collect()
    }

    fn ignored(&self) -> usize {
        self.layout.as_ref().map_or(0, |layout| layout.ignored)
    }
}
