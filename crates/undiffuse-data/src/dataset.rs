//! A dataset, opened: decoded pictures with their labels and captions, ready to become batches.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::{self, Content, Spool};
use crate::captions::Captions;
use crate::collect::{Opening, Outcome, collect, decide_size};
use crate::error::images;
use crate::memory::{self, human};
use crate::rows::{self, Rows};
use crate::source::{self, Source};
use crate::text::escaped;
use crate::{DataError, Image, Options, Skipped, names};

/// Fewer pictures than this are likely to be memorised rather than learned from.
pub(crate) const FEW: usize = 500;
/// Digits of a fingerprint that tell states of the data apart, in names of files.
const STATE: usize = 16;

/// Square pictures of one size, with labels and captions. Immutable, and cheap to share by reference between threads.
#[derive(Debug)]
pub struct Dataset {
    path: PathBuf,
    content: Content,
    cache_file: Option<PathBuf>,
    from_cache: bool,
    flip: bool,
    cache_problem: Option<String>,
    /// What the source says when it is opened.
    notes: Vec<String>,
    /// Columns of numbers that somebody has asked for.
    columns: Mutex<BTreeMap<String, Column>>,
}

/// Numbers of each picture, as many as it has; none where nothing is said of it.
pub type Column = Arc<Vec<Option<Vec<f32>>>>;

impl Dataset {
    /// Opens the folder, archive or idx file at `path`, from the cache when it was decoded before.
    ///
    /// # Errors
    /// Every variant of [`DataError`] that concerns a dataset as a whole.
    pub fn open(path: &Path, options: &Options) -> Result<Dataset, DataError> {
        Dataset::open_with(path, options, &mut |_| {})
    }

    /// As [`open`](Self::open); `progress` is called now and then while pictures are decoded, never when they are cached.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: &Path, options: &Options, progress: &mut dyn FnMut(Opening)) -> Result<Dataset, DataError> {
        options.check()?;
        let (tag, mut source) = source::open(path, options)?;
        let inputs = cache::inputs_hash(source.inputs());
        let file = options.cache.dir().map(|folder| cache::file_for(&folder, path, options));
        if let Some(file) = &file
            && let Some(content) = cache::load(file, &inputs)
        {
            refuse_skipped(path, &content.meta.skipped, options)?;
            return Ok(Dataset {
                path: path.to_path_buf(),
                content,
                cache_file: Some(file.clone()),
                from_cache: true,
                flip: options.flip,
                cache_problem: None,
                notes: source.notes(),
                columns: Mutex::default(),
            });
        }
        build(path, tag, source.as_mut(), options, inputs, file, progress)
    }

    /// Reads a source of the program's own; it is never cached. `name` stands for a path in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_source(name: &str, source: &mut dyn Source, options: &Options) -> Result<Dataset, DataError> {
        options.check()?;
        build(name.as_ref(), "program", source, options, String::new(), None, &mut |_| {})
    }

    /// Number of pictures.
    #[allow(clippy::len_without_is_empty)] // a dataset always has at least two pictures
    pub fn len(&self) -> usize {
        self.content.meta.names.len()
    }

    /// 1 or 3.
    pub fn channels(&self) -> usize {
        self.content.meta.channels
    }

    /// Height in pixels; equal to the width.
    pub fn height(&self) -> usize {
        self.content.meta.size
    }

    /// Width in pixels; equal to the height.
    pub fn width(&self) -> usize {
        self.content.meta.size
    }

    /// Names of the classes, in the order of their numbers; empty when the pictures have no labels.
    pub fn classes(&self) -> &[String] {
        &self.content.meta.classes
    }

    /// Class number of picture `i`, an index into [`classes`](Self::classes).
    pub fn label(&self, i: usize) -> Option<u32> {
        self.content.meta.labels[i]
    }

    /// What picture `i` is said to show, in the order of its source; nothing where nothing is said. Training draws one of them
    /// each time that it sees the picture.
    pub fn captions(&self, i: usize) -> impl ExactSizeIterator<Item = &str> + Clone {
        let table = &self.content.captions;
        table.of(i).map(|caption| table.text(caption))
    }

    /// All captions, each with a number, for whoever does something once for each.
    pub fn caption_table(&self) -> &Captions {
        &self.content.captions
    }

    /// What is made once of these data and kept beside their cached pictures, for the next time that they are opened; in memory
    /// where they are not cached. `key` says what it is made by, and of what beside the data themselves.
    ///
    /// # Errors
    /// As [`Rows::made`].
    pub fn kept<E: From<io::Error>>(
        &self,
        key: &str,
        make: impl FnOnce(&mut rows::Take) -> Result<(), E>,
    ) -> Result<Rows, E> {
        let file = self.cache_file.as_ref().map(|pixels| {
            let stem = pixels.file_stem().unwrap_or_default().to_string_lossy();
            let state = self.fingerprint().get(..STATE).unwrap_or_default();
            pixels.with_file_name(format!("{stem}-{state}-{key}.rows"))
        });
        Rows::made(file.as_deref(), make)
    }

    /// The numbers in a column of the source's tables, such as `metadata.jsonl`. They are read when they are first asked for,
    /// and no part of the [`fingerprint`](Self::fingerprint).
    ///
    /// # Errors
    /// A source that is no longer there, values that are no numbers.
    pub fn numbers(&self, column: &str) -> Result<Column, DataError> {
        self.column(column, |data| {
            let mut found = match data.source() {
                "program" => Default::default(),
                _ => source::numbers(&data.path, column)?,
            };
            Ok((0..data.len()).map(|i| found.remove(data.name(i))).collect())
        })
    }

    /// The columns of the source's tables, whatever they hold, in order.
    ///
    /// # Errors
    /// A source that is no longer there.
    pub fn columns(&self) -> Result<Vec<String>, DataError> {
        match self.source() {
            "program" => Ok(Vec::new()),
            _ => Ok(source::columns(&self.path)?.into_iter().collect()),
        }
    }

    /// Numbers that `read` finds somewhere else, read once and kept under a name.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn column<E>(
        &self,
        name: &str,
        read: impl FnOnce(&Self) -> Result<Vec<Option<Vec<f32>>>, E>,
    ) -> Result<Column, E> {
        // Not held meanwhile: what is read may be made of other columns.
        let columns = || self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(column) = columns().get(name).cloned() {
            return Ok(column);
        }
        let column = Arc::new(read(self)?);
        Ok(columns().entry(name.to_owned()).or_insert(column).clone())
    }

    /// Name of picture `i` inside its source.
    pub fn name(&self, i: usize) -> &str {
        &self.content.meta.names[i]
    }

    /// Width and height of picture `i` before it was cropped and resized.
    pub fn original_size(&self, i: usize) -> (usize, usize) {
        let [width, height] = self.content.meta.originals[i];
        (width as usize, height as usize)
    }

    /// Format of picture `i`, such as `"PNG"`.
    pub fn format(&self, i: usize) -> &str {
        &self.content.meta.format_names[self.content.meta.formats[i] as usize]
    }

    /// Pixels of picture `i`: `[height, width, channels]`.
    pub fn pixels(&self, i: usize) -> &[u8] {
        let stride = self.stride();
        &self.content.pixels[i * stride..(i + 1) * stride]
    }

    /// Picture `i` as an [`Image`] of its own.
    pub fn image(&self, i: usize) -> Image {
        Image::new(self.width(), self.height(), self.channels(), self.pixels(i).to_vec())
    }

    /// Pictures that were left out, and why.
    pub fn skipped(&self) -> &[Skipped] {
        &self.content.meta.skipped
    }

    /// SHA-256 (hexadecimal) of the decoded pixels, labels, class names and captions: the same for the same training data,
    /// wherever it lies and however it is packed.
    pub fn fingerprint(&self) -> &str {
        &self.content.meta.fingerprint
    }

    /// Whether training may mirror pictures ([`Options::flip`]).
    pub fn flip(&self) -> bool {
        self.flip
    }

    /// The path it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which kind of source it came from: a tag of [`source::SOURCES`].
    pub fn source(&self) -> &str {
        &self.content.meta.source
    }

    /// The file that holds the decoded pictures; `None` when they are in memory.
    pub fn cache_file(&self) -> Option<&Path> {
        self.cache_file.as_deref()
    }

    /// Whether nothing had to be decoded.
    pub fn is_from_cache(&self) -> bool {
        self.from_cache
    }

    /// How many files were passed over because they are no pictures.
    pub fn ignored(&self) -> usize {
        self.content.meta.ignored
    }

    /// What the owner of the data should know before training, one sentence each. [`DataReport`](crate::DataReport) finds more.
    pub fn warnings(&self) -> Vec<String> {
        let n = self.len();
        let few = (n < FEW).then(|| {
            format!(
                "only {n} images: a model will soon repeat them instead of making new ones; some thousands are better"
            )
        });
        let skipped = self.content.meta.skipped.first().map(|first| {
            format!("skipped {} (first: {}: {})", images(self.content.meta.skipped.len()), first.name, first.reason)
        });
        let found = self.cache_problem.clone().into_iter().chain(few).chain(skipped);
        let found = found
            .chain(names::warnings(self.classes()))
            .chain(self.notes.iter().chain(&self.content.meta.notes).cloned());
        // Names of files and classes are foreign text.
        found.map(|sentence| escaped(&sentence).into_owned()).collect()
    }

    /// Appends a batch to `out`, which is cleared first: `[indices.len(), channels, height, width]` in [−1, 1],
    /// `x = pixel / 127.5 − 1`. Pictures whose flag in `flips` is set are mirrored left to right; an empty `flips` mirrors none.
    ///
    /// # Panics
    /// If an index is not below [`len`](Self::len), or `flips` is neither empty nor as long as `indices`.
    pub fn batch(&self, indices: &[usize], flips: &[bool], out: &mut Vec<f32>) {
        assert!(flips.is_empty() || flips.len() == indices.len(), "one flip for each index");
        out.clear();
        out.reserve(indices.len() * self.stride());
        let (size, channels) = (self.content.meta.size, self.content.meta.channels);
        for (k, &i) in indices.iter().enumerate() {
            let pixels = self.pixels(i);
            let mirrored = flips.get(k).copied().unwrap_or(false);
            for channel in 0..channels {
                for row in pixels.chunks_exact(size * channels) {
                    let values = row[channel..].iter().step_by(channels).map(|&v| v as f32 / 127.5 - 1.0);
                    match mirrored {
                        true => out.extend(values.rev()),
                        false => out.extend(values),
                    }
                }
            }
        }
    }

    fn stride(&self) -> usize {
        self.content.meta.size * self.content.meta.size * self.content.meta.channels
    }
}

/// Decodes everything into a new cache file, or into memory where no file can be written.
fn build(
    path: &Path,
    tag: &str,
    source: &mut dyn Source,
    options: &Options,
    inputs: String,
    file: Option<PathBuf>,
    progress: &mut dyn FnMut(Opening),
) -> Result<Dataset, DataError> {
    let size = match options.size {
        Some(size) => size,
        None => decide_size(source, options, progress)?,
    };
    price(path, source.count(), size, options, file.as_deref())?;
    let notes = source.notes();
    let mut finish = |mut spool: Spool, source: &mut dyn Source, file: Option<&Path>| {
        let outcome = collect(source, options, size, &mut spool, progress)?;
        let mut outcome = match outcome {
            Ok(outcome) => outcome,
            Err(e) => return Ok(Err(e)),
        };
        check(path, &outcome, source, options)?;
        outcome.meta.source = tag.to_string();
        outcome.meta.notes.retain(|note| !notes.contains(note));
        outcome.meta.inputs = inputs.clone();
        Ok(spool.finish(outcome.meta, outcome.captions, file))
    };
    let on_disk = file.as_deref().map(|file| match Spool::beside(file) {
        Ok(spool) => finish(spool, source, Some(file)),
        Err(e) => Ok(Err(e)),
    });
    let (written, cache_problem) = match on_disk.transpose()? {
        None => (None, None),
        Some(Ok(done)) => (Some(done), None),
        Some(Err(e)) => (None, file.as_deref().map(|file| no_cache(file, &e))),
    };
    let cache_file = file.filter(|_| written.is_some());
    let content = match written {
        Some(done) => done,
        None => finish(Spool::memory(), source, None)?.map_err(|e| no_room(path, &e, cache_problem.as_deref()))?,
    };
    Ok(Dataset {
        path: path.to_path_buf(),
        content,
        cache_file,
        from_cache: false,
        flip: options.flip,
        cache_problem,
        notes,
        columns: Mutex::default(),
    })
}

/// Refuses what has no room, neither on the disk nor in memory, before anything is decoded. The least that it can take is
/// enough for that: whether pictures are grey shows later.
fn price(
    path: &Path,
    count: Option<usize>,
    size: usize,
    options: &Options,
    file: Option<&Path>,
) -> Result<(), DataError> {
    let Some(count) = count else { return Ok(()) };
    let channels = options.channels.unwrap_or(1);
    let least = [size, size, channels].iter().try_fold(count as u64, |n, &k| n.checked_mul(k as u64));
    let least = least.unwrap_or(u64::MAX);
    let (disk, memory) = (file.and_then(Path::parent).map(cache::free), memory::spare());
    let room = match disk {
        Some(disk) => disk.zip(memory).map(|(disk, memory)| disk.max(memory)),
        None => memory,
    };
    match room.filter(|&room| room < least) {
        Some(room) => Err(DataError::TooLarge {
            path: path.to_path_buf(),
            problem: format!(
                "{} of {size}x{size} pixels take {} or more, and there is room for {}. Use a smaller --size, or set \
                 UNDIFFUSE_CACHE to a folder on a larger disk",
                images(count),
                human(least),
                human(room)
            ),
        }),
        None => Ok(()),
    }
}

fn no_room(path: &Path, e: &std::io::Error, cache: Option<&str>) -> DataError {
    let also = cache.map(|problem| format!(" ({problem})")).unwrap_or_default();
    DataError::TooLarge { path: path.to_path_buf(), problem: format!("{e}{also}. Use a smaller --size") }
}

fn no_cache(file: &Path, e: &std::io::Error) -> String {
    let folder = file.parent().unwrap_or(file).display();
    format!(
        "the cache folder {folder} cannot be written ({e}): images stay in memory and are decoded at every start. Set UNDIFFUSE_CACHE to another folder"
    )
}

/// How many reasons a message shows.
const SHOWN: usize = 3;

fn refuse_skipped(path: &Path, skipped: &[Skipped], options: &Options) -> Result<(), DataError> {
    if !options.strict || skipped.is_empty() {
        return Ok(());
    }
    let first = skipped.iter().take(SHOWN).cloned().collect();
    Err(DataError::Strict { path: path.to_path_buf(), count: skipped.len(), first })
}

/// Refuses what cannot be trained on.
fn check(path: &Path, outcome: &Outcome, source: &dyn Source, options: &Options) -> Result<(), DataError> {
    let path = path.to_path_buf();
    let (usable, skipped) = (outcome.meta.names.len(), &outcome.meta.skipped);
    match usable {
        0 if skipped.is_empty() => {
            let looked_for = format!("{} files, by their endings", crate::decode::format_names());
            return Err(DataError::Empty { path, looked_for, ignored: source.ignored() });
        }
        0 if outcome.tiny == skipped.len() => return Err(DataError::OnePixel { path, count: outcome.tiny }),
        0 => {
            let first = skipped.iter().take(SHOWN).cloned().collect();
            return Err(DataError::AllFailed { path, count: skipped.len(), first });
        }
        _ => refuse_skipped(&path, skipped, options)?,
    }
    if usable == 1 {
        return Err(DataError::OneImage { path, name: outcome.meta.names[0].clone(), skipped: skipped.len() });
    }
    if outcome.identical {
        return Err(DataError::AllIdentical { path, count: usable });
    }
    Ok(())
}
