//! Pictures → their latents, or the other way round.

use anyhow::bail;
use undiffuse::nn::networks::Autoencoder;
use undiffuse::nn::networks::autoencoder::Code;
use undiffuse::nn::weights::Named;

use super::{Given, named};

const INPUTS: [&str; 2] = ["sample", "latents"];

/// The network's answer to the tensors of a file.
pub fn predict(network: &Autoencoder, given: &Given) -> anyhow::Result<Vec<Named>> {
    let config = network.config();
    match INPUTS.map(|name| given.tensors.contains_key(name)) {
        [true, true] => bail!("there are both `sample`, to be encoded, and `latents`, to be decoded: give one of them"),
        [false, true] => {
            let (z, shape) = given.pictures("latents", &INPUTS)?;
            config.check_latents(shape)?;
            Ok(vec![named("sample", network.decode(z))?])
        }
        _ => {
            let (x, shape) = given.pictures("sample", &INPUTS)?;
            config.check_picture(shape)?;
            let name = match config.io().code {
                Code::Moments => "moments",
                Code::Latents => "latents",
            };
            Ok(vec![named(name, network.encode(x))?])
        }
    }
}
