//! `undiffuse predict`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use undiffuse::burn::tensor::{Device, Tensor, TensorData};
use undiffuse::model;
use undiffuse::nn::weights::{self, Named};
use undiffuse::nn::{Condition, Network};

use crate::common::{Machine, Weights};
use crate::output::{keep, show, write};

/// Run the bare network on tensors, to compare it with others.
#[derive(clap::Args)]
pub struct Args {
    /// A diffusers model folder, a folder with nothing but a network, or a run
    model: PathBuf,
    /// Tensors `sample` [B, C, H, W], `timestep` [B] or one number, and `class_labels` [B] where the model has classes
    #[arg(long, value_name = "IN.safetensors")]
    input: PathBuf,
    /// The answer: a tensor `sample` [B, C, H, W]
    #[arg(long, value_name = "OUT.safetensors")]
    output: PathBuf,
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    machine: Machine,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    keep("--output", &args.output, std::slice::from_ref(&args.input))?;
    let device = args.machine.open()?;
    let network = model::load_network(&args.model, args.weights.variant.as_deref(), &device)?;
    let tensors = weights::read(&args.input)?;
    let answer = predict(&network, &tensors, &device).with_context(|| format!("`{}`", args.input.display()))?;
    write(&args.output, &weights::to_bytes(std::slice::from_ref(&answer), None))?;
    show(&format!("wrote {}: sample {:?}\n", args.output.display(), answer.shape))?;
    Ok(ExitCode::SUCCESS)
}

/// The network's answer to the tensors of a file.
fn predict(network: &Network, tensors: &BTreeMap<String, Named>, device: &Device) -> anyhow::Result<Named> {
    let known = ["sample", "timestep", "class_labels"];
    let found = || tensors.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let tensor = |name: &str| {
        let missing = || format!("there is no tensor `{name}` (there are: {}); name the inputs {known:?}", found());
        tensors.get(name).with_context(missing)
    };
    let sample = tensor("sample")?;
    let Ok(shape @ [b, ..]) = <[usize; 4]>::try_from(sample.shape.as_slice()) else {
        bail!("`sample` has shape {:?}; pictures [batch, channels, height, width] are expected", sample.shape);
    };
    if b == 0 {
        bail!("`sample` has shape {shape:?}: there are no pictures in it");
    }
    let time = tensor("timestep")?;
    let times = match time.shape.as_slice() {
        [] | [1] => vec![time.values[0]; b],
        [_] => time.values.clone(),
        other => {
            bail!("`timestep` has shape {other:?}; one number for each picture, [{b}], or a single one is expected")
        }
    };
    let condition = tensors.get("class_labels").map(|t| condition(t, device)).transpose()?.unwrap_or_default();
    let config = network.config();
    config.check_input(shape, times.len(), &condition)?;
    check_times(config.timesteps(), &times)?;
    let x = Tensor::<4>::from_data(TensorData::new(sample.values.clone(), shape), device);
    let y = network.forward(x, &times, &condition);
    let shape = y.dims().to_vec();
    let values = y.into_data().try_into_vec_as::<f32>().context("the network's answer is not a tensor of numbers")?;
    Ok(Named { name: "sample".into(), shape, values })
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
