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
