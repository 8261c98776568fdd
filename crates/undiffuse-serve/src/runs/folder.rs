//! What lies in the folder of a run. It may come from a stranger: nothing in it is a link that is followed, nothing but
//! regular files is opened, and no more is read than fits.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use undiffuse::files;
use undiffuse::train::CONFIG_FILE;
use undiffuse::train::length::Length;

use super::LOG_FILE;

/// The most that is read of a configuration, and of the plan of a run's length.
const CONFIG_BYTES: u64 = 1 << 20;
/// The most that is read of a grid of samples.
const SAMPLE_BYTES: u64 = 64 << 20;
/// The end of the log that is looked at.
const LOG_BYTES: u64 = 256 << 10;
/// The most entries of a folder that are looked at.
const ENTRIES: usize = 100_000;

/// Opens a file of the run.
pub(super) fn open(run: &Path, inside: &str) -> Option<File> {
    files::open_inside(run, Path::new(inside)).ok()
}

fn text(run: &Path, inside: &str, limit: u64) -> Option<String> {
    String::from_utf8(files::read_all(open(run, inside)?, limit).ok()?).ok()
}

/// Whether there is a file of this name, which no link counts as.
pub(super) fn has(run: &Path, inside: &str) -> bool {
    fs::symlink_metadata(run.join(inside)).is_ok_and(|facts| facts.is_file())
}

/// The text of a run's configuration.
pub(super) fn config(run: &Path) -> Option<String> {
    text(run, CONFIG_FILE, CONFIG_BYTES)
}

/// The planned length of a run.
pub(super) fn length(run: &Path) -> Length {
    let text = text(run, "length.json", CONFIG_BYTES);
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// The grids of samples of a run, by pictures seen: their names in its folder `samples`.
pub(super) fn samples(run: &Path) -> BTreeMap<u64, String> {
    let folder = run.join("samples");
    let there = fs::symlink_metadata(&folder).is_ok_and(|facts| facts.is_dir());
    let entries = there.then(|| fs::read_dir(folder).ok()).flatten().into_iter().flatten().take(ENTRIES);
    let grid = |entry: fs::DirEntry| {
        let name =
            entry.file_name().into_string().ok().filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file()))?;
        let digits = name.strip_suffix(".png").filter(|number| number.bytes().all(|b| b.is_ascii_digit()))?;
        Some((digits.parse().ok()?, name))
    };
    entries.filter_map(|entry| grid(entry.ok()?)).collect()
}

/// The PNG of the grid at so many pictures.
pub(super) fn sample(run: &Path, nimg: u64) -> Option<Vec<u8>> {
    let path = Path::new("samples").join(samples(run).remove(&nimg)?);
    files::read_all(files::open_inside(run, &path).ok()?, SAMPLE_BYTES).ok()
}

/// When a run last changed, in seconds since 1970.
pub(super) fn updated(run: &Path) -> f64 {
    let files = ["metrics.jsonl", "length.json", CONFIG_FILE, LOG_FILE];
    let times = files.iter().filter_map(|file| modified(&run.join(file)));
    let newest = times.max().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    newest.unwrap_or_default().as_secs_f64()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).ok()?.modified().ok()
}

/// The last lines of what its training has written; empty where there is nothing.
pub(super) fn tail(run: &Path, lines: usize) -> String {
    let read = || -> Option<String> {
        let mut file = open(run, LOG_FILE)?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES))).ok()?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().flat_map(|line| [line, "\n"]).collect()
}

/// Bytes that a look at the run takes in memory, about: its model and its newest state as they are read, and once more as
/// they are used.
pub(super) fn weight(run: &Path) -> u64 {
    let largest = |folder: PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().take(ENTRIES).filter_map(Result::ok);
        let sizes =
            entries.filter_map(|entry| entry.metadata().ok().filter(fs::Metadata::is_file).map(|facts| facts.len()));
        sizes.max().unwrap_or(0)
    };
    let folders = ["checkpoints", "model/unet", "model"].map(|folder| largest(run.join(folder)));
    folders.iter().fold(0, |sum, bytes| sum.saturating_add(bytes.saturating_mul(3)))
}
