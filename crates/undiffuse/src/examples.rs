//! What a network learns from: the pictures of a dataset as it diffuses them.

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_data::{Dataset, Rows};
use undiffuse_nn::params::to_host;

use crate::codec::CodecKind;
use crate::condition::{Ask, Conditioner};

/// Examples by number: what is diffused, and what it shows.
pub trait Examples: Sync {
    /// How many.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `[C, H, W]` of one.
    fn shape(&self) -> [usize; 3];

    /// Some of them, `[B, C, H, W]`, one after the other; `flips` says of which pictures the mirror image is meant.
    fn batch(&self, indices: &[usize], flips: &[bool]) -> Vec<f32>;

    /// What one shows, in the network's terms, by the description that is number `turn`'s.
    fn ask(&self, index: usize, turn: u64) -> Ask;
}

/// Latents that were made once of all pictures of a dataset, by a network that is not here.
#[derive(Debug)]
pub struct Kept {
    /// What made them.
    pub codec: CodecKind,
    rows: Rows,
    /// Latents of a picture: its mirror image may have one, too.
    each: usize,
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl Kept {
    /// Those of `rows`, the first of every `each` being a picture's own and the second its mirror image's, to be standardised by the
    /// mean and the deviation of each number over the pictures `train`.
    ///
    /// # Panics
    /// If there are no rows of the pictures `train`, or these are none.
    pub fn new(codec: CodecKind, rows: Rows, each: usize, train: &[usize]) -> Self {
        let learned = || train.iter().flat_map(|&i| (0..each).map(move |k| i * each + k)).map(|row| rows.get(row));
        let (count, width) = ((train.len() * each) as f64, rows.get(0).len());
        let mut mean = vec![0.0; width];
        learned().for_each(|row| mean.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(v) / count));
        let mut variance = vec![0.0; width];
        let add = |row: Vec<f32>| {
            let off = variance.iter_mut().zip(&mean).zip(row);
            off.for_each(|((sum, mean), v)| *sum += (f64::from(v) - mean).powi(2) / count);
        };
        learned().for_each(add);
        // A number that is always the same stays away from infinity.
        let deviation = |v: &f64| if *v > 0.0 { v.sqrt() as f32 } else { 1.0 };
        let deviation = variance.iter().map(deviation).collect();
        Self { codec, rows, each, mean: mean.iter().map(|&v| v as f32).collect(), deviation }
    }

    /// The mean of each number.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The deviation of each number; 1 where it is always the same.
    pub fn deviation(&self) -> &[f32] {
        &self.deviation
    }

    fn standardised(&self, picture: usize, flip: bool) -> impl Iterator<Item = f32> {
        let row = self.rows.get(picture * self.each + usize::from(flip && self.each > 1));
        row.into_iter().zip(&self.mean).zip(&self.deviation).map(|((v, mean), deviation)| (v - mean) / deviation)
    }
}

/// Examples that a spread is measured on.
const MEASURED: usize = 4096;

/// The root mean square of the numbers that are diffused, on at most 4096 of the examples `indices`, spread evenly.
pub fn root_mean_square(examples: &dyn Examples, indices: &[usize]) -> f64 {
    let some: Vec<usize> = indices.iter().copied().step_by(indices.len().div_ceil(MEASURED).max(1)).collect();
    let square = |x: &f32| f64::from(*x).powi(2);
    let of = |part: &[usize]| examples.batch(part, &vec![false; part.len()]).iter().map(square).sum::<f64>();
    let numbers = some.len() * examples.shape().iter().product::<usize>();
    (some.chunks(64).map(of).sum::<f64>() / numbers.max(1) as f64).sqrt()
}

/// The pictures of a dataset, encoded as they are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    /// The pictures.
    pub data: &'a Dataset,
    /// What is diffused of them.
    pub codec: &'a CodecKind,
    /// The same made before, where the codec can't do it alone.
    pub kept: Option<&'a Kept>,
    /// What they show.
    pub conditioner: &'a Conditioner,
}

impl Encoded<'_> {
    fn picture_shape(&self) -> [usize; 3] {
        [self.data.channels(), self.data.height(), self.data.width()]
    }
}

impl Examples for Encoded<'_> {
    fn len(&self) -> usize {
        self.data.len()
    }

    /// # Panics
    /// If the codec cannot encode pictures of the data's size: see
    /// [`Config::latent_shape`](crate::train::Config::latent_shape).
    fn shape(&self) -> [usize; 3] {
        self.codec.latent_shape(self.picture_shape()).expect("the size was checked before anything was drawn")
    }

    fn batch(&self, indices: &[usize], flips: &[bool]) -> Vec<f32> {
        if let Some(kept) = self.kept {
            return indices.iter().zip(flips).flat_map(|(&i, &flip)| kept.standardised(i, flip)).collect();
        }
        let mut x0 = Vec::new();
        self.data.batch(indices, flips, &mut x0);
        if self.codec.is_identity() {
            return x0;
        }
        let [channels, height, width] = self.picture_shape();
        let x0 = TensorData::new(x0, [indices.len(), channels, height, width]);
        let z = self.codec.encode(Tensor::<4>::from_data(x0, &Device::flex()));
        let count = z.shape().num_elements();
        to_host(z.reshape([count]))
    }

    fn ask(&self, index: usize, turn: u64) -> Ask {
        self.conditioner.ask(self.data, index, turn)
    }
}
