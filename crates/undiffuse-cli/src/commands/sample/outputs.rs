//! Where the pictures of `undiffuse sample` go: seen to before anything is computed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use undiffuse::data::{Image, encode_png, is_sheet, read_png_text};
use undiffuse::files::{self, at, is_temporary};
use undiffuse_serve::parameters::OWN;

use super::Args;
use crate::common::usage;

/// Letters of an ask in the name of a file: names of files end somewhere, those of classes need not.
const SHOWN: usize = 64;
/// The most that is read of a file to tell whether it is one of this program's pictures.
const PICTURE: u64 = 256 << 20;

/// The places that are written to.
pub struct Outputs {
    /// The folder of the pictures, which holds nothing else: `eval` and `train` read it as it is.
    pub folder: PathBuf,
    /// The grid of all pictures, beside the folder.
    pub sheet: PathBuf,
}

/// Where a command is told to write, and what it reads.
pub struct Places<'a> {
    /// The folder of the pictures; in `samples`, by the model's name, when there is none.
    pub out: Option<&'a Path>,
    /// The model.
    pub model: &'a Path,
    /// A file for numbers.
    pub raw: Option<&'a Path>,
    /// The files that are read.
    pub inputs: Vec<&'a Path>,
    /// Whether what is there is replaced.
    pub overwrite: bool,
}

impl<'a> Places<'a> {
    /// Those of `undiffuse sample`.
    pub fn of(args: &'a Args) -> Self {
        let inputs = args.inputs().map(PathBuf::as_path).collect();
        let (out, raw, overwrite) = (args.out.as_deref(), args.raw.as_deref(), args.overwrite);
        Self { out, model: &args.model, raw, inputs, overwrite }
    }

    /// Whether a path is that of a file that is read.
    fn reads(&self, path: &Path) -> bool {
        self.inputs.iter().any(|input| same(input, path))
    }
}

impl Outputs {
    /// Makes the folder and checks that all can be written that is to be.
    ///
    /// # Errors
    /// What is there already and would be lost or mixed up; folders that cannot be made or written to.
    pub fn open(places: &Places) -> anyhow::Result<Self> {
        let folder = match places.out {
            Some(out) => out.to_owned(),
            None => unused(&Path::new("samples").join(name(places.model))),
        };
        if let Some(raw) = places.raw {
            check_raw(raw, places)?;
        }
        let sheet = beside(&folder, "-grid.png");
        if places.reads(&sheet) || (!places.overwrite && sheet.exists() && !is_sheet(&sheet)) {
            let (sheet, folder) = (sheet.display(), folder.display());
            return Err(usage(format!(
                "`{sheet}`, the sheet of --out {folder}, would be overwritten: name another folder"
            )));
        }
        let old = entries(&folder)?;
        if let (Some(first), false) = (old.first(), places.overwrite) {
            return Err(usage(format!(
                "--out {}: it holds files already, such as `{}`, and `eval` would read them together with the new \
                 pictures; name another folder, or replace them with --overwrite",
                folder.display(),
                first.display()
            )));
        }
        if let Some(kept) = old.iter().find(|path| places.reads(path) || !is_ours(path)) {
            return Err(usage(format!(
                "--overwrite removes pictures of this program, and `{}` is not one of them, or is an input: name \
                 another folder",
                kept.display()
            )));
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot create the folder `{}`", folder.display()))?;
        try_to_write(&folder)?;
        for path in old {
            fs::remove_file(&path).map_err(at("remove", &path))?;
        }
        Ok(Self { folder, sheet })
    }

    /// A file beside the folder, named after it with this ending.
    ///
    /// # Errors
    /// One that is there already, and is not to be replaced.
    pub fn beside(&self, ending: &str, overwrite: bool) -> anyhow::Result<PathBuf> {
        let path = beside(&self.folder, ending);
        match path.exists() && !overwrite {
            true => Err(usage(format!(
                "`{}` is there already: name another --out, or replace it with --overwrite",
                path.display()
            ))),
            false => Ok(path),
        }
    }

    /// Writes picture `number`, which is its seed or its place, with its texts.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(
        &self,
        number: &str,
        shows: Option<&str>,
        image: &Image,
        texts: &[(String, String)],
    ) -> anyhow::Result<()> {
        let suffix =
            shows.filter(|word| !word.is_empty()).map(|word| format!("-{}", file_part(word))).unwrap_or_default();
        write_png(&self.folder.join(format!("{number}{suffix}.png")), image, texts)
    }
}

/// Writes a PNG with texts.
///
/// # Errors
/// A file that cannot be written.
pub fn write_png(path: &Path, image: &Image, texts: &[(String, String)]) -> anyhow::Result<()> {
    Ok(files::write(path, &encode_png(image, texts)?)?)
}

/// What is in a folder, which may be missing; what the program itself has not finished writing does not count.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(at("read", folder))? {
        let entry = entry.map_err(at("read", folder))?;
        if !is_temporary(&entry.file_name().to_string_lossy()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether a file is a picture that this program made.
fn is_ours(path: &Path) -> bool {
    let png = path.extension().is_some_and(|e| e == "png") && !path.is_symlink();
    let text = || read_png_text(&files::read(path, PICTURE).ok()?).ok();
    png && text().is_some_and(|chunks| chunks.iter().any(|(key, _)| key == OWN))
}

fn same(a: &Path, b: &Path) -> bool {
    a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

fn check_raw(raw: &Path, places: &Places) -> anyhow::Result<()> {
    let name = raw.display();
    if places.reads(raw) {
        return Err(usage(format!("--raw {name} would overwrite what is read: name another file")));
    }
    if raw.is_dir() || raw.file_name().is_none() {
        return Err(usage(format!("--raw {name} is a folder: name a file in it, such as raw.safetensors")));
    }
    if raw.exists() && !places.overwrite {
        return Err(usage(format!("--raw {name} is there already: name another file, or replace it with --overwrite")));
    }
    try_to_write(raw.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
        .with_context(|| format!("cannot write `{name}`"))
}

/// Better to fail now than after hours of computing.
fn try_to_write(folder: &Path) -> anyhow::Result<()> {
    let probe = folder.join(format!(".probe-{}.undiffuse-new", std::process::id()));
    fs::File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(at("write into", folder))?;
    Ok(())
}

/// `X-grid.png` for a folder `X`.
fn beside(folder: &Path, ending: &str) -> PathBuf {
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let folder = if folder.file_name().is_some() { folder } else { &real };
    let mut name = folder.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    folder.with_file_name(name)
}

/// An ask as part of a file name; what makes names unique stands before it.
fn file_part(name: &str) -> String {
    let mut part = String::new();
    for c in name.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' }) {
        if part.len() + c.len_utf8() > SHOWN {
            break;
        }
        part.push(c);
    }
    part
}

/// The name of a model: the run's, not `model`.
fn name(path: &Path) -> String {
    let folder = if path.ends_with("model") { path.parent().unwrap_or(path) } else { path };
    folder.file_name().map_or_else(|| "model".into(), |n| n.to_string_lossy().into_owned())
}

/// `path`, or `path-2`, `path-3`… when it is taken, or its sheet is.
fn unused(path: &Path) -> PathBuf {
    let numbered = |n: usize| PathBuf::from(format!("{}-{n}", path.display()));
    std::iter::once(path.to_owned())
        .chain((2..).map(numbered))
        .find(|p| !p.exists() && !beside(p, "-grid.png").exists())
        .unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes_fit_into_names_of_files() {
        assert_eq!(file_part("Ankle boot/2"), "ankle-boot-2");
        assert_eq!(file_part("../x\0y"), "---x-y");
        assert_eq!(file_part(&"x".repeat(4000)).len(), SHOWN);
        // Cut between letters, not within one.
        let long = file_part(&"猫".repeat(100));
        assert!(long.len() <= SHOWN && long.chars().all(|c| c == '猫'), "{long}");
    }

    #[test]
    fn sheets_lie_beside_their_folder() {
        assert_eq!(beside(Path::new("a/b"), "-grid.png"), Path::new("a/b-grid.png"));
        assert_eq!(beside(Path::new("a/b/"), "-grid.png"), Path::new("a/b-grid.png"));
    }
}
