//! `undiffuse sample`.

use std::path::PathBuf;
use std::process::ExitCode;

use undiffuse::Model;
use undiffuse::data::{encode_png, grid};
use undiffuse::denoise::Cond;
use undiffuse::image::to_images;
use undiffuse::sample::{Noise, sample};

use crate::common::Machine;

/// Make new pictures with a trained model.
#[derive(clap::Args)]
pub struct Args {
    /// A run, or a diffusers model folder
    model: PathBuf,
    /// How many pictures
    #[arg(short, default_value_t = 16)]
    n: usize,
    /// Seed of the first picture; the next ones count up
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    machine: Machine,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let device = args.machine.open()?;
    let model = Model::load(&args.model, &device)?;
    let defaults = model.sample_defaults();
    let plan = model.plan(&defaults)?;
    let denoiser = model.denoiser(defaults.guidance);
    let cond = Cond { labels: None };
    let x = sample(&*denoiser, &plan, Noise::Seeds((args.seed..args.seed + args.n as u64).collect()), model.shape(), &cond).finish();
    std::fs::write("grid.png", encode_png(&grid(&to_images(x), 8, 2), &[])?)?;
    Ok(ExitCode::SUCCESS)
}
