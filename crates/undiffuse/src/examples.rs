//! What a network learns from: the pictures of a dataset as it diffuses them.

use burn::tensor::{Device, Tensor, TensorData};
use undiffuse_data::Dataset;
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
