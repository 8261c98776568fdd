//! What a prior is worth: how near the vectors that it makes of captions are to those of their pictures.

use serde::Serialize;
use undiffuse::clip::{ClipModel, Vectors};
use undiffuse::data::{Dataset, Image};
use undiffuse::prior::{Prior, PriorError};
use undiffuse_metrics::MetricOptions;
use undiffuse_metrics::bootstrap::interval;

/// Vectors to choose from, as in \[Ramesh22, section 2.2\].
const DRAWS: usize = 2;

/// The mean cosine between vectors and those of the pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cosine {
    /// Whose vectors.
    pub of: &'static str,
    /// The mean over the pictures.
    pub mean: f64,
    /// Between which numbers it lies, [bootstrapped](undiffuse_metrics::bootstrap).
    pub interval: [f64; 2],
}

/// How near a prior comes, beside what needs no prior.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PriorReport {
    /// Pictures.
    pub pictures: usize,
    /// One for each kind of vector.
    pub cosines: Vec<Cosine>,
}

/// The cosines of a prior's vectors, of those of texts and of the mean vector of its training pictures with the vectors that `clip`
/// makes of pictures, `indices` of `data`. Pictures have the seeds 0, 1, 2… in this order.
///
/// # Errors
/// A prior for another CLIP, weights that can't be read, settings that make no plan.
pub fn evaluate_prior(
    prior: &Prior,
    clip: &ClipModel,
    data: &Dataset,
    indices: &[usize],
    options: &MetricOptions,
) -> Result<PriorReport, PriorError> {
    prior.check(clip)?;
    let conditioner = &prior.model().conditioner;
    let asks: Vec<_> = indices.iter().map(|&i| conditioner.ask(data, i, 0)).collect();
    let seeds: Vec<u64> = (0..indices.len() as u64).collect();
    let images: Vec<Image> = indices.iter().map(|&i| data.image(i)).collect();
    let truth = clip.pictures(&images)?;
    let cosine = |of, vector: &dyn Fn(usize) -> Vec<f32>| {
        let each: Vec<f64> = (0..indices.len()).map(|k| truth.cosine(k, &vector(k))).collect();
        let mean = each.iter().sum::<f64>() / each.len().max(1) as f64;
        Cosine { of, mean, interval: interval(mean, &[&each], options) }
    };
    let row = |of: Vectors| move |k: usize| of.row(k).to_vec();
    let one = row(prior.vectors(&asks, &seeds, 1)?);
    let nearer = row(prior.vectors(&asks, &seeds, DRAWS)?);
    let texts = row(prior.texts(&asks)?);
    let mean = prior.mean();
    let cosines = vec![
        cosine("the prior", &one),
        cosine("the prior, the nearer of two to the text", &nearer),
        cosine("the text itself", &texts),
        cosine("the mean of the training pictures", &|_| mean.clone()),
    ];
    Ok(PriorReport { pictures: indices.len(), cosines })
}
