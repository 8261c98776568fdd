//! What drops out while training.

use std::cell::Cell;

use burn::tensor::{Tensor, TensorData};
use undiffuse_math::noise;

/// The randomness of one pass: the seed of its first picture, from which those of the others count up, and how many masks were
/// drawn; `None` when sampling.
pub struct Dropout(Option<(u64, Cell<u64>)>);

impl Dropout {
    /// With a seed, values drop out: of each picture those that its own seed says, whichever others are in the batch.
    pub fn new(seed: Option<u64>) -> Self {
        Self(seed.map(|seed| (seed, Cell::new(0))))
    }

    /// Whether [`Self::drop`] does anything for this probability.
    pub fn drops(&self, p: f64) -> bool {
        p > 0.0 && self.0.is_some()
    }

    /// Zeroes each value of `x [B, …]` with probability `p` and scales the others up \[Srivastava14\], while training.
    pub fn drop<const D: usize>(&self, x: Tensor<D>, p: f64) -> Tensor<D> {
        let Some((seed, masks)) = self.0.as_ref().filter(|_| p > 0.0) else { return x };
        let stream = masks.replace(masks.get() + 1);
        let (dims, device) = (x.dims(), x.device());
        let kept = (1.0 / (1.0 - p)) as f32;
        let each = dims[1..].iter().product::<usize>() as u64;
        let of = |picture: u64, i: u64| match noise::uniform(seed.wrapping_add(picture), stream, i) < p {
            true => 0.0,
            false => kept,
        };
        let mask: Vec<f32> = (0..dims[0] as u64)
            .flat_map(|picture| (0..each).map(move |i| (picture, i)))
            .map(|(k, i)| of(k, i))
            .collect();
        x * Tensor::<D>::from_data(TensorData::new(mask, dims), &device)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    const NUMBERS: usize = 4000;

    /// What is left of ones, a picture after the other.
    fn left(dropout: &Dropout, pictures: usize, p: f64) -> Vec<Vec<f32>> {
        let left = dropout.drop(Tensor::<2>::ones([pictures, NUMBERS], &Device::flex()), p);
        let values = left.into_data().try_into_vec_as::<f32>().unwrap();
        values.chunks(NUMBERS).map(<[f32]>::to_vec).collect()
    }

    /// As it is defined: a quarter is zero, the rest a third larger; other numbers in each layer and of each picture, whose
    /// neighbours do not matter.
    #[test]
    fn each_picture_drops_its_own_numbers() {
        let together = Dropout::new(Some(7));
        let layers = [(); 2].map(|()| left(&together, 3, 0.25));
        let all: Vec<&Vec<f32>> = layers.iter().flatten().collect();
        for (k, one) in all.iter().enumerate() {
            assert!(one.iter().all(|v| *v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6));
            let share =
                |zero: &dyn Fn(usize) -> bool| (0..NUMBERS).filter(|&i| zero(i)).count() as f64 / NUMBERS as f64;
            // Five standard deviations.
            assert!((share(&|i| one[i] == 0.0) - 0.25).abs() < 0.035);
            for other in &all[..k] {
                assert!((share(&|i| one[i] == 0.0 && other[i] == 0.0) - 0.0625).abs() < 0.02, "they drop together");
            }
        }
        for picture in 0..3 {
            let alone = Dropout::new(Some(7 + picture as u64));
            for layer in &layers {
                assert_eq!(left(&alone, 1, 0.25)[0], layer[picture]);
            }
        }
    }

    #[test]
    fn nothing_drops_out_of_samples() {
        let (sampling, training) = (Dropout::new(None), Dropout::new(Some(7)));
        assert!(!sampling.drops(0.5) && training.drops(0.5) && !training.drops(0.0));
        for kept in [left(&sampling, 1, 0.5), left(&training, 1, 0.0)] {
            assert_eq!(kept[0], [1.0; NUMBERS]);
        }
    }
}
