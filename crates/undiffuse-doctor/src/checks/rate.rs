//! The learning rate.

use super::{Finding, Run, percent, problem, warning};
use crate::log::{median, spread};
use undiffuse::run::Step;

/// Rise of the loss above its lowest that noise does not make.
const RISE: f64 = 1.25;
/// The rise in standard errors.
const CERTAIN: f64 = 5.0;
/// How many times the loss before it a spike is, and the share of steps that may be one.
const SPIKE: (f64, f64) = (3.0, 0.005);
/// Growth of the gradient while the loss stands still.
const GROWTH: f64 = 5.0;
/// Learning rates above which no network here is known to train.
const ABSURD: f64 = 0.02;
/// Steps before which nothing can be said.
const LEAST: usize = 50;
/// Batches below which losses jump by themselves.
const STEADY: usize = 8;
/// Sum of the learning rates over the root mean square of the weights, below which the weights are still where they began.
const TRAVEL: f64 = 1.0;

pub fn high(run: &Run) -> Option<Finding> {
    let config = run.config.as_ref()?;
    let peak = run.log.peak_lr();
    let lower = if peak > ABSURD { 4e-4 } else { peak / 4.0 };
    let mut finding = problem(
        "The learning rate is too high: the loss does not settle.",
        format!(
            "begin again with --set train.lr={lower:.1e} (now {:.1e}), and a longer --set train.warmup_images=… if the trouble is at the start",
            config.train.lr
        ),
    );
    let steps = &run.log.steps;
    if steps.len() < LEAST {
        return None;
    }
    let blocks = run.log.blocks(10, LEAST / 4);
    let of = |of: fn(&Step) -> f64| -> Vec<f64> { blocks.iter().map(|b| median(b.iter().map(of))).collect() };
    let (losses, norms) = (of(|s| s.loss), of(|s| s.gradient_norm));
    let last = blocks.len() - 1;
    let late = losses[last];
    let lowest = (0..=last).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap_or(last);
    let best = losses[lowest];
    let all = |k: usize| spread(&blocks[k].iter().map(|s| s.loss).collect::<Vec<_>>());
    let ((end, end_error), (least, least_error)) = (all(last), all(lowest));
    if late > RISE * best && end - least > CERTAIN * end_error.hypot(least_error) {
        finding = finding.because(format!(
            "the loss was {best:.4} at its best and is {late:.4} at the end (medians of tenths of the run)"
        ));
    }
    let after: Vec<usize> = (20..steps.len()).filter(|&i| steps[i].nimg > config.train.warmup_images).collect();
    let jumps = |&&i: &&usize| steps[i].loss > SPIKE.0 * median(steps[i - 20..i].iter().map(|s| s.loss));
    let spikes = after.iter().filter(jumps).count();
    let steady = config.train.batch >= STEADY && config.noise.weighting.tag() != "likelihood";
    if steady && spikes >= 3 && spikes as f64 > SPIKE.1 * after.len() as f64 {
        finding = finding.because(format!(
            "{spikes} of {} steps after the warm-up have a loss of over three times the one before",
            after.len()
        ));
    }
    let (early, end, half) = (norms[norms.len() / 4], norms[last], losses[losses.len() / 2]);
    if norms.len() >= 4 && end > GROWTH * early && late > 0.95 * half {
        finding = finding.because(format!("the gradient grew from {early:.2} to {end:.2} while the loss stood still"));
    }
    if let Some(trivial) = run.trivial.filter(|t| peak > ABSURD && late > 0.9 * t.zero.min(t.pixelwise)) {
        finding = finding.because(format!(
            "a rate of {peak:.1e}, and a loss of {late:.4} where answering zero gives {:.4}",
            trivial.zero
        ));
    }
    if let [(_, first), .., (_, last)] = run.log.validations[..] {
        let trained = losses[losses.len() - 1] >= 0.99 * losses[losses.len() / run.log.validations.len().max(1)];
        if run.log.validations.len() >= 3 && last > 1.02 * first && trained {
            finding = finding
                .because(format!("the validation loss rose from {first:.4} to {last:.4}, and training's did not fall"));
        }
    }
    if finding.evidence.is_empty() {
        return None;
    }
    Some(finding.because(format!("learning rate {:.1e} at its highest; this program's presets use 4e-4 to 2e-3", peak)))
}

pub fn low(run: &Run) -> Option<Finding> {
    let config = run.config.as_ref()?;
    let steps = &run.log.steps;
    let rms = run.state.as_ref().map(|s| s.facts("raw.").rms).filter(|rms| *rms > 0.0)?;
    let travel = steps.iter().map(|s| s.lr).sum::<f64>() / rms;
    let losses: Vec<f64> = run.log.blocks(10, 10).iter().map(|b| median(b.iter().map(|s| s.loss))).collect();
    if steps.len() < 200 || losses.len() < 6 || travel > TRAVEL {
        return None;
    }
    let fall = 1.0 - losses[losses.len() - 1] / losses[losses.len() - 4];
    let untaught = run.trivial.zip(run.final_loss()).is_some_and(|(t, loss)| loss > 0.9 * t.zero.min(t.pixelwise));
    if fall < 0.03 && !untaught {
        return None;
    }
    let higher = (config.train.lr * (5.0 / travel.max(0.05))).min(1e-3);
    let what = "The learning rate is too low: the weights are hardly away from where they began.";
    let change = format!("--set train.lr={higher:.0e} (now {:.1e})", config.train.lr);
    let finding = if untaught { problem(what, change) } else { warning(what, change) };
    Some(
        finding
            .because(format!(
                "all steps together could move a weight by {} of the weights' size {rms:.3}",
                percent(travel)
            ))
            .because(format!("the loss fell by {} over the last third of the run", percent(fall))),
    )
}

pub fn warmup(run: &Run) -> Option<Finding> {
    let (config, until) = (run.config.as_ref()?, run.length.until()?);
    let warmup = config.train.warmup_images;
    let share = warmup as f64 / until as f64;
    if share < 0.7 {
        return None;
    }
    let shorter = (until / 20).max(1);
    let what = match share >= 1.0 {
        true => "The warm-up is longer than the run: the learning rate never reached its value.",
        false => "Most of the run is warm-up.",
    };
    Some(warning(what, format!("--set train.warmup_images={shorter}, or a longer run")).because(format!(
        "warm-up {warmup} images, run {until}; highest learning rate {:.1e} of {:.1e}",
        run.log.peak_lr(),
        config.train.lr
    )))
}
