//! A zip archive of pictures. Nothing is ever unpacked to disk.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use ::zip::ZipArchive;
use ::zip::result::ZipError;

use super::layout::{self, Layout, Role, SIDECAR};
use super::ours::Ours;
use super::{Entry, Input, Opened, Payload, Probe, Sink, Source, SourceKind, failed, tables_beside};
use crate::{DataError, Options, files};

pub(super) const KIND: SourceKind = SourceKind {
    tag: "zip",
    reads: "a .zip of image files",
    accepts: |p: &Probe| p.head.starts_with(b"PK\x03\x04"),
    open,
};

type Archive = ZipArchive<BufReader<File>>;

fn open(path: &Path, options: &Options) -> Opened {
    let file = files::open(path).map_err(|e| DataError::io(path, e.source))?;
    let damaged = |e: ZipError| {
        DataError::corrupt(
            path,
            format!("{}. A download that broke off looks like this: fetch the archive again", words(&e)),
        )
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
    let mut notes: Vec<String> =
        layout::hidden_note(layout::hidden_among(members.iter().map(|(name, _)| name.as_str()))).into_iter().collect();
    members.retain(|(name, _)| layout::role(name) != Role::Hidden);
    notes.extend(Ours::among(members.iter().map(|(name, _)| name.as_str())).remove(&mut members, |(name, _)| name));
    notes.extend(tables_beside(path));
    members.sort();
    let (names, members) = members.into_iter().unzip();
    let inputs = vec![Input::of(path)?];
    let limit = options.limits.file;
    Ok(Box::new(Zip { path: path.to_path_buf(), archive, names, members, inputs, limit, notes, layout: None }))
}

struct Zip {
    path: PathBuf,
    archive: Archive,
    /// Names, sorted; parallel to `members`, which are indices into the archive.
    names: Vec<String>,
    members: Vec<usize>,
    inputs: Vec<Input>,
    limit: u64,
    notes: Vec<String>,
    layout: Option<Layout>,
}

impl Zip {
    fn read_layout(&mut self) -> Result<Layout, DataError> {
        if let Some(layout) = &self.layout {
            return Ok(layout.clone());
        }
        let (archive, members, names, path) = (&mut self.archive, &self.members, &self.names, &self.path);
        let mut read = |i: usize| {
            read_member(archive, members[i], SIDECAR).map_err(|reason| DataError::Unusable {
                path: path.clone(),
                problem: format!("{} inside it: {reason}", names[i]),
            })
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
                    Entry { name, payload: Payload::Bytes(bytes), label: picture.label, captions: picture.captions }
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

    fn tables(&mut self) -> Result<Vec<(String, Vec<u8>)>, DataError> {
        let mut tables = Vec::new();
        for (name, &member) in self.names.iter().zip(&self.members) {
            if layout::role(name) == Role::Table {
                let bytes = read_member(&mut self.archive, member, SIDECAR);
                let bytes = bytes.map_err(|reason| DataError::corrupt(&self.path, format!("{name}: {reason}")))?;
                tables.push((name.clone(), bytes));
            }
        }
        Ok(tables)
    }

    fn count(&self) -> Option<usize> {
        Some(self.names.iter().filter(|name| layout::role(name) == Role::Picture).count())
    }

    fn notes(&self) -> Vec<String> {
        let found = self.layout.iter().flat_map(|layout| &layout.notes);
        found.chain(&self.notes).cloned().collect()
    }

    fn ignored(&self) -> usize {
        self.layout.as_ref().map_or(0, |layout| layout.ignored)
    }
}

fn read_member(archive: &mut Archive, member: usize, limit: u64) -> Result<Vec<u8>, String> {
    let mut file = archive.by_index(member).map_err(|e| words(&e))?;
    let mut bytes = Vec::with_capacity(file.size().min(limit).min(1 << 20) as usize);
    // The size in the header may lie; one byte more than allowed is enough to know.
    (&mut file).take(limit + 1).read_to_end(&mut bytes).map_err(|e| broken(&e))?;
    match bytes.len() as u64 > limit {
        true => Err(format!("unpacks to more than the limit of {limit} bytes")),
        false => Ok(bytes),
    }
}

fn broken(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ZipError>()) {
        Some(e) => words(e),
        None => format!("damaged inside the archive: {error}"),
    }
}

/// What is wrong, as a clause without the library's own names for things.
fn words(error: &ZipError) -> String {
    const METHODS: &[(u16, &str)] = &[
        (1, "Shrink"),
        (6, "Implode"),
        (9, "Deflate64"),
        (12, "bzip2"),
        (14, "LZMA"),
        (93, "Zstandard"),
        (95, "xz"),
        (98, "PPMd"),
        (99, "AES"),
    ];
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) | ZipError::InvalidPassword => {
            "it is encrypted".into()
        }
        ZipError::CompressionMethodNotSupported(id) => {
            let method = METHODS.iter().find(|(known, _)| known == id);
            let method = method.map_or_else(|| format!("method {id}"), |(_, name)| (*name).to_owned());
            format!(
                "it is compressed with {method}, which is not read; pack it again with Deflate, as zip does by itself"
            )
        }
        e => e.to_string(),
    }
}
