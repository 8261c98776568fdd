//! Which pictures are measured.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_data::{Dataset, Options, names};
use undiffuse_math::noise;

use super::MeasureError;
use crate::Model;
use crate::likelihood::{TestPictures, to_host};
use crate::run::RunFolder;

/// Where the pictures come from.
#[derive(Debug)]
pub struct TestSet {
    /// The dataset.
    pub data: Dataset,
    /// What they are called, in messages and reports.
    pub name: String,
    /// Which of its pictures may be drawn.
    pub candidates: Vec<usize>,
}

impl TestSet {
    /// The pictures at `data`, or those that the run around `model` kept out of its training, for pictures of
    /// `shape [C, H, W]`.
    ///
    /// # Errors
    /// Shapes that are not square, data that cannot be read, a model outside a run without data.
    pub fn open(model: &Path, data: Option<&Path>, shape: [usize; 3]) -> Result<Self, MeasureError> {
        let [channels, height, width] = shape;
        if height != width {
            return Err(MeasureError::NotSquare { width, height });
        }
        if let Some(path) = data {
            let options = Options { size: Some(height), channels: Some(channels), ..Options::default() };
            let data = Dataset::open(path, &options)?;
            let candidates = (0..data.len()).collect();
            return Ok(Self { data, name: names::of(path), candidates });
        }
        let run = RunFolder::find(model).ok_or_else(|| MeasureError::NoPictures(model.to_owned()))?;
        let (data, candidates) = run.held_out(&mut |_| {}).map_err(MeasureError::HeldOut)?;
        let name = format!("the held-out part of {}", names::of(data.path()));
        Ok(Self { data, name, candidates })
    }

    /// `n` of the pictures, or as many as there are, and the others, both in an order drawn by `seed`.
    ///
    /// # Errors
    /// Fewer than 2 pictures: a mean needs an error.
    pub fn choose(&self, n: usize, seed: u64) -> Result<(Vec<usize>, Vec<usize>), MeasureError> {
        let wanted = n.min(self.candidates.len());
        if wanted < 2 {
            return Err(MeasureError::TooFew { name: self.name.clone(), count: wanted });
        }
        let order = noise::shuffled(seed, u64::from(u32::MAX), self.candidates.len() as u32);
        let mut chosen: Vec<usize> = order.iter().map(|&i| self.candidates[i as usize]).collect();
        let others = chosen.split_off(wanted);
        Ok((chosen, others))
    }
}

/// Pictures of a dataset in the model's pixel range, and what they show in the model's terms.
pub fn pictures(model: &Model, data: &Dataset, indices: &[usize], seed: u64) -> TestPictures {
    let mut x0 = Vec::new();
    data.batch(indices, &vec![false; indices.len()], &mut x0);
    let range = model.recipe.pixels;
    if range != (-1.0, 1.0) {
        x0.iter_mut().for_each(|x| *x = ((f64::from(*x) + 1.0) / 2.0 * (range.1 - range.0) + range.0) as f32);
    }
    let cond = indices.iter().map(|&i| model.conditioner.ask(data, i, 0)).collect();
    let seeds = indices.iter().map(|&i| noise::bits(seed, i as u64, 0)).collect();
    let [channels, height, width] = model.picture_shape();
    let x0 = Tensor::from_data(TensorData::new(x0, [indices.len(), channels, height, width]), &Device::flex());
    let (shape, codec) = (model.latent_shape(), model.codec.clone());
    TestPictures { shape, x0: to_host(codec.encode(x0)), codec, range, seeds, cond }
}
