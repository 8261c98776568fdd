//! A tar archive of pictures, plain or gzipped. Nothing is ever unpacked to disk.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use ::tar::Archive;
use flate2::read::MultiGzDecoder;

use super::layout::{self, Layout, Role};
use super::{Entry, Input, Opened, Payload, Probe, Sink, Source, SourceKind, failed};
use crate::{DataError, Options};

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

/// Largest sidecar that is kept while the archive is listed.
const SIDECAR_LIMIT: u64 = 64 << 20;

impl Tar {
    /// Calls `each` for every file, in the order of the archive, until it returns false.
    fn walk(&self, each: &mut dyn FnMut(Member) -> std::io::Result<bool>) -> Result<(), DataError> {
        let file = File::open(&self.path).map_err(|e| DataError::io(&self.path, e))?;
        let buffered = BufReader::with_capacity(1 << 16, file);
        let reader: Box<dyn Read> = match self.gzipped {
            true => Box::new(MultiGzDecoder::new(buffered)),
            false => Box::new(buffered),
        };
        let mut archive = Archive::new(reader);
        let mut number = 0;
        let mut go = || -> std::io::Result<()> {
            for member in archive.entries()? {
                let mut member = member?;
                if !member.header().entry_type().is_file() {
                    continue;
                }
                let name = layout::clean(&String::from_utf8_lossy(&member.path_bytes()));
                let size = member.size();
                if !each(Member { number, name, size, content: &mut member })? {
                    return Ok(());
                }
                number += 1;
            }
            Ok(())
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
        self.walk(&mut |Member { number, name, size, content }| {
            if matches!(layout::role(&name), Role::Table | Role::Text) && size <= SIDECAR_LIMIT {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                sidecars.insert(number, bytes);
            }
            names.push(name);
            Ok(true)
        })?;
        let layout = layout::layout(&self.path, &names, &mut |i| Ok(sidecars.remove(&i).unwrap_or_default()))?;
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
            let mut bytes = Vec::with_capacity(size.min(1 << 24) as usize);
            if content.read_to_end(&mut bytes)? as u64 != size {
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, format!("it ends inside {name}")));
            }
            if !picture.certain && ::image::guess_format(&bytes).is_err() {
                return Ok(true);
            }
            let payload = Payload::Bytes(bytes);
            let entry = Entry { name, payload, label: picture.label, caption: picture.caption };
            Ok(sink(entry).is_continue())
        })
    }

    fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    fn count(&self) -> Option<usize> {
        self.layout.as_ref().map(|layout| layout.pictures.len())
    }

    fn notes(&self) -> Vec<String> {
        self.layout.as_ref().map_or_else(Vec::new, |layout| layout.notes.clone())
    }

    fn ignored(&self) -> usize {
        self.layout.as_ref().map_or(0, |layout| layout.ignored)
    }
}
