//! The tokens of texts → what they mean.

use anyhow::{Context, bail};
use undiffuse::nn::networks::{Encoded, TextEncoder, Tokens};
use undiffuse::nn::weights::Named;

use super::{Given, named};

const INPUTS: [&str; 2] = ["input_ids", "attention_mask"];

/// The network's answer to the tensors of a file.
pub fn predict(network: &TextEncoder, given: &Given) -> anyhow::Result<Vec<Named>> {
    let ids = given.tensor("input_ids", &INPUTS)?;
    let [texts, length] = *ids.shape.as_slice() else {
        bail!("`input_ids` has shape {:?}; a row of tokens for each text, [texts, tokens], is expected", ids.shape);
    };
    if texts == 0 {
        bail!("`input_ids` has shape {:?}: there are no texts in it", ids.shape);
    }
    let whole = |&id: &f32| (id >= 0.0 && id.fract() == 0.0).then_some(id as usize);
    let rows: Option<Vec<usize>> = ids.values.iter().map(whole).collect();
    let mask = given.tensors.get("attention_mask").map(|mask| match mask.shape == ids.shape {
        true => Ok(mask.values.iter().map(|&counts| counts != 0.0).collect()),
        false => bail!("`attention_mask` has shape {:?}, `input_ids` has {:?}", mask.shape, ids.shape),
    });
    let ids = rows.context("`input_ids` holds what is no row of a vocabulary: whole numbers from 0 are expected")?;
    let tokens = Tokens { ids, length, mask: mask.transpose()? };
    let config = network.config();
    config.check_input(&tokens, 0)?;
    let Encoded { hidden, pooled } = network.encode(&tokens, 0);
    Ok(vec![named("last_hidden_state", hidden)?, named(config.io().pooled.0, pooled)?])
}
