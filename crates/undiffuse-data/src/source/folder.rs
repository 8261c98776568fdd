//! A folder of pictures, with the folders inside it.

use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::layout::{self, Layout, Role, SIDECAR};
use super::ours::Ours;
use super::{Entry, Input, MOST_FILES, Opened, Payload, Probe, Sink, Source, SourceKind, failed};
use crate::{DataError, Options, files};

pub(super) const KIND: SourceKind = SourceKind {
    tag: "folder",
    reads: "a folder of PNG, JPEG, WebP, GIF, BMP, PNM or TIFF images (folders inside it are classes; a metadata.jsonl, .txt \
            or .caption files or COCO's captions_*.json carry captions)",
    accepts: |probe: &Probe| probe.is_folder,
    open,
};

/// Links to folders that are followed inside of others. Folders that link to each other have more ways through them than can
/// be gone.
const MOST_LINKS: usize = 2_000;
/// Files of a hidden folder that are looked at, to say what is left out.
const HIDDEN_SEEN: usize = 10_000;

fn open(path: &Path, _: &Options) -> Opened {
    let mut folder = Folder { root: path.to_path_buf(), ..Folder::default() };
    let mut found = folder.walk()?;
    let ours = Ours::among(found.iter().map(|(name, _)| name.as_str()));
    folder.notes.extend(ours.remove(&mut found, |(name, _)| name));
    found.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, input) in found {
        match input {
            None => folder.ignored += 1,
            Some(Ok(input)) => {
                folder.names.push(name);
                folder.inputs.push(input);
            }
            Some(Err(reason)) => folder.failures.push((name, reason)),
        }
    }
    folder.failures.sort();
    Ok(Box::new(folder))
}

/// A file by its relative name: nothing if it is neither picture nor sidecar, otherwise what reading it depends on or why it
/// cannot be read.
type Found = (String, Option<Result<Input, String>>);

#[derive(Default)]
struct Folder {
    root: PathBuf,
    /// Relative names of pictures and sidecars, sorted; parallel to `inputs`.
    names: Vec<String>,
    inputs: Vec<Input>,
    ignored: usize,
    /// Pictures and folders that cannot be reached, and why.
    failures: Vec<(String, String)>,
    notes: Vec<String>,
    layout: Option<Layout>,
}

impl Folder {
    /// Everything that is not hidden.
    fn walk(&mut self) -> Result<Vec<Found>, DataError> {
        let root = self.root.clone();
        let (mut found, mut hidden) = (Vec::new(), Vec::new());
        let mut links = Links::default();
        let visible = |entry: &DirEntry| {
            let shown = entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
            if !shown {
                hidden.extend(pictures_of_hidden(entry).map(|count| (relative(&root, entry.path()), count)));
            }
            shown
        };
        for entry in WalkDir::new(&root).follow_links(true).into_iter().filter_entry(visible) {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => links.enter(&entry),
                Ok(entry) => found.extend(look(&root, &entry)),
                Err(e) if e.depth() == 0 => return Err(unreadable(&root, e)),
                Err(e) => self.note_error(&root, e),
            }
            if links.nested > MOST_LINKS || found.len() > MOST_FILES {
                let problem = match links.nested > MOST_LINKS {
                    true => format!("its links to folders hold more than {MOST_LINKS} such links, or lead in circles"),
                    false => format!("it holds more than {MOST_FILES} files"),
                };
                return Err(DataError::TooLarge { path: root, problem });
            }
        }
        self.notes.extend(layout::hidden_note(hidden));
        Ok(found)
    }

    fn note_error(&mut self, root: &Path, error: walkdir::Error) {
        let name = error.path().map(|p| relative(root, p)).unwrap_or_default();
        let kind = error.io_error().map(|e| e.kind());
        match kind {
            None => {
                self.notes.push(format!("{name} is a symbolic link to a folder that contains it; it is not followed"))
            }
            Some(std::io::ErrorKind::NotFound) if layout::role(&name) == Role::Picture => {
                self.failures.push((name, "a symbolic link to a file that is not there".into()));
            }
            Some(std::io::ErrorKind::NotFound) => {}
            Some(kind) => self.failures.push((name, format!("cannot be read: {kind}"))),
        }
    }

    fn read_layout(&mut self) -> Result<Layout, DataError> {
        if let Some(layout) = &self.layout {
            return Ok(layout.clone());
        }
        let (names, inputs) = (&self.names, &self.inputs);
        let mut read =
            |i: usize| files::read(&inputs[i].path, SIDECAR).map_err(|e| DataError::io(&inputs[i].path, e.source));
        let mut layout = layout::layout(&self.root, names, &mut read)?;
        let before = layout.pictures.len();
        layout.pictures.retain(|picture| picture.certain || begins_like_a_picture(&inputs[picture.file].path));
        layout.ignored += before - layout.pictures.len();
        self.layout = Some(layout.clone());
        Ok(layout)
    }
}

impl Source for Folder {
    fn visit(&mut self, sink: &mut Sink) -> Result<(), DataError> {
        for picture in self.read_layout()?.pictures {
            let entry = Entry {
                name: self.names[picture.file].clone(),
                payload: Payload::File(self.inputs[picture.file].path.clone()),
                label: picture.label,
                captions: picture.captions,
            };
            if sink(entry).is_break() {
                return Ok(());
            }
        }
        for (name, reason) in &self.failures {
            if sink(failed(name, reason)).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    fn tables(&mut self) -> Result<Vec<(String, Vec<u8>)>, DataError> {
        let tables = self.names.iter().zip(&self.inputs).filter(|(name, _)| layout::role(name) == Role::Table);
        let read = |(name, input): (&String, &Input)| match files::read(&input.path, SIDECAR) {
            Ok(bytes) => Ok((name.clone(), bytes)),
            Err(e) => Err(DataError::io(&input.path, e.source)),
        };
        tables.map(read).collect()
    }

    fn count(&self) -> Option<usize> {
        Some(self.names.iter().filter(|name| layout::role(name) == Role::Picture).count())
    }

    fn notes(&self) -> Vec<String> {
        let found = self.layout.iter().flat_map(|layout| &layout.notes);
        found.chain(&self.notes).cloned().collect()
    }

    fn ignored(&self) -> usize {
        self.ignored + self.layout.as_ref().map_or(0, |layout| layout.ignored)
    }
}

/// Links to folders on the way to where a walk is.
#[derive(Default)]
struct Links {
    /// Their depths.
    way: Vec<usize>,
    /// How many others there were on such ways.
    nested: usize,
}

impl Links {
    fn enter(&mut self, folder: &DirEntry) {
        self.way.retain(|&depth| depth < folder.depth());
        if folder.path_is_symlink() && folder.depth() > 0 {
            self.nested += usize::from(!self.way.is_empty());
            self.way.push(folder.depth());
        }
    }
}

fn look(root: &Path, entry: &DirEntry) -> Option<Found> {
    let name = relative(root, entry.path());
    let input = match layout::role(&name) {
        Role::Hidden => return None,
        Role::Other => None,
        // Opening a pipe could wait for ever.
        Role::Picture if !entry.file_type().is_file() => {
            Some(Err("not a file but a pipe, a socket or a device".to_owned()))
        }
        _ if !entry.file_type().is_file() => None,
        _ => Some(match entry.metadata() {
            Ok(meta) => Ok(Input::from_metadata(entry.path().to_path_buf(), &meta)),
            Err(e) => Err(e.to_string()),
        }),
    };
    Some((name, input))
}

/// How many pictures a hidden file is or a hidden folder has; nothing where there is none.
fn pictures_of_hidden(entry: &DirEntry) -> Option<usize> {
    let inside = WalkDir::new(entry.path()).into_iter().take(HIDDEN_SEEN).flatten();
    let count = inside
        .filter(|e| e.file_type().is_file() && layout::is_hidden_picture(&e.file_name().to_string_lossy()))
        .count();
    (count > 0).then_some(count)
}

/// The path inside the root with `/` as separator. Bytes that are no UTF-8 become `\xff`, so that two names stay two.
fn relative(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let part = |part: &std::ffi::OsStr| match part.to_str() {
        Some(text) => text.to_owned(),
        None => {
            let chunks = part.as_encoded_bytes().utf8_chunks();
            let bytes = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
            chunks.map(|chunk| chunk.valid().to_owned() + &bytes(chunk.invalid())).collect()
        }
    };
    inside.iter().map(part).collect::<Vec<_>>().join("/")
}

fn begins_like_a_picture(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = files::open(path).is_ok_and(|file| file.take(64).read_to_end(&mut head).is_ok());
    read && ::image::guess_format(&head).is_ok()
}

fn unreadable(path: &Path, error: walkdir::Error) -> DataError {
    let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other("the folder cannot be entered"));
    DataError::io(path, source)
}
