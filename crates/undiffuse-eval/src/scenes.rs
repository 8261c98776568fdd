//! Whether pictures of scenes show what their captions say, by the exact checker of [`undiffuse_data::scenes`].

use std::fmt;
use std::path::Path;

use serde::Serialize;
use undiffuse_data::scenes::{Checker, Found, Group, SIDES, Scene, Verdict};
use undiffuse_data::{DataError, Described, Image, Options, Skipped, for_each_picture};
use undiffuse_math::noise;

use crate::audit::Share;

/// How sure intervals are.
const CONFIDENCE: f64 = 0.95;
/// Other pictures' captions that each picture is compared with for chance, at most.
const OTHERS: usize = 100;

/// Whether something is so of a picture; nothing where it does not apply.
type Measure = fn(&Verdict) -> Option<bool>;
/// Whether pictures of a group belong to a part.
type Belongs = fn(Group) -> bool;

/// What is counted, each with its word.
const MEASURES: &[(&str, Measure)] = &[
    ("shape", |verdict| Some(verdict.shapes)),
    ("colour", |verdict| Some(verdict.colours)),
    ("shape and colour", |verdict| Some(verdict.objects)),
    ("and size", |verdict| Some(verdict.sizes)),
    ("and relation", |verdict| verdict.relation),
    ("relation where both are right", |verdict| verdict.relation.filter(|_| verdict.objects)),
    ("everything", |verdict| Some(verdict.all)),
];

/// The parts that are counted apart. The second is the last two together, and is left out where one of them is empty.
const PARTS: [(&str, Belongs); 4] = [
    ("seen", |group| group == Group::Seen),
    ("held out", |group| group != Group::Seen),
    ("new pair", |group| group == Group::NewPair),
    ("new combination", |group| group == Group::NewCombination),
];

/// A scene that a caption tells of, and what was found in its picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// What should be there.
    pub scene: Scene,
    /// What is there.
    pub found: Vec<Found>,
}

/// The pictures of a place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pictures {
    /// Those whose captions tell of a scene.
    pub shown: Vec<Shown>,
    /// Those without such a caption, and why not.
    pub others: Vec<Skipped>,
    /// Those that cannot be read, and why.
    pub skipped: Vec<Skipped>,
}

/// How often pictures are as they are told, by group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenesReport {
    /// The groups that have pictures; where there are both kinds of held-out scenes, all of them together as well.
    pub groups: Vec<GroupScores>,
}

/// The scores of one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupScores {
    /// Its word.
    pub group: String,
    /// Its pictures.
    pub images: usize,
    /// One for each thing that is counted.
    pub scores: Vec<Score>,
}

/// How often something is right.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// What.
    pub measure: &'static str,
    /// How many pictures of those that it can be asked of, with an interval of 95 %.
    pub right: Share,
    /// The share for the same pictures under each other's captions: a model that does not listen. `None` where it can be asked of
    /// no such couple.
    pub chance: Option<f64>,
}

/// Looks at every picture at `path`: a folder, archive or idx files, whose pictures carry their captions as any data do. With
/// `sigma`, Gaussian noise of that standard deviation (pictures in \[−1, 1\]) is added first, and the sum clipped and rounded to 8 bits.
///
/// # Errors
/// A place that cannot be read.
pub fn look(path: &Path, sigma: f32) -> Result<Pictures, DataError> {
    enum Seen {
        Shown(Shown),
        Other(Skipped),
    }
    let checker = Checker::new();
    let see = |Described { name, image, captions }: Described| {
        let other = |reason: String| Seen::Other(Skipped { name: name.clone(), reason });
        let Some(first) = captions.first() else { return other("it has no caption".into()) };
        let Some(scene) = captions.iter().find_map(|caption| Scene::parse(caption)) else {
            return other(format!("its caption `{first}` tells of no scene"));
        };
        let side = image.width.min(image.height);
        if side < *SIDES.start() {
            return other(format!("on {side}x{side} pixels shapes cannot be told apart"));
        }
        Seen::Shown(Shown { scene, found: checker.find(&noisy(image, sigma, &name)) })
    };
    let (seen, skipped) = for_each_picture(path, &Options::default(), see)?;
    let mut pictures = Pictures { skipped, ..Pictures::default() };
    for seen in seen {
        match seen {
            Seen::Shown(shown) => pictures.shown.push(shown),
            Seen::Other(other) => pictures.others.push(other),
        }
    }
    Ok(pictures)
}

/// The picture with noise that depends on its name alone.
fn noisy(image: Image, sigma: f32, name: &str) -> Image {
    if sigma == 0.0 {
        return image;
    }
    let mut noise = vec![0.0; image.pixels.len()];
    noise::normal(0, u64::from(crc32fast::hash(name.as_bytes())), 0, &mut noise);
    let noisy = |(&value, noise): (&u8, f32)| (f32::from(value) + 127.5 * sigma * noise).round() as u8;
    let pixels = image.pixels.iter().zip(noise).map(noisy).collect();
    Image::new(image.width, image.height, image.channels, pixels)
}

impl ScenesReport {
    /// Counts what is right.
    pub fn new(shown: &[Shown]) -> ScenesReport {
        let part = |&(word, meant): &(&'static str, fn(Group) -> bool)| {
            let shown: Vec<&Shown> = shown.iter().filter(|shown| meant(shown.scene.group())).collect();
            (word, shown)
        };
        let mut parts: Vec<_> = PARTS.iter().map(part).collect();
        if parts[2..].iter().any(|(_, shown)| shown.is_empty()) {
            parts.remove(1);
        }
        parts.retain(|(_, shown)| !shown.is_empty());
        let groups = parts.into_iter().map(|(group, shown)| GroupScores {
            group: group.into(),
            images: shown.len(),
            scores: scores(&shown),
        });
        ScenesReport { groups: groups.collect() }
    }
}

fn scores(shown: &[&Shown]) -> Vec<Score> {
    let own: Vec<Verdict> = shown.iter().map(|shown| Verdict::new(&shown.scene, &shown.found)).collect();
    let n = shown.len();
    let others = (1..n).take(OTHERS).flat_map(|off| (0..n).map(move |i| (i, (i + off) % n)));
    let swapped: Vec<Verdict> = others.map(|(i, j)| Verdict::new(&shown[j].scene, &shown[i].found)).collect();
    let score = |&(measure, is_right): &(&'static str, fn(&Verdict) -> Option<bool>)| {
        let count = |verdicts: &[Verdict]| {
            let asked: Vec<bool> = verdicts.iter().filter_map(is_right).collect();
            (asked.iter().filter(|right| **right).count(), asked.len())
        };
        let ((right, of), (by_chance, chances)) = (count(&own), count(&swapped));
        let chance = (chances > 0).then(|| by_chance as f64 / chances as f64);
        (of > 0).then(|| Score { measure, right: Share::new(right, of, CONFIDENCE), chance })
    };
    MEASURES.iter().filter_map(score).collect()
}

impl fmt::Display for ScenesReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (k, group) in self.groups.iter().enumerate() {
            let blank = if k > 0 { "\n" } else { "" };
            let name = format!("{}: {}", group.group, group.images);
            writeln!(f, "{blank}{name:<30} {:>9}   {:<16} {:>8}", "right", "95 % interval", "chance")?;
            for Score { measure, right, chance } in &group.scores {
                let percent = |share: f64| format!("{:.1}", 100.0 * share);
                let interval = format!("{} to {}", percent(right.interval[0]), percent(right.interval[1]));
                let chance = chance.map_or_else(|| "-".into(), |chance| format!("{} %", percent(chance)));
                writeln!(f, "{measure:<30} {:>7} %   {interval:<16} {chance:>8}", percent(right.share))?;
            }
        }
        Ok(())
    }
}
