//! `undiffuse inspect`.

mod model;
mod picture;
mod run;
mod weights;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use serde_json::Value;
use undiffuse::run::RunFolder;

use crate::common::{Weights, usage};
use crate::output::{at, show, show_json};

/// Look into a picture, a model, a run or a checkpoint.
#[derive(clap::Args)]
pub struct Args {
    /// A picture made by this program or another (PNG, JPEG, WebP), a model folder, a run, or a .safetensors file
    path: PathBuf,
    #[command(flatten)]
    weights: Weights,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found, for people and for programs.
struct Findings {
    text: String,
    json: Value,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let found = look(&args.path, args.weights.variant.as_deref())?;
    if args.json {
        show_json(&found.json)?
    } else {
        show(&found.text)?
    }
    Ok(ExitCode::SUCCESS)
}

/// How the pictures begin that carry words.
const PICTURES: [&[u8]; 3] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF"];

fn look(path: &Path, variant: Option<&str>) -> anyhow::Result<Findings> {
    let run = Some(RunFolder::new(path)).filter(RunFolder::exists);
    if path.is_dir() && run.is_none() {
        return model::inspect(path, variant);
    }
    if variant.is_some() {
        return Err(usage(format!("--variant: `{}` is no model folder, and has no variants", path.display())));
    }
    if let Some(run) = run {
        return run::inspect(&run);
    }
    let bytes = std::fs::read(path).map_err(at("read", path))?;
    if PICTURES.iter().any(|start| bytes.starts_with(start)) {
        return picture::inspect(path, &bytes);
    }
    if path.extension().is_some_and(|e| e == "safetensors") {
        return weights::inspect(path, &bytes);
    }
    bail!(
        "`{}` is none of what can be looked into: a picture (PNG, JPEG, WebP), a model folder, a run, a .safetensors file",
        path.display()
    )
}

/// A number of bytes for people.
fn size(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
