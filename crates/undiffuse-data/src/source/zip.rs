//! A zip archive of pictures. Nothing is ever unpacked to disk.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use ::zip::ZipArchive;
use ::zip::result::ZipError;

use super::layout::{self, Layout, Role};
use super::{Entry, Input, Opened, Payload, Probe, Sink, Source, SourceKind, failed};
use crate::{DataError, Options};

pub(super) const KIND: SourceKind = SourceKind {
    tag: "zip",
    reads: "a .zip of image files",
    accepts: |p: &Probe| p.head.starts_with(b"PK\x03\x04"),
    open,
};

type Archive = ZipArchive<BufReader<File>>;

fn open(path: &Path, options: &Options) -> Opened {
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    let damaged = |e: ZipError| {
        DataError::corrupt(path, format!("{e}. A download that broke off looks like this: fetch the archive again"))
    };
    let archive = ZipArchive::new(BufReader::with_capacity(1 << 16, file)).map_err(damaged)?;
    let mut members: Vec<(String, usize)> = Vec::with_capacity(archive.len());
    for i in 0..archive.len() {
        // A name that is neither UTF-8 nor readable in the archive's own encoding still needs one.
        let name = archive.name_for_index(i).and_then(Result::ok).map_or_else(|| format!("unnamed-{i}"), Into::into);
        // Folders end in a slash.
        if !name.ends_with(['/', '\\']) {
            members.push((layout::clean(&name), i));
        }
    }
    members.retain(|(name, _)| layout::role(name) != Role::Hidden);
    members.sort();
    let (names, members) = members.into_iter().unzip();
    let inputs = vec![Input::of(path)?];
    let limit = options.limits.file;
    Ok(Box::new(Zip { path: path.to_path_buf(), archive, names, members, inputs, limit, layout: None }))
}

struct Zip {
    path: PathBuf,
    archive: Archive,
    /// Names, sorted; parallel to `members`, which are indices into the archive.
    names: Vec<String>,
    members: Vec<usize>,
    inputs: Vec<Input>,
    limit: u64,
    layout: Option<Layout>,
}

impl Zip {
    fn read_layout(&mut self) -> Result<Layout, DataError> {
        if let Some(layout) = &self.layout {
            return Ok(layout.clone());
        }
        let (archive, members, names, limit, path) =
            (&mut self.archive, &self.members, &self.names, self.limit, &self.path);
        let mut read = |i: usize| {
            read_member(archive, members[i], limit)
                .map_err(|reason| DataError::corrupt(path, format!("{} inside it: {reason}", names[i])))
        };
        let layout = layout::layout(path, names, &mut read)?;
        self.layout = Some(layout.clone());
        Ok(layout)
    }
}

impl Source for Zip {
    fn visit(&mut self, sink: &mut Sink) -> Result<(), DataError> {
        for picture in self.read_layout()?.pictures {
            let name = self.names[picture.file].clone();
            let entry = match read_member(&mut self.archive, self.members[picture.file], self.limit) {
                Ok(bytes) if !picture.certain && ::image::guess_format(&bytes).is_err() => continue,
                Ok(bytes) => {
                    Entry { name, payload: Payload::Bytes(bytes), label: picture.label, caption: picture.caption }
                }
                Err(reason) => failed(name, reason),
            };
            if sink(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    fn count(&self) -> Option<usize> {
        Some(self.names.iter().filter(|name| layout::role(name) == Role::Picture).count())
    }

    fn notes(&self) -> Vec<String> {
        self.layout.as_ref().map_or_else(Vec::new, |layout| layout.notes.clone())
    }

    fn ignored(&self) -> usize {
        self.layout.as_ref().map_or(0, |layout| layout.ignored)
    }
}

fn read_member(archive: &mut Archive, member: usize, limit: u64) -> Result<Vec<u8>, String> {
    let mut file = archive.by_index(member).map_err(|e| match e {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => "it is encrypted".to_string(),
        e => e.to_string(),
    })?;
    let mut bytes = Vec::with_capacity(file.size().min(limit).min(1 << 24) as usize);
    // The size in the header may lie; one byte more than allowed is enough to know.
    (&mut file).take(limit + 1).read_to_end(&mut bytes).map_err(|e| format!("damaged inside the archive: {e}"))?;
    match bytes.len() as u64 > limit {
        true => Err(format!("unpacks to more than the limit of {limit} bytes")),
        false => Ok(bytes),
    }
}
