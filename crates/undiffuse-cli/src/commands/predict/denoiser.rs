//! A picture with noise → the network's answer.

use anyhow::bail;
use undiffuse::burn::tensor::{Device, Tensor, TensorData};
use undiffuse::nn::weights::Named;
use undiffuse::nn::{Condition, Network};

use super::{Given, named};

const INPUTS: [&str; 6] =
    ["sample", "timestep", "class_labels", "encoder_hidden_states", "encoder_attention_mask", "timestep_cond"];

/// The network's answer to the tensors of a file.
pub fn predict(network: &Network, given: &Given) -> anyhow::Result<Vec<Named>> {
    let (x, shape @ [b, ..]) = given.pictures("sample", &INPUTS)?;
    let time = given.tensor("timestep", &INPUTS)?;
    let times = match time.shape.as_slice() {
        [] | [1] => vec![time.values[0]; b],
        [_] => time.values.clone(),
        other => {
            bail!("`timestep` has shape {other:?}; one number for each picture, [{b}], or a single one is expected")
        }
    };
    let labels = given.tensors.get("class_labels");
    let condition = Condition {
        tokens: given.optional("encoder_hidden_states", ["batch", "tokens", "width"])?,
        mask: given.optional("encoder_attention_mask", ["batch", "tokens"])?,
        timestep_cond: given.optional("timestep_cond", ["batch", "width"])?,
        ..labels.map(|t| condition(t, &given.device)).transpose()?.unwrap_or_default()
    };
    let config = network.config();
    config.check_input(shape, times.len(), &condition)?;
    check_times(config.timesteps(), &times)?;
    let y = network.forward(x, &times, &condition);
    let meant = network.post_process(y.clone()).map(|y| named("image_embeds", y.flatten::<2>(1, 3)));
    [Some(named("sample", y)), meant].into_iter().flatten().collect()
}

/// Numbers `[B]`, or embeddings `[B, width]`.
fn condition(tensor: &Named, device: &Device) -> anyhow::Result<Condition> {
    match *tensor.shape.as_slice() {
        [_] => Ok(Condition::labels(tensor.values.clone())),
        [b, width] => {
            let data = TensorData::new(tensor.values.clone(), [b, width]);
            Ok(Condition::vector(Tensor::from_data(data, device)))
        }
        ref other => bail!("`class_labels` has shape {other:?}; one number for each picture is expected"),
    }
}

/// A table of timesteps has rows for whole numbers in its range, and only for them.
fn check_times(known: Option<usize>, times: &[f32]) -> anyhow::Result<()> {
    if let Some(bad) = times.iter().find(|t| !t.is_finite()) {
        bail!("`timestep` holds {bad}; numbers are expected");
    }
    if let Some(rows) = known
        && let Some(bad) = times.iter().find(|&&t| t < 0.0 || t >= rows as f32 || t.fract() != 0.0)
    {
        bail!("`timestep` holds {bad}; this network knows the whole numbers from 0 to {}", rows - 1);
    }
    Ok(())
}
