//! What is in a dataset: the text of `undiffuse data PATH`.

mod captions;

use std::collections::BTreeMap;
use std::fmt;

pub use captions::CaptionReport;
use rayon::prelude::*;
use serde::Serialize;

use crate::error::images;
use crate::text::escaped;
use crate::{Dataset, Skipped, duplicates};

/// Names that a printed list shows before it says "and n more".
const SHOWN: usize = 5;
/// Classes that the text lists; more are summed up.
const CLASSES_SHOWN: usize = 20;
/// The largest class may have this many times the pictures of the smallest before a warning.
const IMBALANCE: usize = 10;
/// A picture whose longer side is more than this many times the shorter loses more than half of itself to the crop.
const EXTREME_ASPECT: f64 = 2.0;
/// Share of duplicates that is worth a warning.
const MANY_DUPLICATES: f64 = 0.01;

/// What is in a dataset. Serializes to JSON; displays as text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataReport {
    /// The path it was opened from.
    pub path: String,
    /// The kind of source.
    pub source: String,
    /// Usable pictures.
    pub images: usize,
    /// Files that are no pictures.
    pub ignored: usize,
    /// Pictures that were left out, and why.
    pub skipped: Vec<Skipped>,
    /// Side of the squares that training sees.
    pub size: usize,
    /// 1 or 3.
    pub channels: usize,
    /// Widths before cropping.
    pub widths: Spread,
    /// Heights before cropping.
    pub heights: Spread,
    /// Pictures of each format.
    pub formats: BTreeMap<String, usize>,
    /// Classes in the order of their numbers.
    pub classes: Vec<ClassCount>,
    /// Pictures without a class, where others have one.
    pub unlabelled: usize,
    /// What is said of the pictures; nothing where nothing is.
    pub captions: Option<CaptionReport>,
    /// Groups of pictures with the same pixels (after cropping and resizing), by name.
    pub duplicates: Vec<Vec<String>>,
    /// Statistics of each channel.
    pub statistics: Vec<ChannelStats>,
    /// Hash of the decoded content.
    pub fingerprint: String,
    /// The file with the decoded pictures.
    pub cache_file: Option<String>,
    /// What the owner should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Smallest, middle and largest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: usize,
    /// The median (of an even count, the upper one).
    pub median: usize,
    /// The largest.
    pub max: usize,
}

impl Spread {
    fn of(mut values: Vec<usize>) -> Spread {
        values.sort_unstable();
        Spread { min: values[0], median: values[values.len() / 2], max: values[values.len() - 1] }
    }
}

/// A class and its pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Its name.
    pub name: String,
    /// How many pictures it has.
    pub images: usize,
}

/// Mean and standard deviation of one channel over all pixels, on the scale of 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ChannelStats {
    /// Mean.
    pub mean: f64,
    /// Standard deviation (of the population).
    pub std: f64,
}

impl DataReport {
    /// Examines a dataset; reads every pixel once or twice.
    pub fn new(dataset: &Dataset) -> DataReport {
        let n = dataset.len();
        let originals: Vec<_> = (0..n).map(|i| dataset.original_size(i)).collect();
        let mut formats = BTreeMap::new();
        for i in 0..n {
            *formats.entry(dataset.format(i).to_string()).or_default() += 1;
        }
        let mut counts = vec![0; dataset.classes().len()];
        for label in (0..n).filter_map(|i| dataset.label(i)) {
            counts[label as usize] += 1;
        }
        let labelled: usize = counts.iter().sum();
        let classes = dataset.classes().iter().zip(counts);
        let name = |&i: &usize| dataset.name(i).to_string();
        let groups = duplicates::exact(dataset);
        let mut report = DataReport {
            path: dataset.path().display().to_string(),
            source: dataset.source().to_string(),
            images: n,
            ignored: dataset.ignored(),
            skipped: dataset.skipped().to_vec(),
            size: dataset.width(),
            channels: dataset.channels(),
            widths: Spread::of(originals.iter().map(|o| o.0).collect()),
            heights: Spread::of(originals.iter().map(|o| o.1).collect()),
            formats,
            classes: classes.map(|(name, images)| ClassCount { name: name.clone(), images }).collect(),
            unlabelled: if dataset.classes().is_empty() { 0 } else { n - labelled },
            captions: CaptionReport::new(dataset),
            duplicates: groups.iter().map(|group| group.iter().map(name).collect()).collect(),
            statistics: statistics(dataset),
            fingerprint: dataset.fingerprint().to_string(),
            cache_file: dataset.cache_file().map(|file| file.display().to_string()),
            warnings: dataset.warnings(),
        };
        report.warn(&originals);
        report
    }

    /// Copies beyond the first of each group.
    fn copies(&self) -> usize {
        self.duplicates.iter().map(|group| group.len() - 1).sum()
    }

    fn warn(&mut self, originals: &[(usize, usize)]) {
        let size = self.size;
        let share = |count: usize| format!("{count} of {}", images(originals.len()));
        let small = originals.iter().filter(|(w, h)| *w.min(h) < size).count();
        let aspect = |(w, h): &(usize, usize)| *w.max(h) as f64 / *w.min(h) as f64;
        let extreme = originals.iter().filter(|o| aspect(o) > EXTREME_ASPECT).count();
        let counts = self.classes.iter().map(|c| c.images);
        let (fewest, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
        let copies = self.copies();
        let mut found = Vec::new();
        if small > 0 {
            found.push(format!(
                "smaller than {size}x{size} and enlarged: {}. A model learns their blur; a smaller --size avoids it",
                share(small)
            ));
        }
        if extreme > 0 {
            found.push(format!(
                "more than twice as long as wide: {}. Less than half of each is left after the centre crop",
                share(extreme)
            ));
        }
        if most > IMBALANCE * fewest.max(1) || (most > 0 && fewest == 0) {
            let name = |n| self.classes.iter().find(|c| c.images == n).map_or("", |c| &c.name);
            found.push(format!(
                "classes are unbalanced: `{}` has {most} images, `{}` has {fewest}; rare classes will be learned worse",
                name(most),
                name(fewest)
            ));
        }
        if self.unlabelled > 0 {
            found.push(format!("without a class, where others have one: {}", share(self.unlabelled)));
        }
        if copies as f64 > MANY_DUPLICATES * originals.len() as f64 {
            found.push(format!("{} repeated exactly: a model memorises what it sees often", images(copies)));
        }
        if self.statistics.iter().all(|s| s.std < 2.0) {
            found.push("the images are almost of one colour: there is little to learn".to_string());
        }
        found.extend(self.captions.iter().flat_map(|captions| captions.warnings(originals.len())));
        self.warnings.extend(found);
    }
}

/// Exact integer sums, so the result does not depend on the number of threads.
fn statistics(dataset: &Dataset) -> Vec<ChannelStats> {
    let channels = dataset.channels();
    let zero = || vec![(0u64, 0u64); channels];
    let add = |mut sums: Vec<(u64, u64)>, i: usize| {
        for pixel in dataset.pixels(i).chunks_exact(channels) {
            for (sum, &v) in sums.iter_mut().zip(pixel) {
                *sum = (sum.0 + v as u64, sum.1 + (v as u64).pow(2));
            }
        }
        sums
    };
    let join = |a: Vec<(u64, u64)>, b: Vec<(u64, u64)>| a.iter().zip(&b).map(|(a, b)| (a.0 + b.0, a.1 + b.1)).collect();
    let sums = (0..dataset.len()).into_par_iter().fold(zero, add).reduce(zero, join);
    let count = (dataset.len() * dataset.width() * dataset.height()) as f64;
    let moments = |(sum, squares): (u64, u64)| {
        let mean = sum as f64 / count;
        ChannelStats { mean, std: (squares as f64 / count - mean * mean).max(0.0).sqrt() }
    };
    sums.into_iter().map(moments).collect()
}

impl fmt::Display for DataReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // Names and captions are foreign text, and each belongs on its line.
        let mut line = |name: &str, text: String| writeln!(f, "{name:<12} {}", escaped(&text));
        line("data", format!("{} ({})", self.path, self.source))?;
        let rest = [(self.skipped.len(), "skipped"), (self.ignored, "other files ignored")];
        let rest: String = rest.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(", {n} {what}")).collect();
        line("images", format!("{}{rest}", self.images))?;
        line("formats", joined(self.formats.iter().map(|(name, n)| format!("{name} {n}")), usize::MAX))?;
        line("width", self.widths.to_string())?;
        line("height", self.heights.to_string())?;
        let channels = if self.channels == 1 { "grey" } else { "RGB" };
        line("trained as", format!("{0}x{0} {channels}", self.size))?;
        let channel_names = if self.channels == 1 { &["grey"][..] } else { &["red", "green", "blue"] };
        for (name, s) in channel_names.iter().zip(&self.statistics) {
            line(name, format!("mean {:.2}, std {:.2} (of 255)", s.mean, s.std))?;
        }
        match self.classes.len() {
            0 => line("classes", "none".into())?,
            n => line("classes", n.to_string())?,
        }
        for class in self.classes.iter().take(CLASSES_SHOWN) {
            line("", format!("{:>7}  {}", class.images, class.name))?;
        }
        if self.classes.len() > CLASSES_SHOWN {
            let rest: usize = self.classes[CLASSES_SHOWN..].iter().map(|c| c.images).sum();
            line("", format!("{rest:>7}  in {} more classes", self.classes.len() - CLASSES_SHOWN))?;
        }
        match &self.captions {
            None => line("captions", "none".into())?,
            Some(captions) => captions.lines().into_iter().try_for_each(|(name, text)| line(name, text))?,
        }
        let groups = self.duplicates.iter().map(|group| group.join(" = "));
        line("duplicates", counted(self.copies(), "exact copies", groups))?;
        line("fingerprint", self.fingerprint.clone())?;
        line("cache", self.cache_file.clone().unwrap_or("in memory".into()))?;
        for skipped in self.skipped.iter().take(SHOWN) {
            line("skipped", format!("{}: {}", skipped.name, skipped.reason))?;
        }
        if self.skipped.len() > SHOWN {
            line("skipped", format!("and {} more", self.skipped.len() - SHOWN))?;
        }
        for warning in &self.warnings {
            line("warning", warning.clone())?;
        }
        Ok(())
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.min == self.max {
            true => write!(f, "{}", self.min),
            false => write!(f, "{} to {}, median {}", self.min, self.max, self.median),
        }
    }
}

fn counted(count: usize, what: &str, examples: impl Iterator<Item = String>) -> String {
    match count {
        0 => format!("0 {what}"),
        n => format!("{n} {what}: {}", joined(examples, SHOWN)),
    }
}

fn joined(items: impl Iterator<Item = String>, most: usize) -> String {
    let items: Vec<String> = items.collect();
    let shown = items.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    if items.len() > most { format!("{shown}, and {} more", items.len() - most) } else { shown }
}
