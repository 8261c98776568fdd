//! Latents of a trained autoencoder.

use std::sync::Arc;

use burn::tensor::Tensor;
use undiffuse_nn::networks::{Autoencoder, AutoencoderIo, Code};

use super::{Codec, CodecError};

/// What messages call it.
const NAME: &str = "autoencoder";

/// An autoencoder's latents, shifted and scaled to be diffused: `z = (E(x) - shift) * factor`, `x = D(z / factor + shift)`
/// \[Rombach22, Appendix G\]. An encoder that says moments is read by its mean.
///
/// It is no word of a configuration: its weights are a part of the model.
#[derive(Clone, Debug)]
pub struct Latents {
    network: Arc<Autoencoder>,
    io: AutoencoderIo,
    tiles: Option<usize>,
}

impl Latents {
    /// Of a network.
    pub fn new(network: Arc<Autoencoder>) -> Self {
        Self { io: network.config().io(), network, tiles: None }
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
}

fn refused(problem: String) -> CodecError {
    CodecError { codec: NAME, problem }
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

    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        let said = match self.tiles {
            Some(side) => self.network.encode_tiled(x, side),
            None => self.network.encode(x),
        };
        let z = match self.io.code {
            Code::Moments => said.narrow(1, 0, self.io.latent_channels),
            Code::Latents => said,
        };
        let [factor, shift] = self.io.scaling;
        (z - shift) * factor
    }

    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let [factor, shift] = self.io.scaling;
        let z = z / factor + shift;
        match self.tiles {
            Some(side) => self.network.decode_tiled(z, side),
            None => self.network.decode(z),
        }
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
        self.network.config().features([channels, side(height), side(width)])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use undiffuse_nn::networks::AutoencoderConfig;
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
