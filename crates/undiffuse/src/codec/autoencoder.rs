//! Latents of a trained autoencoder.

use std::fmt;
use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};
use undiffuse_nn::networks::{Autoencoder, AutoencoderConfig, AutoencoderIo, Code};
use undiffuse_nn::weights::WeightsError;

use super::{Codec, CodecError};
use crate::part::Part;

/// What messages call it.
pub(super) const NAME: &str = "autoencoder";

/// Side of the latents that are decoded for who watches a walk.
const PREVIEWED: usize = 24;

/// An autoencoder's latents, shifted and scaled to be diffused: `z = (E(x) - shift) * factor`, `x = D(z / factor + shift)`
/// \[Rombach22, Appendix G\]. An encoder that says moments is read by its mean.
///
/// It is no word of a configuration: its weights are a part of the model. Those of its two halves are read apart, each when it is
/// needed. Pictures go through it one after the other, so memory is that of one.
#[derive(Clone, Debug)]
pub struct Latents {
    encoder: Arc<Part<Autoencoder>>,
    decoder: Arc<Part<Autoencoder>>,
    config: Arc<AutoencoderConfig>,
    io: AutoencoderIo,
    tiles: Option<usize>,
}

/// Of the same weights, in the same tiles.
impl PartialEq for Latents {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.decoder, &other.decoder) && self.tiles == other.tiles
    }
}

impl fmt::Display for Latents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.config.class())
    }
}

impl Latents {
    /// Of a network.
    pub fn new(network: Arc<Autoencoder>) -> Self {
        let config = network.config();
        let part = Arc::new(Part::from(network));
        Self::of_halves(config, Arc::clone(&part), part)
    }

    /// Of a network of this config whose halves are read apart.
    pub fn of_halves(
        config: AutoencoderConfig,
        encoder: Arc<Part<Autoencoder>>,
        decoder: Arc<Part<Autoencoder>>,
    ) -> Self {
        Self { io: config.io(), config: config.into(), encoder, decoder, tiles: None }
    }

    /// Whether a parameter of this name is one of the encoder; all others are of the decoder.
    pub fn encodes(name: &str) -> bool {
        name.starts_with("encoder.") || name.starts_with("quant_conv.")
    }

    /// The same in tiles of `side` pixels, so that memory does not grow with the picture: see
    /// [`Autoencoder::encode_tiled`].
    ///
    /// # Errors
    /// A side that tiles cannot have.
    pub fn tiled(self, side: usize) -> Result<Self, CodecError> {
        let step = 4 * self.io.scale;
        match side > 0 && side.is_multiple_of(step) {
            true => Ok(Self { tiles: Some(side), ..self }),
            false => Err(refused(format!("works in tiles whose side is a multiple of {step} pixels, not {side}"))),
        }
    }

    /// Bytes of the weights of both halves.
    pub fn weights(&self) -> u64 {
        self.encoder.bytes().saturating_add(self.decoder.bytes())
    }

    /// Reads what decoding needs, where that is still to be read.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn prepare_decoding(&self) -> Result<(), WeightsError> {
        self.decoder.get().map(drop)
    }
}

/// How many times smaller latents of these sides are for who watches a walk.
fn shrunk(height: usize, width: usize) -> usize {
    let fits = |k: &usize| height.is_multiple_of(*k) && width.is_multiple_of(*k);
    (height.max(width).div_ceil(PREVIEWED).max(1)..=height.min(width)).find(fits).unwrap_or(1)
}

fn refused(problem: String) -> CodecError {
    CodecError { codec: NAME, problem }
}

/// A half of the network; whoever cares for errors has prepared it.
fn half(part: &Part<Autoencoder>) -> Arc<Autoencoder> {
    part.get().unwrap_or_else(|e| panic!("{e}"))
}

/// `f` of each picture.
fn one_by_one(x: Tensor<4>, f: impl Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
    match x.dims()[0] {
        1 => f(x),
        n => Tensor::cat((0..n).map(|k| f(x.clone().narrow(0, k, 1))).collect(), 0),
    }
}

impl Codec for Latents {
    fn latent_shape(&self, [channels, height, width]: [usize; 3]) -> Result<[usize; 3], CodecError> {
        let AutoencoderIo { channels_in, latent_channels, scale, .. } = self.io;
        if channels != channels_in {
            return Err(refused(format!("encodes pictures of {channels_in} channels, not {channels}")));
        }
        let fits = height > 0 && width > 0 && height.is_multiple_of(scale) && width.is_multiple_of(scale);
        match fits {
            true => Ok([latent_channels, height / scale, width / scale]),
            false => Err(refused(format!(
                "makes a pixel of {scale}×{scale}: {width}×{height} pixels are not so many times {scale}"
            ))),
        }
    }

    fn picture_shape(&self, [channels, height, width]: [usize; 3]) -> Result<[usize; 3], CodecError> {
        let AutoencoderIo { channels_out, latent_channels, scale, .. } = self.io;
        if channels != latent_channels {
            return Err(refused(format!(
                "decodes latents of {latent_channels} channels, and the network reads {channels}"
            )));
        }
        Ok([channels_out, scale.saturating_mul(height), scale.saturating_mul(width)])
    }

    /// # Panics
    /// On weights that cannot be read; [`prepare_encoding`](Codec::prepare_encoding) finds out first.
    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        let network = half(&self.encoder);
        let said = one_by_one(x, |x| match self.tiles {
            Some(side) => network.encode_tiled(x, side),
            None => network.encode(x),
        });
        let z = match self.io.code {
            Code::Moments => said.narrow(1, 0, self.io.latent_channels),
            Code::Latents => said,
        };
        let [factor, shift] = self.io.scaling;
        (z - shift) * factor
    }

    /// # Panics
    /// On weights that cannot be read; [`prepare_decoding`](Latents::prepare_decoding) finds out first.
    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let network = half(&self.decoder);
        let [factor, shift] = self.io.scaling;
        one_by_one(z / factor + shift, |z| match self.tiles {
            Some(side) => network.decode_tiled(z, side),
            None => network.decode(z),
        })
    }

    /// Large latents are decoded as small ones, the means of squares of them.
    fn preview(&self, z: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = z.dims();
        let k = shrunk(h, w);
        if k == 1 {
            return self.decode(z);
        };
        let squares = z.reshape([b, c, h / k, k, w / k, k]).mean_dim(3).mean_dim(5);
        self.decode(squares.reshape([b, c, h / k, w / k]))
    }

    fn preview_shape(&self, [channels, height, width]: [usize; 3]) -> Result<[usize; 3], CodecError> {
        let k = shrunk(height, width);
        self.picture_shape([channels, height / k, width / k])
    }

    fn edit(&self, z: Tensor<4>, edit: &dyn Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        edit(z)
    }

    /// The picture's latents, and what the mask is at the first pixel of each, as in diffusers.
    fn known(&self, picture: Tensor<4>, mask: Tensor<4>) -> [Tensor<4>; 2] {
        let [_, _, h, w] = mask.dims();
        let firsts = |side: usize| {
            let all: Vec<i32> = (0..side).step_by(self.io.scale).map(|i| i as i32).collect();
            let n = all.len();
            Tensor::<1, Int>::from_data(TensorData::new(all, [n]), &mask.device())
        };
        [self.encode(picture), mask.clone().select(2, firsts(h)).select(3, firsts(w))]
    }

    fn prepare_encoding(&self) -> Result<(), WeightsError> {
        self.encoder.get().map(drop)
    }

    fn channels(&self) -> Option<usize> {
        Some(self.io.latent_channels)
    }

    /// It is not: a model of latents has no likelihood of pixels.
    fn is_orthonormal(&self) -> bool {
        false
    }

    /// # Panics
    /// Always: see [`is_orthonormal`](Self::is_orthonormal).
    fn pixel_variances(&self, _: Vec<f64>, _: [usize; 3]) -> Vec<f64> {
        unreachable!("only orthonormal codecs are asked for the variances of pixels")
    }

    fn bytes(&self, [channels, height, width]: [usize; 3]) -> u64 {
        let side = |whole: usize| self.tiles.map_or(whole, |side| whole.min(side));
        self.config.features([channels, side(height), side(width)])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use undiffuse_nn::weights;

    use super::*;

    /// A network of the fixtures of `undiffuse-nn`, with what diffusers' makes of tensors.
    fn fixture(name: &str) -> (Latents, impl Fn(&str) -> Tensor<4>) {
        let folder = format!("{}/../undiffuse-nn/tests/fixtures/autoencoder/{name}", env!("CARGO_MANIFEST_DIR"));
        let config = std::fs::read_to_string(format!("{folder}/config.json")).unwrap();
        let blank = AutoencoderConfig::from_json(&config).unwrap().network(&Device::flex()).unwrap();
        let file = format!("{folder}/diffusion_pytorch_model.safetensors");
        let network = weights::load(blank, file.as_ref()).unwrap();
        let io = weights::read(format!("{folder}/io.safetensors").as_ref()).unwrap();
        let tensor = move |name: &str| {
            let t = &io[name];
            Tensor::from_data(TensorData::new(t.values.clone(), t.shape.clone()), &Device::flex())
        };
        (Latents::new(Arc::new(network)), tensor)
    }

    fn apart(a: Tensor<4>, b: Tensor<4>) -> f32 {
        assert_eq!(a.dims(), b.dims());
        (a - b).abs().max().into_data().try_into_vec_as::<f32>().unwrap()[0]
    }

    /// By hand from what diffusers' network says, as its pipelines scale it.
    #[test]
    fn latents_are_shifted_and_scaled() {
        for (name, channels, factor, shift) in [("plain", 2, 0.18215, 0.0), ("bare", 2, 0.18215, 0.1)] {
            let (codec, io) = fixture(name);
            let mean = io("moments").narrow(1, 0, channels);
            assert!(apart(codec.encode(io("sample")), (mean - shift) * factor) < 1e-5, "{name}");
            let z = (io("latents") - shift) * factor;
            assert!(apart(codec.decode(z), io("decoded")) < 1e-4, "{name}");
        }
        let (codec, io) = fixture("tiny");
        assert!(apart(codec.encode(io("sample")), io("encoded")) < 1e-4);
    }

    #[test]
    fn tiles_are_those_of_the_network() {
        let (codec, io) = fixture("plain");
        let codec = codec.tiled(8).unwrap();
        assert!(apart(codec.decode(io("tiled.latents") * 0.18215), io("tiled.decoded")) < 1e-4);
        assert!(codec.bytes([3, 800, 800]) == codec.bytes([3, 8, 8]));
        assert!(codec.tiled(12).unwrap_err().to_string().contains("multiple of 8 pixels, not 12"));
    }

    /// Of latents that are the same in squares, those of the small ones.
    #[test]
    fn previews_are_small() {
        let (codec, _) = fixture("plain");
        let enlarged = |x: Tensor<4>| {
            let [b, c, h, w] = x.dims();
            x.reshape([b, c, h, 1, w, 1]).repeat_dim(3, 2).repeat_dim(5, 2).reshape([b, c, 2 * h, 2 * w])
        };
        let values: Vec<f32> = (0..2 * 24 * 16).map(|i| (i as f32 * 0.37).sin()).collect();
        let small = Tensor::from_data(TensorData::new(values, [1, 2, 24, 16]), &Device::flex());
        let preview = codec.preview(enlarged(small.clone()));
        assert!(apart(preview, codec.decode(small.clone())) < 1e-5);
        assert_eq!(codec.preview_shape([2, 48, 32]), codec.preview_shape([2, 24, 16]));
        assert!(apart(codec.preview(small.clone()), codec.decode(small)) == 0.0);
    }

    #[test]
    fn shapes_go_both_ways() {
        let (codec, _) = fixture("three-stages");
        assert_eq!(codec.latent_shape([3, 8, 12]).unwrap(), [2, 2, 3]);
        assert_eq!(codec.picture_shape([2, 2, 3]).unwrap(), [3, 8, 12]);
        for (shape, words) in [([1, 8, 8], "3 channels, not 1"), ([3, 8, 10], "10×8"), ([3, 0, 8], "8×0")] {
            let refused = codec.latent_shape(shape).unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        }
        let refused = codec.picture_shape([4, 2, 2]).unwrap_err().to_string();
        assert!(refused.contains("2 channels, and the network reads 4"), "{refused}");
    }
}
