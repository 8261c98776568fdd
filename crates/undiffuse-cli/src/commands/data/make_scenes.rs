//! `undiffuse data make-scenes`.

use std::path::PathBuf;
use std::process::ExitCode;

use undiffuse::data::DataError;
use undiffuse::data::scenes::{Making, MakingError, PROMPTS, make};

use crate::common::usage;
use crate::output::{facts, show};

/// Make captioned pictures of coloured shapes, to train on words without any download: one or two of 6 shapes in 8 colours and 2 sizes,
/// left of, right of, above or below each other, each picture with three captions that are exactly true.
#[derive(clap::Args)]
pub struct Args {
    /// The folder to make: pictures, metadata.jsonl, and prompts.txt for `undiffuse sample --prompts`
    folder: PathBuf,
    /// How many pictures
    #[arg(short, long = "number", visible_alias = "n", default_value_t = 20_000)]
    n: usize,
    /// The same seed makes the same pictures, however many
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Height and width in pixels
    #[arg(long, default_value_t = 32)]
    size: usize,
    /// Make only what is never among the others: shapes in colours, and pairs of them, that a model has not seen together
    #[arg(long)]
    held_out: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let making = Making { n: args.n, seed: args.seed, side: args.size, held_out: args.held_out };
    make(&args.folder, &making).map_err(|e| match e {
        MakingError::Data(e @ DataError::Option { .. }) => usage(e.to_string()),
        e => e.into(),
    })?;
    let (folder, part) = (args.folder.display(), if args.held_out { "held-out " } else { "" });
    show(&facts(&[
        ("scenes", format!("{} {part}pictures of {1}x{1} in {folder}", args.n, args.size)),
        ("prompts", args.folder.join(PROMPTS).display().to_string()),
    ]))?;
    Ok(ExitCode::SUCCESS)
}
