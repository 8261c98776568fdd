//! A folder of pictures, with the folders inside it.

use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::layout::{self, Layout, Role};
use super::{Entry, Input, Opened, Payload, Probe, Sink, Source, SourceKind, failed};
use crate::{DataError, Options};

pub(super) const KIND: SourceKind = SourceKind {
    tag: "folder",
    reads: "a folder of PNG, JPEG, WebP, GIF, BMP, PNM or TIFF images (folders inside it are classes; a metadata.jsonl or .txt \
            files carry captions)",
    accepts: |probe: &Probe| probe.is_folder,
    open,
};

fn open(path: &Path, _: &Options) -> Opened {
    let mut files: Vec<(String, Input)> = Vec::new();
    let mut folder = Folder { root: path.to_path_buf(), ..Folder::default() };
    let visible =
        |entry: &walkdir::DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
    for entry in WalkDir::new(path).follow_links(true).into_iter().filter_entry(visible) {
        match entry {
            Ok(entry) if entry.file_type().is_file() => {
                let name = relative(path, entry.path());
                match (layout::role(&name), entry.metadata()) {
                    (Role::Hidden, _) => {}
                    (Role::Other, _) => folder.ignored += 1,
                    (_, Ok(meta)) => files.push((name, Input::from_metadata(entry.path().to_path_buf(), &meta))),
                    (_, Err(e)) => folder.failures.push((name, e.to_string())),
                }
            }
            Ok(_) => {}
            Err(e) if e.depth() == 0 => return Err(unreadable(path, e)),
            Err(e) => folder.note_error(path, e),
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    folder.failures.sort();
    (folder.names, folder.inputs) = files.into_iter().unzip();
    Ok(Box::new(folder))
}

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
        let mut read = |i: usize| std::fs::read(&inputs[i].path).map_err(|e| DataError::io(&inputs[i].path, e));
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
                caption: picture.caption,
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

/// The path inside the root with `/` as separator; bytes that are no UTF-8 are shown as `�`.
fn relative(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    inside.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn begins_like_a_picture(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(64).read_to_end(&mut head));
    read.is_ok() && ::image::guess_format(&head).is_ok()
}

fn unreadable(path: &Path, error: walkdir::Error) -> DataError {
    let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other("the folder cannot be entered"));
    DataError::io(path, source)
}
