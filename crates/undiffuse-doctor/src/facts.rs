//! What was looked at, for a person.

use undiffuse::train::noise::NoiseConfig;

use super::log::{mean, spread};
use super::{DataStatistics, Probe, Reading, Run, Samples};

impl Run {
    /// What was looked at, for a person: names and values.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let facts = [
            Some(("looked at", self.folder.path().display().to_string())),
            self.config.as_ref().map(|_| ("training", self.progress())),
            self.config.as_ref().map(|config| ("process", process(&config.noise))),
            self.log.late_loss().map(|loss| ("loss", self.loss(loss))),
            self.probe.as_ref().map(|probe| ("weights", weights(probe))),
            self.pictures.as_ref().map(|pictures| ("data", data(pictures))),
            self.readings.first().map(|own| ("denoising", denoising(own))),
            self.samples.as_ref().map(|newest| ("samples", samples(newest))),
        ];
        facts.into_iter().flatten().collect()
    }

    fn progress(&self) -> String {
        let until = self.length.until().map(|until| format!(" of {until}")).unwrap_or_default();
        let passes = self.passes().map(|p| format!(", {p:.1} passes over the data")).unwrap_or_default();
        let steps = self.log.steps.last().map_or(0, |s| s.step);
        let again = match self.log.restarts {
            0 => String::new(),
            1 => "; restarted once".into(),
            n => format!("; restarted {n} times"),
        };
        let now = if self.running { "; a program is training in it now" } else { "" };
        format!("{}{until} images in {steps} steps{passes}{again}{now}", self.nimg())
    }

    fn loss(&self, late: f64) -> String {
        let trivial = self
            .trivial
            .map(|t| format!("; answering zero gives {:.4}, each pixel by itself {:.4}", t.zero, t.pixelwise));
        format!("{late:.4} at the end{}", trivial.unwrap_or_default())
    }
}

fn process(NoiseConfig { schedule, parameterization, weighting, timing, .. }: &NoiseConfig) -> String {
    format!(
        "{} schedule, {} parameterisation, {} weighting, times drawn by {}",
        schedule.tag(),
        parameterization.tag(),
        weighting.tag(),
        timing.tag()
    )
}

fn weights(probe: &Probe) -> String {
    let show = |name: &str, losses: &[f64]| (!losses.is_empty()).then(|| format!("{name} {:.4}", mean(losses)));
    let averages = probe.averages.iter().map(|(width, losses)| show(&format!("average {width}"), losses));
    let own = [show("raw", &probe.raw)].into_iter().chain(averages);
    let more = [
        show("on training pictures", &probe.train),
        show("told nothing", &probe.unlabelled),
        show("told of another picture", &probe.swapped),
    ];
    let all: Vec<String> = own.chain(more).flatten().collect();
    let on = if probe.held_out { "held-out" } else { "training" };
    let (_, error) = spread(&probe.raw);
    format!("loss on {} {on} pictures (± {error:.4}): {}", probe.raw.len(), all.join(", "))
}

fn data(pictures: &DataStatistics) -> String {
    let (mean, std) = pictures.overall();
    let data = &pictures.dataset;
    format!(
        "{} pictures for training, {} held out, {}×{}×{}, {} classes, mean {mean:.3}, std {std:.3} in [-1, 1]",
        pictures.split.train.len(),
        pictures.split.held_out.len(),
        data.width(),
        data.height(),
        data.channels(),
        data.classes().len()
    )
}

fn denoising(own: &Reading) -> String {
    let errors: Vec<String> = own.errors.iter().map(|e| format!("{e:.3}")).collect();
    format!("model read as {}: RMSE {} at noise 0.2, 0.5, 1, 2", own.parameterization, errors.join(", "))
}

fn samples(Samples { path, count, mean, std, nearest, .. }: &Samples) -> String {
    let near = nearest.map(|(a, b)| format!(", nearest training picture at {a:.1} (other real ones {b:.1}) of 255"));
    format!("{count} in {}: mean {mean:.3}, std {std:.3}{}", path.display(), near.unwrap_or_default())
}
