//! Source → spool: decoding in parallel, a bounded number of pictures at a time, in the order of the source. Or to whoever wants to
//! see each picture as it is.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use rayon::prelude::*;

use crate::cache::{Meta, Spool};
use crate::captions::{Captions, Collected};
use crate::comment;
use crate::decode::{self, DecodeError, FORMATS};
use crate::maker::{self, Made, is_sheet};
use crate::source::{self, Entry, Payload, Source};
use crate::{DataError, Image, Options, Skipped, files, transform};

/// How far the opening of a dataset has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// What is being done.
    pub stage: OpeningStage,
    /// Pictures done.
    pub done: usize,
    /// Pictures in all, where that is known.
    pub total: Option<usize>,
}

/// The stages of opening a dataset that is not cached yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpeningStage {
    /// Reading sizes, to find the default for `size`.
    Measuring,
    /// Decoding, cropping and resizing.
    Decoding,
}

/// Entries that are decoded together.
const ENTRIES: usize = 256;
/// Encoded bytes that are held together.
const BYTES: usize = 64 << 20;

/// What a pass over a source has found.
#[derive(Default)]
pub(crate) struct Outcome {
    pub meta: Meta,
    pub captions: Captions,
    /// How many of the skipped pictures were a single pixel high or wide.
    pub tiny: usize,
    /// Whether all pictures have the same pixels.
    pub identical: bool,
}

/// A picture on its way into the spool.
struct Ready {
    image: Image,
    original: [u32; 2],
    format: &'static str,
    made: Option<Made>,
    /// What the picture itself says that it shows.
    captions: Vec<String>,
}

enum Failure {
    /// A sheet of our own.
    Sheet,
    Tiny(String),
    Other(String),
}

/// The default for `size`: see [`Options::size`]. Reads headers only, and stops at the first picture that decides.
pub(crate) fn decide_size(
    source: &mut dyn Source,
    options: &Options,
    progress: &mut dyn FnMut(Opening),
) -> Result<usize, DataError> {
    let total = source.count();
    let mut common: Option<(usize, usize)> = None;
    let mut decided = false;
    let mut done = 0;
    source.visit(&mut |entry| {
        let measured = match &entry.payload {
            Payload::Pixels(image, _) => Ok((image.width, image.height)),
            Payload::Bytes(bytes) if maker::made(bytes) == Some(Made::Sheet) => Err(()),
            Payload::Bytes(bytes) => decode::dimensions(bytes, options).map_err(drop),
            Payload::File(path) if is_sheet(path) => Err(()),
            Payload::File(path) => {
                files::open(path).map_err(drop).and_then(|file| decode::file_dimensions(file, options).map_err(drop))
            }
            Payload::Failed(_) => Err(()),
        };
        done += 1;
        if done % ENTRIES == 0 {
            progress(Opening { stage: OpeningStage::Measuring, done, total });
        }
        // Pictures that cannot be used have no say; they are reported when they are decoded.
        let Ok((width, height)) = measured else { return ControlFlow::Continue(()) };
        let keeps = width == height && (4..=Options::NATIVE_MAX).contains(&width) && width % 4 == 0;
        let tiny = width.min(height) < 2;
        if !tiny && (!keeps || common.is_some_and(|c| c != (width, height))) {
            decided = true;
            return ControlFlow::Break(());
        }
        common = if tiny { common } else { Some((width, height)) };
        ControlFlow::Continue(())
    })?;
    Ok(match common {
        Some((width, _)) if !decided => width,
        _ => Options::FALLBACK_SIZE,
    })
}

/// Decodes everything that `source` gives into `spool`. The inner error is the spool's: the disk, not the data.
pub(crate) fn collect(
    source: &mut dyn Source,
    options: &Options,
    size: usize,
    spool: &mut Spool,
    progress: &mut dyn FnMut(Opening),
) -> Result<std::io::Result<Outcome>, DataError> {
    let total = source.count();
    let mut collector = Collector::new(options, size, spool);
    let mut trouble: Option<std::io::Error> = None;
    batches(source, &mut |entries| match collector.take(entries) {
        Ok(()) => {
            progress(Opening { stage: OpeningStage::Decoding, done: collector.done(), total });
            ControlFlow::Continue(())
        }
        Err(e) => {
            trouble = Some(e);
            ControlFlow::Break(())
        }
    })?;
    if let Some(e) = trouble {
        return Ok(Err(e));
    }
    let done = collector.done();
    progress(Opening { stage: OpeningStage::Decoding, done, total: Some(done) });
    Ok(Ok(collector.finish(source)))
}

/// Gives all entries, as many together as are worth decoding in parallel and may be held.
fn batches(source: &mut dyn Source, take: &mut dyn FnMut(Vec<Entry>) -> ControlFlow<()>) -> Result<(), DataError> {
    let (mut waiting, mut bytes) = (Vec::with_capacity(ENTRIES), 0);
    let mut flow = ControlFlow::Continue(());
    source.visit(&mut |entry| {
        bytes += match &entry.payload {
            Payload::Bytes(encoded) => encoded.len(),
            Payload::Pixels(image, _) => image.pixels.len(),
            _ => 0,
        };
        waiting.push(entry);
        if waiting.len() < ENTRIES && bytes < BYTES {
            return ControlFlow::Continue(());
        }
        bytes = 0;
        flow = take(std::mem::take(&mut waiting));
        flow
    })?;
    if flow.is_continue() {
        // Nobody asks for more.
        let _ = take(waiting);
    }
    Ok(())
}

/// A picture as it is, with what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// Its name inside its source.
    pub name: String,
    /// The whole picture, on the background of the options where it is transparent.
    pub image: Image,
    /// Its captions, as [`Dataset::captions`](crate::Dataset::captions) has them.
    pub captions: Vec<String>,
}

/// What `see` makes of each picture at `path` (a folder, an archive or idx files), in the order of the source, and the pictures that
/// cannot be read. Unlike those of a [`Dataset`](crate::Dataset) they are neither cropped nor resized, and there may be just one. Sheets
/// of our own are passed over.
///
/// # Errors
/// A place or a source that cannot be read.
pub fn for_each_picture<T: Send>(
    path: &Path,
    options: &Options,
    see: impl Fn(Described) -> T + Sync,
) -> Result<(Vec<T>, Vec<Skipped>), DataError> {
    let (_, mut source) = source::open(path, options)?;
    let (mut seen, mut skipped) = (Vec::new(), Vec::new());
    batches(source.as_mut(), &mut |entries| {
        let each = |Entry { name, payload, captions, .. }: Entry| match read(payload, captions, options) {
            Ok(Read { image, captions, .. }) => Some(Ok(see(Described { name, image, captions }))),
            Err(Failure::Sheet) => None,
            Err(Failure::Tiny(reason) | Failure::Other(reason)) => Some(Err(Skipped { name, reason })),
        };
        for result in entries.into_par_iter().filter_map(each).collect::<Vec<_>>() {
            match result {
                Ok(found) => seen.push(found),
                Err(reason) => skipped.push(reason),
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok((seen, skipped))
}

struct Collector<'a> {
    options: &'a Options,
    size: usize,
    spool: &'a mut Spool,
    outcome: Outcome,
    captions: Collected,
    first: Option<Image>,
    /// Pictures that undiffuse has made: sheets, which are left out, and samples, which are not.
    sheets: Vec<String>,
    samples: Vec<String>,
    /// Class names in the order of their first picture; labels are numbers in here until the end.
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl<'a> Collector<'a> {
    fn new(options: &'a Options, size: usize, spool: &'a mut Spool) -> Self {
        let mut outcome = Outcome { identical: true, ..Outcome::default() };
        outcome.meta.size = size;
        // Grey until the first picture in colour.
        outcome.meta.channels = options.channels.unwrap_or(1);
        Collector {
            options,
            size,
            spool,
            outcome,
            captions: Collected::default(),
            first: None,
            sheets: Vec::new(),
            samples: Vec::new(),
            names: Vec::new(),
            numbers: HashMap::new(),
        }
    }

    fn done(&self) -> usize {
        self.outcome.meta.names.len() + self.outcome.meta.skipped.len() + self.sheets.len()
    }

    fn take(&mut self, entries: Vec<Entry>) -> std::io::Result<()> {
        let (options, size) = (self.options, self.size);
        let ready: Vec<_> = entries
            .into_par_iter()
            .map(|Entry { name, payload, label, captions }| (name, label, prepare(payload, captions, options, size)))
            .collect();
        for (name, label, prepared) in ready {
            match prepared {
                Ok(ready) => self.add(name, label, ready)?,
                Err(Failure::Sheet) => self.sheets.push(name),
                Err(Failure::Tiny(reason)) => {
                    self.outcome.tiny += 1;
                    self.outcome.meta.skipped.push(Skipped { name, reason });
                }
                Err(Failure::Other(reason)) => self.outcome.meta.skipped.push(Skipped { name, reason }),
            }
        }
        Ok(())
    }

    fn add(&mut self, name: String, label: Option<String>, ready: Ready) -> std::io::Result<()> {
        let meta = &mut self.outcome.meta;
        if ready.image.channels > meta.channels {
            self.spool.grey_to_rgb()?;
            meta.channels = 3;
            self.first = self.first.take().map(|first| first.to_rgb());
        }
        let image = if ready.image.channels < meta.channels { ready.image.to_rgb() } else { ready.image };
        self.spool.push(&image.pixels)?;
        let format = meta.format_names.iter().position(|f| f == ready.format).unwrap_or_else(|| {
            meta.format_names.push(ready.format.to_string());
            meta.format_names.len() - 1
        });
        meta.formats.push(format as u8);
        meta.originals.push(ready.original);
        if ready.made.is_some() {
            self.samples.push(name.clone());
        }
        meta.names.push(name);
        self.captions.push(ready.captions);
        meta.labels.push(label.map(|label| {
            let next = self.names.len() as u32;
            *self.numbers.entry(label).or_insert_with_key(|label| {
                self.names.push(label.clone());
                next
            })
        }));
        match &self.first {
            None => self.first = Some(image),
            Some(first) => self.outcome.identical &= *first == image,
        }
        Ok(())
    }

    fn finish(self, source: &dyn Source) -> Outcome {
        let Collector { mut outcome, captions, names, sheets, samples, .. } = self;
        outcome.captions = captions.finish();
        let meta = &mut outcome.meta;
        let mut classes = source.classes().unwrap_or_else(|| sorted(&names));
        for name in &names {
            if !classes.contains(name) {
                classes.push(name.clone());
            }
        }
        if names.is_empty() {
            classes.clear();
        }
        let number = |name: &String| classes.iter().position(|c| c == name).unwrap_or_default() as u32;
        let final_numbers: Vec<u32> = names.iter().map(number).collect();
        for label in meta.labels.iter_mut().flatten() {
            *label = final_numbers[*label as usize];
        }
        meta.classes = classes;
        meta.notes = source.notes();
        meta.notes.extend(made_note(&sheets, &samples, meta.names.len()));
        meta.ignored = source.ignored();
        outcome
    }
}

/// Sentences about pictures of our own. Whole sets of samples are meant; a few among others hardly are.
fn made_note(sheets: &[String], samples: &[String], total: usize) -> Vec<String> {
    let sheets = sheets.first().map(|first| {
        let count = sheets.len();
        let noun = if count == 1 { "sheet" } else { "sheets" };
        format!("left out {count} {noun} of pictures that undiffuse drew (first: {first})")
    });
    let samples = samples.first().filter(|_| samples.len() < total).map(|first| {
        format!("made by a model, not taken from the world: {} of {total} images (first: {first})", samples.len())
    });
    sheets.into_iter().chain(samples).collect()
}

/// By value when all are whole numbers, otherwise by name.
fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    let numbers: Option<Vec<i64>> = names.iter().map(|n| n.parse().ok()).collect();
    match numbers {
        Some(_) => names.sort_by_key(|n| n.parse::<i64>().unwrap_or_default()),
        None => names.sort(),
    }
    names
}

fn prepare(payload: Payload, captions: Vec<String>, options: &Options, size: usize) -> Result<Ready, Failure> {
    let Read { image, format, made, captions } = read(payload, captions, options)?;
    let (image, original) = square(image, options, size)?;
    Ok(Ready { image, original, format, made, captions })
}

/// A picture as its source has it.
struct Read {
    image: Image,
    format: &'static str,
    made: Option<Made>,
    captions: Vec<String>,
}

/// Decodes a picture. What it says of itself counts where its source says nothing of it.
fn read(payload: Payload, captions: Vec<String>, options: &Options) -> Result<Read, Failure> {
    let bad = |e: DecodeError| Failure::Other(e.to_string());
    let bytes = match payload {
        Payload::Pixels(image, format) => {
            return Ok(Read { image: image.flatten(options.background), format, made: None, captions });
        }
        Payload::Failed(reason) => return Err(Failure::Other(reason)),
        Payload::Bytes(bytes) => bytes,
        Payload::File(path) => {
            let unreadable = |e: std::io::Error| Failure::Other(format!("cannot be read: {e}"));
            let length = std::fs::metadata(&path).map_err(unreadable)?.len();
            if length > options.limits.file {
                return Err(bad(DecodeError::TooLong { bytes: length, limit: options.limits.file }));
            }
            files::read(&path, options.limits.file).map_err(|e| unreadable(e.source))?
        }
    };
    let made = maker::made(&bytes);
    if made == Some(Made::Sheet) {
        return Err(Failure::Sheet);
    }
    let decoded = decode::decode(&bytes, options).map_err(bad)?;
    let captions = if captions.is_empty() { comment::captions(&bytes) } else { captions };
    Ok(Read { image: decoded.image, format: FORMATS[decoded.format].name, made, captions })
}

/// What training sees of a picture, and the width and height that it had.
fn square(image: Image, options: &Options, size: usize) -> Result<(Image, [u32; 2]), Failure> {
    if image.width.min(image.height) < 2 {
        return Err(Failure::Tiny(format!("only {}x{} pixels", image.width, image.height)));
    }
    let original = [image.width as u32, image.height as u32];
    let image = match options.channels {
        Some(channels) => image.to_channels(channels),
        None => image,
    };
    // Grey pixels decoded from a colour format count as grey.
    let image = match options.channels {
        None if image.is_grey() => image.to_grey(),
        _ => image,
    };
    Ok((transform::square(&image, size), original))
}
