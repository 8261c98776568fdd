//! `undiffuse data check-scenes`.

use std::path::PathBuf;
use std::process::ExitCode;

use undiffuse::data::Skipped;
use undiffuse_eval::scenes::{Pictures, ScenesReport, look};

use crate::common::usage;
use crate::output::{remark, show, show_json};

/// Count how many pictures of scenes show what their captions say: shapes, colours, sizes, relations, for scenes that training may have
/// seen and for held-out ones, beside what a model would reach that does not listen.
#[derive(clap::Args)]
pub struct Args {
    /// Pictures with captions: what `undiffuse sample --prompts` made, or scenes; a folder, a .zip or .tar(.gz) of one
    pictures: PathBuf,
    /// Add Gaussian noise of this standard deviation first (pictures reach from -1 to 1), to measure the checker itself on scenes
    #[arg(long, value_name = "SIGMA", default_value_t = 0.0, allow_hyphen_values = true)]
    noise: f32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if !(0.0..=2.0).contains(&args.noise) {
        return Err(usage(format!("--noise {}: a standard deviation from 0 to 2", args.noise)));
    }
    let Pictures { shown, others, skipped } = look(&args.pictures, args.noise)?;
    let counted = |what: &str, left: &[Skipped]| {
        left.first().map(|first| format!("{what}: {} (first: {}: {})", left.len(), first.name, first.reason))
    };
    let left = [counted("not counted", &others), counted("cannot be read", &skipped)];
    let left: Vec<String> = left.into_iter().flatten().collect();
    if shown.is_empty() {
        let why = if left.is_empty() { "it holds no pictures".into() } else { left.join("; ") };
        let pictures = args.pictures.display();
        anyhow::bail!(
            "no picture in {pictures} has a caption that tells of a scene: {why}. `undiffuse data make-scenes` writes prompts that do"
        );
    }
    let report = ScenesReport::new(&shown);
    if args.json {
        let mut json = serde_json::to_value(&report)?;
        json["not_counted"] = serde_json::to_value(&others)?;
        json["skipped"] = serde_json::to_value(&skipped)?;
        json["noise"] = args.noise.into();
        show_json(&json)?;
    } else {
        show(&report.to_string())?;
        left.iter().for_each(|line| remark(line));
    }
    Ok(ExitCode::SUCCESS)
}
