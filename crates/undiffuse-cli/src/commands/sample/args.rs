//! What `undiffuse sample` is asked.

use std::path::PathBuf;

use undiffuse::model::Adapter;
use undiffuse::{Model, memory};

use crate::asks::Asking;
use crate::common::{Machine, Weights, usage};
use crate::sampling::Sampling;

/// Make new pictures with a trained model.
#[derive(clap::Args)]
pub struct Args {
    /// A run made by `undiffuse train`, or a diffusers folder
    pub model: PathBuf,
    /// How many pictures; 16 when not given, or as many as --init-noise holds, or there are prompts for
    #[arg(short, long = "number")]
    pub n: Option<usize>,
    #[command(flatten)]
    pub sampling: Sampling,
    /// Noise of ancestral sampling (--solver ddpm) by the model's own errors, from the nll.json that `undiffuse nll` wrote
    /// \[Bao22\]: meant for few steps
    #[arg(long, value_name = "nll.json", conflicts_with = "init_image")]
    pub optimal_variance: Option<PathBuf>,
    /// Langevin corrections before each evaluation of a plan, with this signal-to-noise ratio, such as 0.16 \[Song21, Algorithm 4\]
    #[arg(long, value_name = "SNR")]
    pub corrector: Option<f64>,
    /// Corrections before each evaluation
    #[arg(long, default_value_t = 1, requires = "corrector")]
    pub corrections: usize,
    /// Integrate the ODE from the schedule's noisiest level to its cleanest instead of walking a plan: the error that each
    /// picture allows in a step, relative and absolute, such as 1e-3
    #[arg(long, value_name = "TOLERANCE", conflicts_with_all = ["solver", "steps", "spacing", "eta", "corrector", "init_noise", "init_image"])]
    pub adaptive: Option<f64>,
    /// Seed of the first picture; the others count up. A picture depends on its seed and the settings alone
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub asking: Asking,
    /// LoRA files that are added to the model's weights, each as many times as it says: ink.safetensors:0.8. Given again, one more
    #[arg(long, value_name = "FILE.safetensors[:SCALE]")]
    pub lora: Vec<Adapter>,
    /// Pictures computed at a time; results do not depend on it
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    /// Size of the pictures as WIDTHxHEIGHT; the model's own when not given
    #[arg(long, value_parser = parse_size)]
    pub size: Option<(usize, usize)>,
    /// Decode and encode pictures in tiles of so many pixels a side, where they are too large for the memory; pictures are not
    /// quite the same
    #[arg(long, value_name = "SIDE")]
    pub tiles: Option<usize>,
    /// Noise to start from instead of seeds: a safetensors file with `init_noise [N, C, H, W]` and, for solvers that
    /// add noise, `noise.0`, `noise.1`, …
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "seed")]
    pub init_noise: Option<PathBuf>,
    /// Only the picture that starts from this noise of --init-noise, the first being 0
    #[arg(long, value_name = "K", requires = "init_noise", conflicts_with = "n")]
    pub init_index: Option<usize>,
    /// Start from this picture instead of noise
    #[arg(long, value_name = "IMAGE")]
    pub init_image: Option<PathBuf>,
    /// How much of the way is walked again with --init-image: 0 gives the picture back as it is, anything above walks at least
    /// the last step, 1 forgets it; 0.6 when not given, 1 for ddim-inverse and for models that paint into pictures
    #[arg(long, requires = "init_image")]
    pub strength: Option<f64>,
    /// Paint only where this picture is white; keep --init-image, or believe --observed, where it is black or transparent.
    /// Grey from 128 up, at the model's size, counts as white
    #[arg(long, value_name = "IMAGE")]
    pub mask: Option<PathBuf>,
    /// Pictures that this one could be a noisy version of; where --mask is given, only its black part was seen
    #[arg(long, value_name = "IMAGE", conflicts_with = "init_image")]
    pub observed: Option<PathBuf>,
    /// Standard deviation of the noise on --observed, for pixels in [-1, 1]
    #[arg(long, default_value_t = 0.3, requires = "observed")]
    pub observed_noise: f64,
    /// Folder for the pictures, new or empty; samples/<model name> when not given, with a number when that is taken. Each PNG
    /// carries what made it, paths as they are typed: `undiffuse inspect` prints the command
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Also write the raw result as the tensor `sample` of this safetensors file; after `--solver ddim-inverse`, as the
    /// `init_noise` from which --init-noise walks back to the picture
    #[arg(long, value_name = "FILE.safetensors")]
    pub raw: Option<PathBuf>,
    /// Replace what is there: pictures of this program in --out, which are removed first, and the file of --raw
    #[arg(long)]
    pub overwrite: bool,
    /// Progress without pictures, also on a terminal
    #[arg(long)]
    pub plain: bool,
    #[command(flatten)]
    pub weights: Weights,
    #[command(flatten)]
    pub machine: Machine,
}

impl Args {
    /// How much of the way is walked from --init-image.
    pub fn strength(&self, model: &Model) -> f64 {
        let whole = model.sample_defaults().solver.rises() || model.paints();
        self.strength.unwrap_or(if whole { 1.0 } else { 0.6 })
    }

    /// The files that are read besides the model.
    pub fn inputs(&self) -> impl Iterator<Item = &PathBuf> {
        let files = [&self.optimal_variance, &self.init_noise, &self.init_image, &self.mask, &self.observed];
        files.into_iter().flatten().chain(self.lora.iter().map(|adapter| &adapter.path))
    }

    /// What can be said without the model.
    ///
    /// # Errors
    /// Numbers out of their range.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.batch == 0 || self.n == Some(0) || self.corrections == 0 {
            return Err(usage("-n, --batch and --corrections must be at least 1"));
        }
        // Less would overflow single precision as a variance; a hundredth of a pixel value is as good as none.
        if !(self.observed_noise >= 1e-4 && self.observed_noise.is_finite()) {
            return Err(usage(format!("--observed-noise {} must be a number from 1e-4 on", self.observed_noise)));
        }
        if let Some(bad) = [self.corrector, self.adaptive].into_iter().flatten().find(|x| !(*x > 0.0 && *x < 1.0)) {
            return Err(usage(format!("{bad}: --corrector and --adaptive take a number between 0 and 1")));
        }
        match self.strength {
            Some(strength) if !(0.0..=1.0).contains(&strength) => {
                Err(usage(format!("--strength {strength} must be between 0 and 1")))
            }
            _ => Ok(()),
        }
    }

    /// Whether there is room for the result: `n` pictures `[C, H, W]`, their grid, and with --raw their numbers.
    ///
    /// # Errors
    /// There is not.
    pub fn afford(&self, n: usize, [channels, height, width]: [usize; 3]) -> anyhow::Result<()> {
        let values =
            [channels, height, width].into_iter().fold(n as u64, |values, side| values.saturating_mul(side as u64));
        let bytes = values.saturating_mul(if self.raw.is_some() { 8 } else { 4 });
        memory::afford(&format!("-n {n}"), bytes).map_err(|e| usage(e.to_string()))
    }

    /// A walk up to noise starts from a picture and goes the whole way, with nothing of its own.
    ///
    /// # Errors
    /// Options that such a walk does not have.
    pub fn check_inversion(&self, solver: &str) -> anyhow::Result<()> {
        if self.init_image.is_none() {
            return Err(usage(format!(
                "--solver {solver} walks a picture up to its noise: give the picture with --init-image"
            )));
        }
        if self.strength.is_some_and(|s| s != 1.0) {
            return Err(usage(format!("--solver {solver} walks the whole way up: --strength 1, or leave it out")));
        }
        if self.corrector.is_some() || self.mask.is_some() {
            return Err(usage(format!(
                "--solver {solver} finds the noise of the picture as it is: no --corrector, no --mask"
            )));
        }
        Ok(())
    }
}

fn parse_size(text: &str) -> Result<(usize, usize), String> {
    let parse = |s: &str| s.trim().parse::<usize>().ok().filter(|&n| n > 0);
    let (w, h) = text.split_once('x').unwrap_or((text, text));
    match (parse(w), parse(h)) {
        (Some(w), Some(h)) => Ok((w, h)),
        _ => Err("write WIDTHxHEIGHT, such as 32x32".into()),
    }
}
