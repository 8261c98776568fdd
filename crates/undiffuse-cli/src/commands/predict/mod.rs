//! `undiffuse predict`.

mod autoencoder;
mod denoiser;
mod image;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use undiffuse::burn::tensor::{Device, Tensor, TensorData};
use undiffuse::model;
use undiffuse::nn::networks::Component;
use undiffuse::nn::weights::{self, Named};

use crate::common::{Machine, Weights};
use crate::output::{keep, show, write};

/// Run the bare network on tensors, to compare it with others.
#[derive(clap::Args)]
#[command(after_help = "\
What goes into a network, and what comes out:
  denoiser       sample [B, C, H, W], timestep [B] or one number, class_labels [B] or [B, D] where it has them,
                 encoder_hidden_states [B, N, D] where it attends to tokens, encoder_attention_mask [B, N] where not
                 all count, timestep_cond [B, D] of a network distilled for guidance
                 -> sample [B, C, H, W], and image_embeds [B, C] of a prior, which is told pictures' embeddings standardised
  autoencoder    sample [B, C, H, W] in [-1, 1] -> moments [B, 2C, H, W] (latents of an AutoencoderTiny);
                 latents [B, C, H, W] -> sample [B, C, H, W]
  text encoder   input_ids [B, N], attention_mask [B, N] where not all count
                 -> last_hidden_state [B, N, C], and text_embeds or pooler_output [B, D]
  image encoder  pixel_values [B, C, H, W] -> last_hidden_state [B, N, C], image_embeds [B, D]")]
pub struct Args {
    /// A diffusers model folder, a folder with nothing but a network (such as text_encoder/ of a pipeline), or a run
    model: PathBuf,
    /// Tensors by name, as listed below
    #[arg(long, value_name = "IN.safetensors")]
    input: PathBuf,
    /// The answer: tensors by name
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
    let component = model::load_component(&args.model, args.weights.variant.as_deref(), &device)?;
    let given = Given { tensors: weights::read(&args.input)?, device };
    let answer = match &component {
        Component::Network(network) => denoiser::predict(network, &given),
        Component::Autoencoder(network) => autoencoder::predict(network, &given),
        Component::TextEncoder(network) => text::predict(network, &given),
        Component::ImageEncoder(network) => image::predict(network, &given),
    };
    let answer = answer.with_context(|| format!("`{}`", args.input.display()))?;
    write(&args.output, &weights::to_bytes(&answer, None))?;
    let shapes: Vec<String> = answer.iter().map(|tensor| format!("{} {:?}", tensor.name, tensor.shape)).collect();
    show(&format!("wrote {}: {}\n", args.output.display(), shapes.join(", ")))?;
    Ok(ExitCode::SUCCESS)
}

/// The tensors of a file, for a network on a device.
struct Given {
    tensors: BTreeMap<String, Named>,
    device: Device,
}

impl Given {
    /// A tensor by name, one of those that the network takes.
    fn tensor(&self, name: &str, known: &[&str]) -> anyhow::Result<&Named> {
        self.tensors.get(name).with_context(|| {
            let found = self.tensors.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            format!("there is no tensor `{name}` (there are: {found}); name the inputs {known:?}")
        })
    }

    /// A tensor that may be missing, of as many dimensions as `shape` names.
    fn optional<const D: usize>(&self, name: &str, shape: [&str; D]) -> anyhow::Result<Option<Tensor<D>>> {
        let Some(tensor) = self.tensors.get(name) else { return Ok(None) };
        let Ok(dims) = <[usize; D]>::try_from(tensor.shape.as_slice()) else {
            bail!("`{name}` has shape {:?}; [{}] is expected", tensor.shape, shape.join(", "));
        };
        Ok(Some(Tensor::from_data(TensorData::new(tensor.values.clone(), dims), &self.device)))
    }

    /// The same of four dimensions, none of them empty.
    fn pictures(&self, name: &str, known: &[&str]) -> anyhow::Result<(Tensor<4>, [usize; 4])> {
        let tensor = self.tensor(name, known)?;
        let Ok(shape @ [b, ..]) = <[usize; 4]>::try_from(tensor.shape.as_slice()) else {
            bail!("`{name}` has shape {:?}; pictures [batch, channels, height, width] are expected", tensor.shape);
        };
        if b == 0 {
            bail!("`{name}` has shape {shape:?}: there are no pictures in it");
        }
        Ok((Tensor::from_data(TensorData::new(tensor.values.clone(), shape), &self.device), shape))
    }
}

/// A tensor of the answer.
fn named<const D: usize>(name: &str, tensor: Tensor<D>) -> anyhow::Result<Named> {
    let shape = tensor.dims().to_vec();
    let values = tensor.into_data().try_into_vec_as::<f32>();
    let values = values.context("the network's answer is not a tensor of numbers")?;
    Ok(Named { name: name.into(), shape, values })
}
