//! A CLIP as the judge of what pictures show, beside what was asked for \[Hessel21; Xu18\].

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use undiffuse::burn::tensor::Device;
use undiffuse::clip::{ClipModel, Vectors};
use undiffuse::model::ModelFolder;
use undiffuse_data::{Image, names};
use undiffuse_features::Features;
use undiffuse_math::noise;
use undiffuse_metrics::bootstrap::{interval, wilson};
use undiffuse_metrics::{Better, Figure, MetricOptions, Rows};

use crate::pictures::PictureSet;
use crate::protocol::JudgeFacts;
use crate::vectors::vectors;
use crate::{EvalError, EvalProgress, EvalStage, identity};

/// Captions that a picture's own is one of, where there are so many.
const CAPTIONS: usize = 100;
/// The stream of noise that draws the others.
const OTHERS: u64 = u64::MAX - 3;
/// Fewer pictures with words say nothing.
const LEAST: usize = 2;

/// A CLIP that judges. Its vectors of pictures are kept between evaluations, as those of other feature networks are.
#[derive(Debug)]
pub struct Judge {
    clip: ClipModel,
    name: String,
    identity: String,
}

impl Judge {
    /// Reads the folder of a CLIP, or of a run that trained one.
    ///
    /// # Errors
    /// A folder that holds none, files that cannot be read.
    pub fn read(path: &Path, device: &Device) -> Result<Self, EvalError> {
        let (folder, clip) = (ModelFolder::find_clip(path)?, ClipModel::read(path, device)?);
        // In memory from now on.
        clip.networks().map_err(undiffuse::model::ModelError::from)?;
        Ok(Self { clip, name: names::of(path), identity: identity(&folder, None)? })
    }

    /// The CLIP.
    pub fn clip(&self) -> &ClipModel {
        &self.clip
    }

    /// What reports depend on of it.
    pub(crate) fn facts(&self) -> JudgeFacts {
        JudgeFacts { clip: Some(self.identity.clone()), captions: Some(CAPTIONS) }
    }
}

impl Features for Judge {
    fn name(&self) -> &str {
        &self.name
    }

    fn fingerprint(&self) -> &str {
        &self.identity
    }

    fn input(&self) -> String {
        let [_, height, width] = self.clip.picture_shape();
        format!("{width}×{height}, as its preprocessor_config.json says")
    }

    fn dims(&self) -> usize {
        self.clip.width()
    }

    fn extract(&self, images: &[Image], out: &mut Vec<f32>) {
        let seen = self.clip.pictures(images).expect("a judge's weights are in memory");
        out.extend_from_slice(seen.values());
    }
}

/// Pictures with what they are to show.
pub(crate) struct Told<'a> {
    /// Of which set.
    pub pictures: &'a dyn PictureSet,
    /// Which of its pictures, and their words.
    pub words: Vec<(usize, String)>,
}

impl<'a> Told<'a> {
    /// Those of the pictures that words are known of.
    pub fn new(pictures: &'a dyn PictureSet, indices: &[usize], words: impl Fn(usize) -> Option<String>) -> Self {
        Self { pictures, words: indices.iter().filter_map(|&i| Some((i, words(i)?))).collect() }
    }
}

/// The figures of judged pictures, or of `real` ones as what a perfect model would reach; none where too few have words.
pub(crate) fn figures(
    judge: &Judge,
    told: &Told,
    real: bool,
    settings: &MetricOptions,
    folder: &Path,
    progress: &mut dyn FnMut(EvalProgress) -> bool,
) -> Result<Vec<Figure>, EvalError> {
    let Told { pictures, words } = told;
    if words.len() < LEAST {
        return Ok(Vec::new());
    }
    let all = vectors(*pictures, pictures.len(), judge, folder, EvalStage::Judging, progress)?;
    let mut places = HashMap::new();
    let mut distinct: Vec<&str> = Vec::new();
    let own: Vec<usize> = words
        .iter()
        .map(|(_, text)| {
            *places.entry(text.as_str()).or_insert_with(|| {
                distinct.push(text);
                distinct.len() - 1
            })
        })
        .collect();
    if let Some(problem) = distinct.iter().find_map(|text| judge.clip.accepts(text).err()) {
        return Err(EvalError::Shapes(problem));
    }
    let texts = judge.clip.texts(&distinct).map_err(undiffuse::model::ModelError::from)?;
    let indices: Vec<usize> = words.iter().map(|(i, _)| *i).collect();
    Ok(score(all.rows(), &indices, &own, &texts, real, settings))
}

/// Of `rows` those at `indices`, each beside its `own` of the texts.
fn score(
    rows: Rows,
    indices: &[usize],
    own: &[usize],
    texts: &Vectors,
    real: bool,
    settings: &MetricOptions,
) -> Vec<Figure> {
    let among = CAPTIONS.min(texts.len());
    let mut cosines = Vec::with_capacity(own.len());
    let mut first = 0;
    for (place, (&i, &own)) in indices.iter().zip(own).enumerate() {
        let cosine = |text: usize| texts.cosine(text, rows.row(i));
        let best = cosine(own);
        cosines.push(100.0 * best.max(0.0));
        first +=
            usize::from(others(own, texts.len(), among - 1, place as u64).into_iter().all(|text| cosine(text) < best));
    }
    let (n, mean) = (own.len(), cosines.iter().sum::<f64>() / own.len() as f64);
    let (tail, beside) = if real { ("_real", " of real pictures") } else { ("", "") };
    let few = (among < CAPTIONS)
        .then(|| format!("there are {among} different captions, so each is one of {among}, not of {CAPTIONS}"));
    let figure = |tag: &str, name: &str, value, interval, note| Figure {
        tag: format!("{tag}{tail}"),
        name: format!("{name}{beside}"),
        value,
        interval: Some(interval),
        better: Better::Higher,
        note,
    };
    let spread = interval(mean, &[&cosines], settings);
    let mut all = vec![figure("clip_score", "CLIP score", mean, spread, None)];
    if among > 1 {
        let (share, sure) = (first as f64 / n as f64, wilson(first, n, settings.confidence));
        all.push(figure("r_precision", &format!("R-precision among {among} captions"), share, sure, few));
    }
    all
}

/// `count` of `0..n` without `own`, drawn for the picture at `place`.
fn others(own: usize, n: usize, count: usize, place: u64) -> BTreeSet<usize> {
    let mut drawn = BTreeSet::new();
    if count + 1 >= n {
        drawn.extend((0..n).filter(|&text| text != own));
        return drawn;
    }
    let mut draws = (0..).map(|k| noise::below(place, OTHERS, k, n as u64) as usize).filter(|&text| text != own);
    while drawn.len() < count {
        drawn.extend(draws.next());
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: three pictures along three axes, the third told the second's words.
    #[test]
    fn scores_by_hand() {
        let rows = [2.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 1.0];
        let texts = Vectors::of(3, vec![1.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, -1.0, 0.0]);
        let of = score(Rows::new(&rows, 3), &[0, 1, 2], &[0, 1, 1], &texts, false, &MetricOptions::default());
        // Cosines 1, 0.6 and 0; a picture that is equally near to others is not first.
        assert!((of[0].value - 160.0 / 3.0).abs() < 1e-9 && of[0].tag == "clip_score", "{of:?}");
        assert!((of[1].value - 2.0 / 3.0).abs() < 1e-12 && of[1].name.contains("among 3"), "{of:?}");
        assert!(of[1].note.is_some() && of[1].interval.unwrap()[0] > 0.1);
    }

    #[test]
    fn others_are_drawn_once_and_never_the_own() {
        for place in 0..50 {
            let drawn = others(7, 500, 99, place);
            assert!(drawn.len() == 99 && !drawn.contains(&7) && drawn.iter().all(|&text| text < 500));
        }
        assert_ne!(others(7, 500, 99, 0), others(7, 500, 99, 1));
        assert_eq!(others(1, 3, 2, 0), BTreeSet::from([0, 2]));
    }
}
