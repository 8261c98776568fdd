//! Which classes the judged pictures show, where the data has classes.

use serde::{Deserialize, Serialize};
use undiffuse_data::Dataset;
use undiffuse_math::noise;
use undiffuse_metrics::classes::{Context, counts, figures};
use undiffuse_metrics::probe::Probe;
use undiffuse_metrics::{Figure, MetricError, MetricOptions, Rows};

use crate::vectors::gather;

/// The stream of noise that draws what the classifier learns from.
const LEARNT: u64 = u64::MAX - 2;
/// Pictures that it learns from, at most.
const ENOUGH: usize = 20_000;

/// A class among the judged pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Its share of the data.
    pub data: f64,
    /// Judged pictures that show it.
    pub count: usize,
    /// Their share.
    pub share: f64,
    /// The share's interval.
    pub interval: [f64; 2],
}

/// What was seen of classes.
pub(crate) struct Judged {
    pub(crate) classes: Vec<Class>,
    pub(crate) figures: Vec<Figure>,
}

/// The classes that a linear probe on the data's vectors sees in the judged vectors; `None` for data without classes.
///
/// `wanted` are the data's labels of what each judged picture was to show.
///
/// # Errors
/// Vectors that are not finite.
pub(crate) fn judge(
    data: &Dataset,
    real: Rows,
    judged: Rows,
    wanted: Option<Vec<u32>>,
    settings: &MetricOptions,
) -> Result<Option<Judged>, MetricError> {
    let names = data.classes();
    let mut known: Vec<usize> = (0..data.len()).filter(|&i| data.label(i).is_some()).collect();
    let label = |i: &usize| data.label(*i).unwrap_or_default();
    let mut shares = vec![0; names.len()];
    known.iter().map(label).for_each(|label| shares[label as usize] += 1);
    if shares.iter().filter(|&&n| n > 0).count() < 2 {
        return Ok(None);
    }
    if known.len() > ENOUGH {
        let order = noise::shuffled(settings.seed, LEARNT, known.len() as u32);
        known = order.into_iter().take(ENOUGH).map(|i| known[i as usize]).collect();
    }
    let labels: Vec<u32> = known.iter().map(label).collect();
    let probe = Probe::fit(gather(real, &known).rows(), &labels, names.len(), settings.seed)?;
    let probabilities = probe.probabilities(judged);
    let context = Context { wanted: wanted.as_deref(), data_counts: Some(&shares), held_out: Some(probe.held_out) };
    let figures = figures(&probabilities, names.len(), &context, settings)?;
    let all: usize = shares.iter().sum();
    let counted = counts(&probabilities, names.len(), settings.confidence);
    let classes = names.iter().zip(shares).zip(counted).map(|((name, share), counted)| Class {
        name: name.clone(),
        data: share as f64 / all as f64,
        count: counted.count,
        share: counted.share,
        interval: counted.interval,
    });
    Ok(Some(Judged { classes: classes.collect(), figures }))
}
