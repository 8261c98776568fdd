//! Pictures → what they show.

use undiffuse::nn::networks::{ImageEmbedding, ImageEncoder};
use undiffuse::nn::weights::Named;

use super::{Given, named};

/// The network's answer to the tensors of a file.
pub fn predict(network: &ImageEncoder, given: &Given) -> anyhow::Result<Vec<Named>> {
    let (pixels, shape) = given.pictures("pixel_values", &["pixel_values"])?;
    network.config().check_input(shape)?;
    let ImageEmbedding { hidden, embedding } = network.embed(pixels);
    Ok(vec![named("last_hidden_state", hidden)?, named("image_embeds", embedding)?])
}
