//! `undiffuse diffuse`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use undiffuse::data::{
    Band, Caption, Image, Options, captioned, encode_png, gif, histogram, sheet_mark, strip, transform,
};
use undiffuse::forward::{ForwardProcess, Noised, exposure, signal_share, times};
use undiffuse::math::prelude::{NoiseLevel, ScheduleKind};
use undiffuse_serve::parameters::OWN;

use crate::again::{Again, Kind, Setting, told};
use crate::common::usage;
use crate::output::{at, keep, show, stem, write};

/// Watch pictures dissolve into noise: a strip of the forward process x_t = α·x0 + σ·ε.
#[derive(clap::Args)]
pub struct Args {
    /// Pictures
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// How time becomes noise; `undiffuse plan --list` lists them
    #[arg(long, default_value = "linear")]
    schedule: ScheduleKind,
    /// Frames of the strip
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=100), value_name = "FRAMES")]
    steps: u16,
    /// Longer side of the picture in pixels, before noise is added; its own, at most 224, when not given
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=2048))]
    size: Option<u16>,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Add a row with the distribution of the pixels' values and the normal curve
    #[arg(long)]
    histogram: bool,
    /// Also write an animation, beside the strip
    #[arg(long)]
    gif: bool,
    /// Let the animation run back again
    #[arg(long, requires = "gif")]
    ping_pong: bool,
    /// PNG to write, or a folder for several; <name>-diffuse.png in the current folder when not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Frames are enlarged by whole factors to at most this many pixels a side, and larger pictures reduced to it.
const FRAME: usize = 224;
/// Frames of an animation, and how often its first and last are repeated so that the eye may rest.
const FRAMES: usize = 40;
const REST: usize = 8;
const DELAY_MS: u32 = 80;
/// The histogram's height, the range of its axis, and the density at its upper edge.
const PLOT: usize = 130;
const SPAN: f64 = 3.5;
const TOP: f64 = 0.72;

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let outputs = outputs(&args)?;
    for (path, out) in args.images.iter().zip(outputs) {
        let picture = Image::open(path, &Options::default())?;
        let scene = Scene::new(&args, path, &picture);
        if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(at("create", folder))?;
        }
        let text = [(OWN.into(), facts(&args, path).to_string()), sheet_mark("strip")];
        write(&out, &encode_png(&scene.strip(&args), &text)?)?;
        show(&format!("wrote {}\n", out.display()))?;
        if args.gif {
            let animation = out.with_extension("gif");
            write(&animation, &gif(&scene.animation(args.ping_pong), DELAY_MS)?)?;
            show(&format!("wrote {}\n", animation.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where each picture's strip goes; nothing of the person's is overwritten, and no strip by another.
fn outputs(args: &Args) -> anyhow::Result<Vec<PathBuf>> {
    let named = |path: &PathBuf| format!("{}-diffuse.png", stem(path));
    let outputs: Vec<PathBuf> = match &args.out {
        None => args.images.iter().map(|path| named(path).into()).collect(),
        Some(out) if args.images.len() > 1 || out.is_dir() || out.as_os_str().to_string_lossy().ends_with('/') => {
            args.images.iter().map(|path| out.join(named(path))).collect()
        }
        Some(out) if out.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) => vec![out.clone()],
        Some(out) => {
            let name = out.display();
            return Err(usage(format!(
                "--out {name}: the strip is a PNG, name it so; --gif writes an animation beside it"
            )));
        }
    };
    for (k, out) in outputs.iter().enumerate() {
        if let Some(other) = outputs[..k].iter().position(|earlier| earlier == out) {
            let (a, b) = (args.images[other].display(), args.images[k].display());
            return Err(usage(format!(
                "{a} and {b} would both become {}: give them one at a time, with --out",
                out.display()
            )));
        }
        keep("--out", out, &args.images)?;
        if args.gif {
            keep("--out", &out.with_extension("gif"), &args.images)?;
        }
    }
    Ok(outputs)
}

/// The options on which a strip depends, as it carries them and as the command that makes it again is read from them.
const SETTINGS: &[Setting<Args>] = &[
    Setting { option: "schedule", kind: Kind::Word, value: |args, _| json!(args.schedule.to_string()) },
    Setting { option: "steps", kind: Kind::Word, value: |args, _| json!(args.steps) },
    Setting { option: "size", kind: Kind::Word, value: |args, _| json!(args.size) },
    Setting { option: "seed", kind: Kind::Word, value: |args, _| json!(args.seed) },
    Setting { option: "histogram", kind: Kind::Word, value: |args, _| json!(args.histogram) },
];

/// What a strip carries: what it shows, and the command that makes it again.
fn facts(args: &Args, path: &Path) -> Value {
    let mut facts = Value::from(told(SETTINGS, args, 0));
    facts["program"] = json!(concat!("undiffuse ", env!("CARGO_PKG_VERSION")));
    facts["image"] = json!(path.display().to_string());
    facts["command"] = json!(again(&facts).command());
    facts
}

/// The command that makes a strip with these facts again.
pub fn again(facts: &Value) -> Again {
    Again::new("diffuse", "image", SETTINGS, facts)
}

/// A picture and all that is needed to draw it at any time.
struct Scene {
    name: String,
    schedule: ScheduleKind,
    seed: u64,
    forward: ForwardProcess,
    /// Whole factor by which frames are enlarged.
    factor: usize,
}

impl Scene {
    fn new(args: &Args, path: &Path, picture: &Image) -> Self {
        let longer = picture.width.max(picture.height);
        let size = args.size.map_or(longer.min(FRAME), usize::from);
        let side = |pixels: usize| (pixels * size).div_ceil(longer).max(1);
        let small = transform::resize(picture, side(picture.width), side(picture.height));
        Self {
            name: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            schedule: args.schedule.clone(),
            seed: args.seed,
            forward: ForwardProcess::new(&small, args.seed),
            factor: (FRAME / size).max(1),
        }
    }

    fn picture(&self, values: &[f32], exposure: f64) -> Image {
        self.forward.image(values, exposure).upscale(self.factor)
    }

    /// Time and share of signal, under a frame.
    fn caption(&self, time: f64) -> Caption {
        let share = signal_share(self.schedule.level(time));
        let time = match self.schedule.discrete_steps() {
            Some(_) => format!("t = {time}"),
            None => format!("t = {}", significant(time)),
        };
        Caption { share, lines: vec![time, percent(share)] }
    }

    fn strip(&self, args: &Args) -> Image {
        let times = times(&*self.schedule, args.steps.into());
        let levels: Vec<NoiseLevel> = times.iter().map(|&t| self.schedule.level(t)).collect();
        let states: Vec<Noised> = levels.iter().map(|&level| self.forward.at(level)).collect();
        let row = |label: &str, values: fn(&Noised) -> &[f32]| Band {
            label: label.into(),
            cells: states.iter().zip(&levels).map(|(s, &level)| self.picture(values(s), exposure(level))).collect(),
            captions: Vec::new(),
        };
        let grows = levels.iter().any(|&level| exposure(level) < 0.999);
        let shown = if grows { "   (each column scaled to unit variance)" } else { "" };
        let title = format!("{}   schedule {}   seed {}{shown}", self.name, self.schedule, self.seed);
        let mut bands = vec![
            Band {
                captions: times.iter().map(|&t| self.caption(t)).collect(),
                ..row("x_t = α·x0 + σ·ε: the picture dissolves   (%: share of signal left)", |s| &s.x_t)
            },
            row("α·x0: the nudge toward the origin", |s| &s.signal),
            row("σ·ε: the noise", |s| &s.noise),
        ];
        if args.histogram {
            let cells = states.iter().zip(&levels).map(|(state, &level)| self.plot(state, level));
            bands.push(Band {
                label: "how often each value occurs in x_t, and the normal curve".into(),
                cells: cells.collect(),
                captions: Vec::new(),
            });
        }
        strip(&title, &bands)
    }

    fn plot(&self, state: &Noised, level: NoiseLevel) -> Image {
        let values: Vec<f32> = state.x_t.iter().map(|&x| (f64::from(x) * exposure(level)) as f32).collect();
        histogram((FRAME, PLOT), &values, SPAN, TOP, |x| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt())
    }

    fn animation(&self, ping_pong: bool) -> Vec<Image> {
        let frame = |&time: &f64| {
            let level = self.schedule.level(time);
            captioned(&self.picture(&self.forward.at(level).x_t, exposure(level)), &self.caption(time))
        };
        let there: Vec<Image> = times(&*self.schedule, FRAMES).iter().map(frame).collect();
        let rest = |frame: &Image| vec![frame.clone(); REST];
        let mut frames = rest(&there[0]);
        frames.extend_from_slice(&there);
        frames.extend(rest(&there[there.len() - 1]));
        if ping_pong {
            frames.extend(there.into_iter().rev());
        }
        frames
    }
}

/// Three significant digits.
fn significant(value: f64) -> String {
    let decimals = (2.0 - value.abs().log10().floor()).clamp(0.0, 4.0);
    if value == 0.0 { "0".into() } else { format!("{value:.*}", decimals as usize) }
}

/// A share in per cent, with two digits of whichever is smaller, it or what is missing to the whole.
fn percent(share: f64) -> String {
    let value = 100.0 * share;
    let small = value.min(100.0 - value);
    match small {
        0.0 => format!("{value}%"),
        s if s < 1e-4 && value < 50.0 => "<0.0001%".into(),
        s if s < 1e-4 => ">99.9999%".into(),
        s => format!("{value:.*}%", (1.0 - s.log10().floor()).clamp(1.0, 4.0) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new option of `diffuse` is in a strip's settings, or the strip does not depend on it.
    #[test]
    fn every_option_is_told_or_neutral() {
        let neutral = ["images", "gif", "ping-pong", "out"];
        let command = <Args as clap::Args>::augment_args(clap::Command::new("diffuse"));
        let options = command.get_arguments().map(|arg| arg.get_long().unwrap_or(arg.get_id().as_str()).to_owned());
        for option in options {
            let told = SETTINGS.iter().any(|setting| setting.option == option);
            assert!(told != neutral.contains(&option.as_str()), "--{option}");
        }
    }

    #[test]
    fn shares_and_times_in_words() {
        let shares = [1.0, 0.9999, 0.99, 0.5, 0.12345, 4.0358e-5, 1e-9, 1.0 - 1e-9, 0.0];
        let words = ["100%", "99.990%", "99.0%", "50.0%", "12.3%", "0.0040%", "<0.0001%", ">99.9999%", "0%"];
        assert_eq!(shares.map(percent), words);
        assert_eq!(
            [0.0, 0.002, 0.0413, 1.0, 80.0, 123.4].map(significant),
            ["0", "0.0020", "0.0413", "1.00", "80.0", "123"]
        );
    }
}
