//! The Haar wavelet's packing of 2x2 pixels.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Codec, CodecError};

/// One level of the orthonormal Haar transform \[Haar10; Mallat89\]: every 2x2 pixels `a b / c d` of a channel become four numbers,
/// each a channel of half the sides,
///
/// ```text
/// ll = (a + b + c + d) / 2     the mean, doubled
/// lh = (a - b + c - d) / 2     left against right
/// hl = (a + b - c - d) / 2     top against bottom
/// hh = (a - b - c + d) / 2     one diagonal against the other
/// ```
///
/// so `[C, H, W]` becomes `[4C, H/2, W/2]`: the `ll` of all channels, then `lh`, `hl` and `hh`. The matrix is symmetric and its
/// own inverse: decoding is the same sums, exact up to rounding, and likelihoods of latents are those of pixels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Haar {}

/// The sums of four tensors with the signs of the matrix, halved.
fn butterfly([a, b, c, d]: [Tensor<4>; 4]) -> [Tensor<4>; 4] {
    let (left, right) = ((a.clone() + c.clone()) * 0.5, (b.clone() + d.clone()) * 0.5);
    let (falling, rising) = ((a - c) * 0.5, (b - d) * 0.5);
    [left.clone() + right.clone(), left - right, falling.clone() + rising.clone(), falling - rising]
}

impl Codec for Haar {
    fn latent_shape(&self, [channels, height, width]: [usize; 3]) -> Result<[usize; 3], CodecError> {
        if height % 2 == 1 || width % 2 == 1 {
            let problem = format!("halves both sides of a picture: {width}×{height} pixels are not both even");
            return Err(CodecError { codec: "haar", problem });
        }
        Ok([4 * channels, height / 2, width / 2])
    }

    fn picture_shape(&self, [channels, height, width]: [usize; 3]) -> Result<[usize; 3], CodecError> {
        if !channels.is_multiple_of(4) {
            let problem = format!(
                "makes 4 channels of each of a picture's (4 of grey, 12 of colour), and the network reads {channels}"
            );
            return Err(CodecError { codec: "haar", problem });
        }
        Ok([channels / 4, 2 * height, 2 * width])
    }

    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let corners =
            x.reshape([b, c, h / 2, 2, w / 2, 2]).permute([0, 3, 5, 1, 2, 4]).reshape([b, 4 * c, h / 2, w / 2]);
        let corners = [0, 1, 2, 3].map(|k| corners.clone().narrow(1, k * c, c));
        Tensor::cat(butterfly(corners).into(), 1)
    }

    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = z.dims();
        let c = c / 4;
        let bands = [0, 1, 2, 3].map(|k| z.clone().narrow(1, k * c, c));
        let corners = Tensor::cat(butterfly(bands).into(), 1);
        corners.reshape([b, 2, 2, c, h, w]).permute([0, 3, 4, 1, 5, 2]).reshape([b, c, 2 * h, 2 * w])
    }

    fn is_orthonormal(&self) -> bool {
        true
    }

    /// Every pixel is half the sum of four numbers, up to signs: its variance is the mean of theirs.
    fn pixel_variances(&self, v: Vec<f64>, [channels, height, width]: [usize; 3]) -> Vec<f64> {
        let band = channels / 4 * height * width;
        let mean = |i: usize| (v[i] + v[band + i] + v[2 * band + i] + v[3 * band + i]) / 4.0;
        let row = |row: usize| (0..2 * width).map(move |x| (row / 2) * width + x / 2);
        (0..channels / 2 * height).flat_map(row).map(mean).collect()
    }

    fn bytes(&self, [channels, height, width]: [usize; 3]) -> u64 {
        // The corners, their halved sums, and the bands, in 32 bits.
        3 * 4 * (channels.saturating_mul(height).saturating_mul(width) as u64)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// `pywt.dwt2(x, "haar")` of PyWavelets 1.8, whose `cA, (cH, cV, cD)` are `ll, (hl, lh, hh)`.
    #[test]
    fn bands_are_those_of_pywavelets() {
        let x: [f32; 16] = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, -6.0, 5.0, 3.0, -5.0, 8.0, 9.0, 7.0, -9.0, 3.0];
        let z = [[3.0, 0.5, 12.0, -1.5], [-5.0, 5.5, 2.0, -12.5], [-1.0, 4.5, -4.0, 4.5], [9.0, -2.5, 0.0, -0.5]];
        let x = Tensor::from_data(TensorData::new(x.to_vec(), [1, 1, 4, 4]), &Device::flex());
        let found = Haar {}.encode(x).into_data().try_into_vec_as::<f32>().unwrap();
        assert_eq!(found, z.concat());
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_numbers() {
        let odd = Haar {}.latent_shape([3, 33, 32]).unwrap_err().to_string();
        assert!(odd.contains("`haar`") && odd.contains("32×33"), "{odd}");
        let channels = Haar {}.picture_shape([3, 16, 16]).unwrap_err().to_string();
        assert!(channels.contains("12 of colour") && channels.contains("reads 3"), "{channels}");
    }
}
