//! What a picture says of how it was made, and how the command that makes it again is read from it: one table for both.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use undiffuse::condition::NEGATIVE;
use undiffuse::request::{self, facts};

use super::Job;
use crate::again::{Again, Kind, Setting, told};
#[cfg(test)]
use crate::asks;

/// Every option of `undiffuse sample` on which a picture's bits depend; the others are in [`NEUTRAL`], and a test holds the
/// command to that.
pub const SETTINGS: &[Setting<Job>] = &[
    Setting { option: "seed", kind: Kind::Word, value: |job, k| or_null(job.given.is_none(), json!(job.seed(k))) },
    Setting { option: "ask", kind: Kind::Ask, value: |_, _| Value::Null },
    Setting { option: NEGATIVE, kind: Kind::Word, value: |job, k| json!(request::negative(&job.model, &job.cond, k)) },
    Setting {
        option: "solver",
        kind: Kind::Word,
        value: |job, _| or_null(job.args.adaptive.is_none(), json!(job.settings.solver.to_string())),
    },
    Setting {
        option: "spacing",
        kind: Kind::Word,
        value: |job, _| or_null(job.args.adaptive.is_none(), json!(job.settings.spacing.to_string())),
    },
    Setting {
        option: "steps",
        kind: Kind::Word,
        value: |job, _| or_null(job.args.adaptive.is_none(), json!(job.settings.steps)),
    },
    Setting {
        option: "guidance",
        kind: Kind::Word,
        // Without an ask for nothing there is nothing to guide away from.
        value: |job, _| json!(if job.model.conditioner.guides() { job.settings.guidance } else { 1.0 }),
    },
    Setting { option: "guidance-rescale", kind: Kind::Word, value: |job, _| unusual(job, "guidance_rescale") },
    Setting { option: "guidance-interval", kind: Kind::Word, value: |job, _| unusual(job, "guidance_interval") },
    Setting { option: "clip-skip", kind: Kind::Word, value: |job, _| unusual(job, "clip_skip") },
    Setting { option: "emphasis", kind: Kind::Word, value: |job, _| unusual(job, "emphasis") },
    Setting { option: "adaptive", kind: Kind::Word, value: |job, _| json!(job.args.adaptive) },
    Setting { option: "optimal-variance", kind: Kind::Path, value: |job, _| shown(&job.args.optimal_variance) },
    Setting { option: "corrector", kind: Kind::Word, value: |job, _| json!(job.args.corrector) },
    Setting {
        option: "corrections",
        kind: Kind::Word,
        value: |job, _| or_null(job.args.corrector.is_some(), json!(job.args.corrections)),
    },
    Setting { option: "size", kind: Kind::Word, value: |job, _| json!(job.args.size.map(|(w, h)| format!("{w}x{h}"))) },
    Setting { option: "tiles", kind: Kind::Word, value: |job, _| json!(job.args.tiles) },
    Setting { option: "init-noise", kind: Kind::Path, value: |job, _| shown(&job.args.init_noise) },
    Setting {
        option: "init-index",
        kind: Kind::Word,
        value: |job, k| or_null(job.given.is_some(), json!(job.first + k)),
    },
    Setting { option: "init-image", kind: Kind::Path, value: |job, _| shown(&job.args.init_image) },
    Setting {
        option: "strength",
        kind: Kind::Word,
        value: |job, _| or_null(job.args.init_image.is_some(), json!(job.args.strength(&job.model))),
    },
    Setting { option: "observed", kind: Kind::Path, value: |job, _| shown(&job.args.observed) },
    Setting {
        option: "observed-noise",
        kind: Kind::Word,
        value: |job, _| or_null(job.args.observed.is_some(), json!(job.args.observed_noise)),
    },
    Setting { option: "mask", kind: Kind::Path, value: |job, _| shown(&job.args.mask) },
    Setting { option: "lora", kind: Kind::Adapter, value: |job, _| or_null(!job.loras.is_empty(), json!(job.loras)) },
    Setting { option: "variant", kind: Kind::Word, value: |job, _| json!(job.args.weights.variant) },
    Setting {
        option: "device",
        kind: Kind::Word,
        // Devices other than the CPU give the same pictures within rounding only.
        value: |job, _| or_null(job.args.machine.device != "cpu", json!(job.args.machine.device)),
    },
];

/// The other options, and why no picture depends on them.
#[cfg(test)]
const NEUTRAL: &[(&str, &str)] = &[
    ("model", "stands first"),
    ("number", "a picture does not depend on those that are made with it; one is made again"),
    ("eta", "stands in the solver's word"),
    (asks::FILE, "each picture carries what was asked for it"),
    ("batch", "results do not depend on it"),
    ("threads", "results do not depend on it"),
    ("out", "where, not what"),
    ("raw", "where, not what"),
    ("overwrite", "where, not what"),
    ("plain", "what is shown meanwhile"),
    ("help", "makes no pictures"),
];

fn or_null(told: bool, value: Value) -> Value {
    if told { value } else { Value::Null }
}

/// A setting that is told where it is not what it usually is.
fn unusual(job: &Job, name: &str) -> Value {
    request::unusual(&job.settings).remove(name).unwrap_or_default()
}

fn shown(path: &Option<PathBuf>) -> Value {
    json!(path.as_ref().map(|path| path.display().to_string()))
}

impl Job {
    /// The seed of picture number `k`.
    pub(super) fn seed(&self, k: usize) -> u64 {
        self.args.seed.wrapping_add(k as u64)
    }

    /// What made picture number `k`, for its text chunk.
    pub(super) fn facts(&self, k: usize) -> Map<String, Value> {
        let model = self.args.model.display().to_string();
        let mut facts = facts(&self.model, &model, &self.settings, self.seed(k), &self.cond, k);
        facts.extend(told(SETTINGS, self, k));
        facts
    }
}

/// The command that makes a picture with these facts again.
pub fn again(facts: &Value) -> Again {
    let mut again = Again::new("sample", "model", SETTINGS, facts);
    // An index says which of many, and noise from a file how many there are.
    if facts["init_noise"].is_null() {
        again.first(&["-n", "1"]);
    }
    again
}

#[cfg(test)]
mod tests {
    use undiffuse::condition::Conditioner;

    use super::*;
    use crate::commands::sample::Args;

    /// A new option of `sample` is in a picture's settings, or there is a reason why not.
    #[test]
    fn every_option_is_told_or_neutral() {
        let command = <Args as clap::Args>::augment_args(clap::Command::new("sample"));
        let mut options: Vec<&str> =
            command.get_arguments().map(|arg| arg.get_long().unwrap_or(arg.get_id().as_str())).collect();
        options.push("help");
        let own = SETTINGS.iter().filter(|setting| setting.kind != Kind::Ask).map(|setting| setting.option);
        let settings: Vec<&str> = own.chain(Conditioner::FIELDS.iter().map(|field| field.name)).collect();
        let told = |option: &str| settings.contains(&option);
        let neutral = |option: &str| NEUTRAL.iter().any(|(neutral, _)| *neutral == option);
        for option in &options {
            assert!(told(option) != neutral(option), "--{option} is in one of the two tables");
        }
        for option in settings.iter().copied().chain(NEUTRAL.iter().map(|(option, _)| *option)) {
            assert!(options.contains(&option), "there is no --{option}");
        }
    }

    #[test]
    fn the_command_of_a_sample() {
        let settings = json!({
            "model": "runs/my photos", "seed": 7, "class": "Ankle boot", "label": 9, "solver": "heun",
            "spacing": "karras:rho=5", "steps": 25, "guidance": 1.5, "size": null, "init_noise": null,
        });
        let command = "undiffuse sample 'runs/my photos' -n 1 --seed 7 --class 'Ankle boot' --solver heun \
                       --spacing karras:rho=5 --steps 25 --guidance 1.5";
        assert_eq!(again(&settings).command(), command);
        let noise = json!({ "model": ".", "seed": null, "init_noise": "Cargo.toml", "init_index": 3 });
        let made = again(&noise);
        assert_eq!(made.command(), "undiffuse sample . --init-noise Cargo.toml --init-index 3");
        assert_eq!(made.missing, [""; 0]);
    }
}
