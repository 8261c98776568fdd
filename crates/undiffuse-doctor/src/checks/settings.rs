//! Settings that do not go together.

use super::{Finding, Run, note, percent, warning};
use crate::log::{mean, paired};

/// Guidance above which pictures without a text encoder burn out.
const STRONG: f64 = 4.0;
/// Gain of the loss by knowing the condition, below which it is unused.
const GAIN: f64 = 0.002;
/// Losses that tell a small gain from none.
const LOSSES: usize = 32;

pub fn batch(run: &Run) -> Option<Finding> {
    let batch = run.config.as_ref()?.train.batch;
    let change = "--set train.batch=32; where memory is short, --set train.accumulate=4 computes it in four parts";
    let evidence = format!("train.batch = {batch}: that many noise levels and pictures make one gradient");
    match batch {
        1 => Some(
            warning(
                "A batch of one picture: every gradient is of a single noise level, and training is mostly noise.",
                change,
            )
            .because(evidence),
        ),
        2..=3 => Some(note("The batches are very small: gradients are noisy.", change).because(evidence)),
        _ => None,
    }
}

pub fn guidance(run: &Run) -> Option<Finding> {
    let config = run.config.as_ref().filter(|c| c.condition.kind != "none")?;
    let (scale, dropout) = (config.sample.guidance, config.train.label_dropout);
    if scale != 1.0 && dropout == 0.0 {
        let what = "Sampling uses guidance, but the network was never trained without its condition: the guided direction means nothing.";
        let change = "--set train.label_dropout=0.1 and train again, or sample with --guidance 1";
        return Some(
            super::problem(what, change).because(format!("sample.guidance = {scale}, train.label_dropout = 0")),
        );
    }
    if scale != 1.0 && dropout > 0.5 {
        let what = "The condition is dropped for most pictures: the network rarely sees it in training.";
        return Some(
            warning(what, "--set train.label_dropout=0.1").because(format!("train.label_dropout = {dropout}")),
        );
    }
    (scale > STRONG).then(|| {
        note(
            "The guidance is strong: pictures get more typical, more contrasted and more alike.",
            "sample with --guidance 1.5 and compare",
        )
        .because(format!("sample.guidance = {scale}"))
    })
}

pub fn labels_unused(run: &Run) -> Option<Finding> {
    let probe = run.probe.as_ref()?;
    let (_, told) = probe.averages.first()?;
    let steps = run.log.steps.last()?.step;
    // A condition that is worth something shows within a few hundred steps.
    if steps < 500 {
        return None;
    }
    let (what, instead, losses) = [
        ("The network pays no heed to its condition: knowing it does not lower its loss.", "not", &probe.unlabelled),
        (
            "The network does not hear what it is told: of another picture, it is as good as of its own.",
            "told of another picture",
            &probe.swapped,
        ),
    ]
    .into_iter()
    .find(|(_, _, losses)| {
        let (gap, error) = paired(losses, told);
        losses.len() >= LOSSES && gap <= GAIN * mean(told) && gap <= 2.0 * error
    })?;
    let (gap, error) = paired(losses, told);
    let change = "see that the condition means something visible, lower train.label_dropout, or train longer";
    Some(note(what, change).because(format!(
        "loss {:.4} when told it, {:.4} when {instead} ({} ± {})",
        mean(told),
        mean(losses),
        percent(gap / mean(told)),
        percent(error / mean(told))
    )))
}

/// Solvers that add noise at every step and need many of them.
const STOCHASTIC: [&str; 4] = ["ddpm", "euler-ancestral", "reverse-diffusion", "euler-maruyama"];

pub fn steps(run: &Run) -> Option<Finding> {
    let model = run.model.as_ref()?;
    let sample = model.card.sample.as_ref()?;
    let (solver, steps) = (sample.solver.tag(), sample.steps);
    let needed = if STOCHASTIC.contains(&solver) { 50 } else { 8 };
    (steps < needed).then(|| {
        note(
            "The model is sampled in few steps for its solver: pictures will be blurred or grainy.",
            format!("sample with --steps {}, or --solver dpmpp-2m --steps 25", 2 * needed),
        )
        .because(format!("{solver} in {steps} steps"))
    })
}

pub fn held_out(run: &Run) -> Option<Finding> {
    let (pictures, config) = (run.pictures.as_ref()?, run.config.as_ref()?);
    let held_out = pictures.split.held_out.len();
    (held_out < 2).then(|| {
        note(
            "No pictures are held out: whether the network learns by heart cannot be seen from its loss.",
            "--set data.held_out=0.1 for few pictures, 0.02 for many",
        )
        .because(format!(
            "data.held_out = {} of {} pictures is {held_out}",
            config.data.held_out,
            pictures.dataset.len()
        ))
    })
}
