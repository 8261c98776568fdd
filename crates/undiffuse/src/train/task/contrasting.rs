//! A reader of words and a reader of pictures learn to make vectors that are near for a picture and what is said of it
//! \[Radford21\].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_math::contrast::{self, contrast};
use undiffuse_nn::networks::{ClipPair, ImageEncoderConfig, Tokens};
use undiffuse_nn::params;

use super::{Material, Place, Product, Task, told};
use crate::card::{Card, Contrast};
use crate::clip::{ClipModel, PictureReading};
use crate::condition::{caption, captions};
use crate::model::Provenance;
use crate::train::draws::{Shuffled, is_flipped};
use crate::train::{TrainError, loss};
use crate::words::Words;

/// Cosines count at most so many times \[Radford21, section 2.5\].
const SHARPEST: f64 = 100.0;
/// Copies of a layer's tokens that its way back needs: what comes in, is normalised, attended to and activated.
const KEPT: usize = 20;

/// Two readers that learn from each other.
pub(in crate::train) struct Contrasting {
    words: Arc<Words>,
    pictures: ImageEncoderConfig,
    warnings: Vec<String>,
}

/// Pictures with their words.
pub(in crate::train) struct Pairs {
    /// `[B, C, H, W]`, in [-1, 1].
    pictures: Vec<f32>,
    shape: [usize; 4],
    tokens: Tokens,
    /// Pairs of the same number say the same.
    groups: Vec<usize>,
}

impl Contrasting {
    /// The pictures `indices` of the data, with the captions whose turns they are.
    fn pairs(&self, on: &Material, indices: &[usize], flips: &[bool], turns: &[u64]) -> Pairs {
        let (data, template) = (&on.data, Some(on.config.condition.words.template.as_str()));
        let mut pictures = Vec::new();
        data.batch(indices, flips, &mut pictures);
        let told = |(&i, &turn): (&usize, &u64)| caption(data, i, turn, template).expect("those without were left out");
        let texts: Vec<String> = indices.iter().zip(turns).map(told).collect();
        let mut known = HashMap::new();
        let groups = texts.iter().map(|text| {
            let next = known.len();
            *known.entry(text.as_str()).or_insert(next)
        });
        let groups = groups.collect();
        let [channels, height, width] = [data.channels(), data.height(), data.width()];
        let (shape, tokens) = ([indices.len(), channels, height, width], self.words.tokens(texts.iter().map(|t| &**t)));
        Pairs { pictures, shape, tokens, groups }
    }
}

/// What there is to tell apart in the captions of these pictures.
fn check(texts: &[String], pictures: usize, batch: usize) -> Result<(), String> {
    if texts.is_empty() {
        return Err(
            "the pictures have no captions and no classes, and a CLIP learns what is said of pictures: put captions \
                    beside them (metadata.jsonl with `file_name` and `text`, or a .txt file for each)"
                .into(),
        );
    }
    let distinct: BTreeSet<&String> = texts.iter().collect();
    if distinct.len() == 1 {
        return Err(format!(
            "all {pictures} pictures have one caption, {:?}: a CLIP learns to tell captions apart, so it needs several",
            texts[0]
        ));
    }
    if pictures < batch {
        return Err(format!(
            "train.batch = {batch}: {pictures} pictures with captions are left to train on, and a batch is of different ones: \
             give a smaller batch, or more pictures"
        ));
    }
    Ok(())
}

impl Task for Contrasting {
    type Networks = ClipPair;
    type Drawn = Pairs;

    fn begin(on: &mut Material, device: &Device) -> Result<(Self, ClipPair), TrainError> {
        let Material { config, data, split } = on;
        let clip = config.clip.clone().expect("a CLIP is configured");
        let template = config.condition.words.template.clone();
        let has = |i: &usize| caption(data, *i, 0, Some(&template)).is_some();
        let (all, without) = (data.len(), (0..data.len()).filter(|i| !has(i)).count());
        split.train.retain(has);
        split.held_out.retain(has);
        let texts = captions(data, &split.train, &template);
        check(&texts, split.train.len(), config.train.batch).map_err(TrainError::wrong)?;
        let warnings = (without > 0)
            .then(|| format!("{without} of {all} pictures have no caption: a CLIP does not learn from them"));
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let words = config.condition.words.projected(&texts, clip.embedding);
        let words = words.map_err(|problem| TrainError::wrong(format!("condition.words: {problem}")))?;
        told(config, "text", &words.tokenizer().fingerprint())?;
        let pictures = clip.pictures([config.data.channels, config.data.size]).map_err(TrainError::wrong)?.into();
        let networks = ClipPair::new(words.config(), &pictures, -clip.temperature.ln(), device);
        let networks = networks.map_err(|e| TrainError::Network(e.to_string()))?;
        Ok((Self { words: Arc::new(words), pictures, warnings: warnings.into_iter().collect() }, networks))
    }

    fn features(&self, on: &Material, _: &ClipPair) -> u64 {
        let (clip, words) = (on.config.clip.clone().unwrap_or_default(), &on.config.condition.words);
        let side = on.config.data.size / clip.patch;
        let seen = (side * side + 1).saturating_mul(clip.width).saturating_mul(clip.layers);
        let read = self.words.length().saturating_mul(words.width).saturating_mul(words.layers);
        4 * (KEPT as u64).saturating_mul(seen.saturating_add(read) as u64)
    }

    fn warnings(&self, _: &Material) -> Vec<String> {
        self.warnings.clone()
    }

    fn draw(&self, on: &Material, order: &mut Shuffled, Place { start, count, .. }: Place) -> Pairs {
        let (train, seed) = (&on.split.train, on.config.train.seed);
        let numbers = || start..start + count as u64;
        let indices: Vec<usize> = numbers().map(|n| order.of(train, seed, n)).collect();
        let flips: Vec<bool> = numbers().map(|n| on.config.data.flip && is_flipped(seed, n)).collect();
        let turns: Vec<u64> = numbers().map(|n| n / train.len() as u64).collect();
        self.pairs(on, &indices, &flips, &turns)
    }

    /// The losses of a whole batch, whose pictures are each other's contrast: see [`contrast`](undiffuse_math::contrast).
    fn losses(&self, _: &Material, networks: &ClipPair, pairs: &Pairs, _: Option<u64>) -> Tensor<1> {
        let device = networks.image_encoder.device();
        let pixels = Tensor::from_data(TensorData::new(pairs.pictures.clone(), pairs.shape), &device);
        let pictures = networks.image_encoder.embed(pixels).embedding;
        let texts = networks.text_encoder.encode(&pairs.tokens, 0).pooled;
        let scale = networks.logit_scale.val();
        let host = |x: &Tensor<2>| x.clone().inner().into_data().try_into_vec_as::<f32>().expect("vectors are numbers");
        let log_scale = f64::from(params::to_host(scale.clone().inner())[0]);
        let (own, most) = (host(&pictures), SHARPEST.ln());
        let of = contrast(&own, &host(&texts), pictures.dims()[1], &pairs.groups, log_scale.min(most));
        // At its end the scale may only fall.
        let by_scale = if log_scale >= most { of.log_scale.max(0.0) } else { of.log_scale };
        following(&of, by_scale, pictures, texts, scale)
    }

    /// Batch by batch, as in training: how much there is to tell apart decides a loss.
    fn measure(&self, on: &Material, networks: &ClipPair, indices: &[usize]) -> Vec<f64> {
        let batch = on.config.train.batch.min(indices.len()).max(1);
        let of = |indices: &[usize]| {
            let pairs = self.pairs(on, indices, &vec![false; indices.len()], &vec![0; indices.len()]);
            loss::values(&self.losses(on, networks, &pairs, None))
        };
        indices.chunks_exact(batch).flat_map(of).collect()
    }

    fn product(&self, on: &Material, networks: ClipPair, provenance: Provenance) -> Product {
        let device = networks.image_encoder.device();
        let ClipPair { text_encoder, image_encoder, logit_scale } = networks;
        let logit_scale = f64::from(params::to_host(logit_scale.val())[0]).min(SHARPEST.ln());
        let card = Card { contrast: Some(Contrast { logit_scale }), provenance: Some(provenance), ..Card::default() };
        let reading = PictureReading::of_training([on.config.data.channels, on.config.data.size, on.config.data.size]);
        let (words, encoder) = (Arc::new(self.words.with(text_encoder)), Arc::new(image_encoder).into());
        let clip = ClipModel::new(words, encoder, self.pictures.clone(), reading, card, &device);
        Product::Clip(Box::new(clip.expect("the readers were made for each other")))
    }
}

/// Losses `[B]` of these values whose sum has these slopes: what Burn would make of the products of all with all would depend on
/// threads.
fn following(
    of: &contrast::Contrast,
    by_scale: f64,
    pictures: Tensor<2>,
    texts: Tensor<2>,
    scale: Tensor<1>,
) -> Tensor<1> {
    let (device, n) = (pictures.device(), of.losses.len());
    let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
    // Nothing, but with a slope.
    let along = |x: Tensor<2>, slopes: &[f64]| {
        let slopes = Tensor::from_data(TensorData::new(narrow(slopes), x.dims()), &device);
        let along = (x * slopes).sum_dim(1).reshape([n]);
        along.clone() - along.detach()
    };
    // Of the first alone: in any order the sum over pictures is the same.
    let first: Vec<f32> = (0..n).map(|i| if i == 0 { by_scale as f32 } else { 0.0 }).collect();
    let scale = scale * Tensor::from_data(TensorData::new(first, [n]), &device);
    let losses = Tensor::from_data(TensorData::new(narrow(&of.losses), [n]), &device);
    losses + along(pictures, &of.pictures) + along(texts, &of.texts) + (scale.clone() - scale.detach())
}
