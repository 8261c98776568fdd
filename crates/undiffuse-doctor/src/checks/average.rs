//! The average of the weights.

use undiffuse::train::average;

use super::{Finding, Run, percent, warning};
use crate::log::{mean, paired};

/// Difference of losses that counts, and its size in standard errors of the paired differences.
const BETTER: (f64, f64) = (0.03, 3.0);
/// Steps that an average should take in.
const SPAN: f64 = 10.0;

/// Whether the losses `a` are lower than `b` on the same pictures with the same noise.
fn beats(a: &[f64], b: &[f64]) -> bool {
    let (gap, error) = paired(b, a);
    a.len() >= 8 && gap > BETTER.0 * mean(b) && gap > BETTER.1 * error
}

pub fn long(run: &Run) -> Option<Finding> {
    // On pictures that the network knows by heart the noisiest weights look best.
    let probe = run.probe.as_ref().filter(|p| p.held_out)?;
    let (width, model) = probe.averages.first()?;
    let best = probe.averages.iter().filter(|(w, losses)| w < width && beats(losses, model));
    let best = best.min_by(|a, b| mean(&a.1).total_cmp(&mean(&b.1)));
    if best.is_none() && !beats(&probe.raw, model) {
        return None;
    }
    let (shorter, losses, name) = match best {
        Some((w, losses)) if !beats(&probe.raw, losses) => (*w, losses, format!("the average of width {w}")),
        _ => (width / 3.0, &probe.raw, "the raw weights".to_owned()),
    };
    let lag = average::lag(*width);
    let images = run.nimg() as f64;
    Some(
        warning(
            "The average of the weights is too long for this many images: it lags behind weights that are better.",
            format!(
                "--set train.ema=[{shorter:.2}], or train longer so that the same share of the run is near its end"
            ),
        )
        .because(format!(
            "loss of the model (average of width {width}) {:.4}, of {name} {:.4}, on the same {} pictures ({})",
            mean(model),
            mean(losses),
            model.len(),
            percent(mean(model) / mean(losses) - 1.0)
        ))
        .because(format!("that average stands {} of the run behind, {:.0} images", percent(lag), lag * images)),
    )
}

pub fn short(run: &Run) -> Option<Finding> {
    let (probe, config) = (run.probe.as_ref().filter(|p| p.held_out)?, run.config.as_ref()?);
    let (width, model) = probe.averages.first()?;
    let steps = run.log.steps.last()?.step as f64;
    let change = "--set train.ema=[0.1,0.05], or a learning rate that ends at zero (--set train.lr_schedule=cosine)";
    let what = "The average of the weights is too short: the model is noisier than it needs to be.";
    if let Some((wider, losses)) = probe.averages.iter().find(|(w, losses)| w > width && beats(losses, model)) {
        return Some(
            warning(what, format!("put the wider average first: --set train.ema=[{wider},{width}]")).because(format!(
                "loss with width {width} {:.4}, with {wider} {:.4}",
                mean(model),
                mean(losses)
            )),
        );
    }
    let late = run.log.steps.last()?.lr / run.log.peak_lr();
    let narrow = *width < 0.02 || width * steps < SPAN;
    let noisy = beats(model, &probe.raw);
    if !(narrow && late > 0.3 && noisy) {
        return None;
    }
    Some(
        warning(what, change)
            .because(format!("width {width}: about {:.0} of {steps} steps count", (width * steps).max(1.0)))
            .because(format!(
                "the learning rate ended at {} of its peak ({:?} schedule)",
                percent(late),
                config.train.lr_schedule
            ))
            .because(format!(
                "even so short an average helps: loss {:.4}, raw weights {:.4}",
                mean(model),
                mean(&probe.raw)
            )),
    )
}
