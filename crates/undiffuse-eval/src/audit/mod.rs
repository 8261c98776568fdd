//! Whether a model gives back its training pictures: the memorisation audit.
//!
//! **The ratio.** Of a picture `x` with distances `d₁ ≤ d₂ ≤ …` to the training pictures,
//!
//! `r(x) = d₁ / median(d₂, …, d₍k₊₁₎)`
//!
//! is near 1 for a picture that is one more of its kind and near 0 for a copy of one of them. It is the test of
//! \[Carlini23\] (there with the mean of the nearest 50) between that of \[Yoon23\] (`d₁/d₂ < 1/3`, which misses every picture that the
//! training set holds twice) and a plain distance (which calls every simple picture a copy). The median is blind to near-duplicates in
//! the training set as long as there are fewer than `k / 2` of a picture; exact ones are counted once. `k` is 20: a ring of
//! 50 is so wide where data is scarce that real pictures fall below every threshold, and the test loses its power.
//!
//! **The threshold** is set by pictures that the model has not seen: at most `allowed` (0.5 %) of these may fall below it, and it is
//! never above 1/2, the published test's (`α = 1/2`). Every test has a half of the allowance, so that a picture may count as
//! a copy when *either* test says so: by pixels, which sees what a network overlooks, or by features, which see
//! some of the copies that were mirrored or shifted (a fifth of those by a pixel, `docs/sensitivity.md`). How often the test is wrong is counted by halves: each half of the held-out pictures meets the thresholds that the other
//! half alone would have set.
//!
//! **The trend.** Copies are not all of memorising: a model may keep too near to its training pictures everywhere. So nearest distances of
//! generated and held-out pictures are also compared as a whole, by the rank statistic of \[Meehan20\]. It
//! shows disguised copies that no single ratio gives away, and calls blurred pictures near, which they are.

mod picture;
mod ratio;
mod statistics;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use undiffuse_math::noise;
use undiffuse_metrics::Rows;
pub use undiffuse_metrics::neighbours::Neighbour;

pub use picture::{figure, pairs};
use ratio::{Seen, Training};
pub use statistics::Share;

/// Pictures as rows of numbers of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What the model was trained on.
    pub training: Rows<'a>,
    /// Pictures of the same kind that it has not seen. Without them training pictures stand in, each left out in turn.
    pub held_out: Option<Rows<'a>>,
    /// What the model made.
    pub generated: Rows<'a>,
}

/// The same pictures twice.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// By their pixels in [−1, 1].
    pub pixels: Side<'a>,
    /// By a feature network, in the same order.
    pub features: Option<Side<'a>>,
}

/// What the audit may be told.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditSettings {
    /// `k`: neighbours after the nearest whose median distance is the measure; in small training sets a tenth of these at most.
    pub neighbours: usize,
    /// Share of unseen real pictures that may be taken for copies.
    pub allowed: f64,
    /// No threshold is above this.
    pub bound: f64,
    /// Probability that an interval is meant to hold the true share.
    pub confidence: f64,
    /// Offenders that are listed.
    pub worst: usize,
    /// Training pictures that are listed for each of them.
    pub nearest: usize,
    /// Training pictures that stand in where there are no held-out ones, at most.
    pub stand_ins: usize,
    /// Of the halves of held-out pictures.
    pub seed: u64,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            neighbours: 20,
            allowed: 0.005,
            bound: 0.5,
            confidence: 0.95,
            worst: 16,
            nearest: 4,
            stand_ins: 10_000,
            seed: 0,
        }
    }
}

/// What the audit found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Generated pictures that are copies of a training picture.
    pub copies: Share,
    /// Real pictures that count as copies by thresholds that only others have set.
    pub false_alarms: Share,
    /// Whether the real pictures are training pictures, each left out in turn, for want of held-out ones.
    pub left_out: bool,
    /// Different training pictures.
    pub training: usize,
    /// Exact repetitions in the training set, set aside.
    pub repeated: usize,
    /// Held-out pictures that are also in the training set, set aside.
    pub leaked: usize,
    /// `k` of the ratio.
    pub neighbours: usize,
    /// The tests, by pixels first.
    pub tests: Vec<Test>,
    /// The pictures that are most like copies, the worst first, whether they count as copies or not.
    pub worst: Vec<Offender>,
    /// What the reader has to know, one sentence each.
    pub notes: Vec<String>,
}

/// What distances are taken between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// Pixels.
    Pixels,
    /// Vectors of a feature network.
    Features,
}

impl Space {
    /// As a word.
    pub fn name(self) -> &'static str {
        match self {
            Space::Pixels => "pixels",
            Space::Features => "features",
        }
    }
}

/// The ratio test in one space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// Where.
    pub space: Space,
    /// A ratio below this is a copy's.
    pub threshold: f64,
    /// Real pictures that set the threshold.
    pub calibrated_on: usize,
    /// Generated pictures below the threshold.
    pub copies: usize,
    /// Mann-Whitney statistic of nearest distances, generated against real ones, in standard deviations \[Meehan20\]: below −3 the
    /// generated are nearer to the training pictures than real ones ever are by chance, above 3 they are farther.
    pub z: f64,
    /// Distribution function of the generated pictures' ratios: `[ratio, share at most as large]`, ascending.
    pub generated: Vec<[f64; 2]>,
    /// The same of all real pictures.
    pub real: Vec<[f64; 2]>,
}

/// A generated picture and the training pictures next to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offender {
    /// Its place among the generated pictures.
    pub index: usize,
    /// Whether it counts as a copy.
    pub copy: bool,
    /// What each test saw, in their order.
    pub evidence: Vec<Evidence>,
}

/// What one test saw of a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where.
    pub space: Space,
    /// `r`.
    pub ratio: f64,
    /// The nearest training pictures: places in the training set, and Euclidean distances.
    pub nearest: Vec<Neighbour>,
}

/// Pictures that cannot be audited.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AuditError {
    /// Too few different training pictures.
    #[error("the audit needs at least {needed} different training images; there are {distinct}")]
    TooFewTraining {
        /// The least number.
        needed: usize,
        /// Different ones.
        distinct: usize,
    },
    /// Nothing to audit.
    #[error("there are no generated images to audit: generate some, or name a folder that has some")]
    NothingGenerated,
    /// Pictures of different size.
    #[error(
        "the {space} of {which} images are rows of {found} numbers, those of training images of {expected}: bring all to one size and number of channels"
    )]
    Dims {
        /// The space's name.
        space: &'static str,
        /// Whose.
        which: &'static str,
        /// Their numbers.
        found: usize,
        /// Those of the training pictures.
        expected: usize,
    },
    /// Pixels and features of different pictures.
    #[error(
        "{features} feature vectors for {pixels} {which} images: both have to be of the same images, in the same order"
    )]
    Counts {
        /// Whose.
        which: &'static str,
        /// Rows of pixels.
        pixels: usize,
        /// Rows of features.
        features: usize,
    },
    /// Numbers that are no numbers.
    #[error("the {space} of {which} image {index} are not finite: the model or the feature network is broken")]
    NotFinite {
        /// The space's name.
        space: &'static str,
        /// Whose.
        which: &'static str,
        /// Its place.
        index: usize,
    },
    /// A setting out of its range.
    #[error("audit setting `{name}` is {value}; it has to be {range}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
}

/// Audits generated pictures for copies of training pictures.
///
/// # Errors
/// If sides do not fit one another, there are fewer than 3 different training pictures or no generated ones, numbers are not
/// finite, or a setting is out of range.
pub fn audit(sides: &Sides, settings: &AuditSettings) -> Result<Audit, AuditError> {
    check(sides, settings)?;
    let training = Training::new(sides.pixels.training);
    let distinct = training.distinct();
    if distinct < LEAST_TRAINING {
        return Err(AuditError::TooFewTraining { needed: LEAST_TRAINING, distinct });
    }
    let k = settings.neighbours.min(distinct / 10).max(1);
    let real = Real::new(&sides.pixels, &training, settings);
    let spaces = [Some((Space::Pixels, sides.pixels)), sides.features.map(|side| (Space::Features, side))];
    let spaces: Vec<_> = spaces.into_iter().flatten().collect();
    let allowed = settings.allowed / spaces.len() as f64;

    let limit =
        |reals: &[Seen]| ratio::threshold(reals.iter().map(|seen| seen.ratio).collect(), allowed).min(settings.bound);
    let test = |(space, side): (Space, Side)| {
        let generated = training.seen(side.training, side.generated, k, settings.nearest, |_| None);
        let reals = real.seen(&side, &training, k);
        let threshold = limit(&reals);
        let nearest = |of: &[Seen]| -> Vec<f64> { of.iter().map(|seen| seen.nearest[0].distance).collect() };
        let ratios = |of: &[Seen]| statistics::distribution(of.iter().map(|seen| seen.ratio).collect());
        let test = Test {
            space,
            threshold,
            calibrated_on: reals.len(),
            copies: generated.iter().filter(|seen| seen.ratio < threshold).count(),
            z: statistics::mann_whitney(&nearest(&generated), &nearest(&reals)),
            generated: ratios(&generated),
            real: ratios(&reals),
        };
        Tested { test, generated, real: reals }
    };
    let tested: Vec<Tested> = spaces.into_iter().map(test).collect();

    let n = sides.pixels.generated.len();
    let thresholds: Vec<f64> = tested.iter().map(|tested| tested.test.threshold).collect();
    let copies = count(&tested, &thresholds, 0..n, |tested| &tested.generated);
    let (all, half) = (real.places.len(), real.places.len() / 2);
    let alarms = |of: Range<usize>, by: Range<usize>| {
        let thresholds: Vec<f64> = tested.iter().map(|tested| limit(&tested.real[by.clone()])).collect();
        count(&tested, &thresholds, of, |tested| &tested.real)
    };
    let false_alarms = alarms(0..half, half..all) + alarms(half..all, 0..half);
    let mut audit = Audit {
        copies: Share::new(copies, n, settings.confidence),
        false_alarms: Share::new(false_alarms, all, settings.confidence),
        left_out: real.left_out,
        training: distinct,
        repeated: sides.pixels.training.len() - distinct,
        leaked: real.leaked,
        neighbours: k,
        worst: worst(&tested, n, settings.worst),
        notes: Vec::new(),
        tests: tested.into_iter().map(|tested| tested.test).collect(),
    };
    audit.notes = notes(&audit, settings);
    Ok(audit)
}

/// A test and the pictures as it saw them.
struct Tested {
    test: Test,
    generated: Vec<Seen>,
    real: Vec<Seen>,
}

/// Pictures that any test takes for a copy.
fn count(tested: &[Tested], thresholds: &[f64], among: Range<usize>, of: impl Fn(&Tested) -> &[Seen]) -> usize {
    among.filter(|&i| tested.iter().zip(thresholds).any(|(tested, &limit)| of(tested)[i].ratio < limit)).count()
}

/// By the smallest share of its threshold that any test's ratio is.
fn worst(tested: &[Tested], n: usize, most: usize) -> Vec<Offender> {
    let score = |i: usize| {
        let share = |tested: &Tested| tested.generated[i].ratio / tested.test.threshold.max(f64::MIN_POSITIVE);
        tested.iter().map(share).fold(f64::INFINITY, f64::min)
    };
    let mut order: Vec<(f64, usize)> = (0..n).map(|i| (score(i), i)).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let offender = |&(_, index): &(f64, usize)| {
        let evidence = |tested: &Tested| {
            let Seen { ratio, nearest } = &tested.generated[index];
            Evidence { space: tested.test.space, ratio: *ratio, nearest: nearest.clone() }
        };
        Offender {
            index,
            copy: tested.iter().any(|tested| tested.generated[index].ratio < tested.test.threshold),
            evidence: tested.iter().map(evidence).collect(),
        }
    };
    order.iter().take(most).map(offender).collect()
}

/// Fewer different training pictures have no ring about the nearest.
const LEAST_TRAINING: usize = 3;
/// A threshold below this misses copies with visible noise.
const BLUNT: f64 = 0.2;

/// Which pictures stand for unseen real ones.
struct Real {
    /// Places among the held-out or, if `left_out`, the training pictures, in random order.
    places: Vec<usize>,
    left_out: bool,
    leaked: usize,
}

impl Real {
    fn new(pixels: &Side, training: &Training, settings: &AuditSettings) -> Self {
        let held_out = pixels.held_out.filter(|rows| !rows.is_empty());
        let unseen = held_out.map(|rows| (0..rows.len()).filter(|&i| !training.holds(rows.row(i))).collect::<Vec<_>>());
        let leaked = held_out.map_or(0, |rows| rows.len()) - unseen.as_ref().map_or(0, Vec::len);
        let left_out = unseen.as_ref().is_none_or(|places| places.len() < 2);
        let among = unseen.filter(|_| !left_out).unwrap_or_else(|| training.places());
        // Data lies in files by class or by age: halves are drawn by chance.
        let order = noise::shuffled(settings.seed, SPLIT, among.len() as u32);
        let mut places: Vec<usize> = order.iter().map(|&i| among[i as usize]).collect();
        if left_out {
            places.truncate(settings.stand_ins);
        }
        Self { places, left_out, leaked }
    }

    fn seen(&self, side: &Side, training: &Training, k: usize) -> Vec<Seen> {
        let from = side.held_out.filter(|_| !self.left_out).unwrap_or(side.training);
        let values: Vec<f32> = self.places.iter().flat_map(|&i| from.row(i)).copied().collect();
        let own = |query: usize| self.left_out.then(|| self.places[query]);
        training.seen(side.training, Rows::new(&values, from.dims()), k, 1, own)
    }
}

/// The stream of random numbers that orders real pictures.
const SPLIT: u64 = 0x0061_7564_6974;

fn notes(audit: &Audit, settings: &AuditSettings) -> Vec<String> {
    let calibrated_on = audit.tests[0].calibrated_on;
    let needed = (audit.tests.len() as f64 / settings.allowed).ceil() as usize;
    let mut notes = Vec::new();
    if audit.left_out {
        notes.push(
            "thresholds are set by training images, each compared with all others, since there are no held-out ones"
                .to_owned(),
        );
    }
    if audit.leaked > 0 {
        notes.push(format!("{} held-out images are also in the training set and were set aside", audit.leaked));
    }
    if audit.repeated > 0 {
        notes.push(format!("{} training images repeat others exactly and were counted once", audit.repeated));
    }
    if calibrated_on < needed {
        notes.push(format!(
            "{calibrated_on} real images set the thresholds: to hold false alarms to {} % takes {needed}; read the share beside that of false alarms",
            100.0 * settings.allowed
        ));
    }
    for test in audit.tests.iter().filter(|test| test.threshold < BLUNT) {
        notes.push(format!(
            "real images come as near to training images as copies would (by {}; threshold {:.2}): only clean copies are found",
            test.space.name(),
            test.threshold
        ));
    }
    notes
}

fn check(sides: &Sides, settings: &AuditSettings) -> Result<(), AuditError> {
    let inside = [
        ("neighbours", settings.neighbours as f64, settings.neighbours > 0, "at least 1"),
        ("nearest", settings.nearest as f64, settings.nearest > 0, "at least 1"),
        ("stand_ins", settings.stand_ins as f64, settings.stand_ins > 1, "at least 2"),
        ("allowed", settings.allowed, (0.0..1.0).contains(&settings.allowed), "from 0 to less than 1"),
        ("bound", settings.bound, settings.bound > 0.0 && settings.bound <= 1.0, "above 0, at most 1"),
        ("confidence", settings.confidence, settings.confidence > 0.0 && settings.confidence < 1.0, "between 0 and 1"),
    ];
    if let Some(&(name, value, _, range)) = inside.iter().find(|(_, _, fits, _)| !fits) {
        return Err(AuditError::Setting { name, value, range });
    }
    if sides.pixels.generated.is_empty() {
        return Err(AuditError::NothingGenerated);
    }
    check_side(Space::Pixels, &sides.pixels)?;
    let Some(features) = sides.features else { return Ok(()) };
    for ((which, pixels), (_, features)) in parts(&sides.pixels).into_iter().zip(parts(&features)) {
        let (pixels, features) = (pixels.map_or(0, |rows| rows.len()), features.map_or(0, |rows| rows.len()));
        if pixels != features {
            return Err(AuditError::Counts { which, pixels, features });
        }
    }
    check_side(Space::Features, &features)
}

fn parts<'a>(side: &Side<'a>) -> [(&'static str, Option<Rows<'a>>); 3] {
    [("training", Some(side.training)), ("held-out", side.held_out), ("generated", Some(side.generated))]
}

fn check_side(space: Space, side: &Side) -> Result<(), AuditError> {
    let expected = side.training.dims();
    for (which, rows) in parts(side).into_iter().filter_map(|(which, rows)| Some((which, rows?))) {
        if rows.dims() != expected {
            return Err(AuditError::Dims { space: space.name(), which, found: rows.dims(), expected });
        }
        if let Some(index) = rows.iter().position(|row| row.iter().any(|x| !x.is_finite())) {
            return Err(AuditError::NotFinite { space: space.name(), which, index });
        }
    }
    Ok(())
}
