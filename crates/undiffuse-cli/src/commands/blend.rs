//! `undiffuse blend`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use undiffuse::burn::tensor::Tensor;
use undiffuse::variation::{slerp, slerp_noise};

use super::vary::series::{Decoder, Decoding, Series, Start, way};
use crate::common::usage;

/// Pictures on the way from one to another: their vectors turn into each other, and so does the noise that DDIM inversion finds for
/// them \[Ramesh22, section 3.2\].
#[derive(clap::Args)]
pub struct Args {
    /// The picture at the beginning
    pub from: PathBuf,
    /// The picture at the end
    pub to: PathBuf,
    /// How many pictures, both ends included
    #[arg(long, default_value_t = 9)]
    pub frames: usize,
    /// Begin all at the noise of this seed, instead of between what is found for both: the ends are then only like the two pictures
    #[arg(long)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub decoding: Decoding,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.frames < 2 {
        return Err(usage("--frames must be at least 2: both ends are among them"));
    }
    let decoder = Decoder::load(&args.decoding, args.seed.is_none().then_some(0.0))?;
    let ((a, a_vector), (b, b_vector)) = (decoder.seen(&args.from)?, decoder.seen(&args.to)?);
    let vectors = way(args.frames).map(|t| slerp(&a_vector, &b_vector, t)).collect();
    let start = match args.seed {
        Some(seed) => Start::Seeds(vec![seed; args.frames]),
        None => {
            let ends = [decoder.inverted(&a, &a_vector)?, decoder.inverted(&b, &b_vector)?];
            let noise = way(args.frames).map(|t| slerp_noise(&ends[0], &ends[1], t)).collect();
            Start::Found(Box::new(Tensor::cat(noise, 0)), vec![0; args.frames])
        }
    };
    let fact = |t: f64| json!({ "blend": t }).as_object().cloned().unwrap_or_default();
    let facts = way(args.frames).map(fact).collect();
    let (inputs, decoding) = (vec![args.from.as_path(), args.to.as_path()], &args.decoding);
    Series { decoder: &decoder, decoding, inputs, vectors, start, before: Vec::new(), film: true, facts }.run()
}
