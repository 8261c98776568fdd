//! What happened.

use super::{Finding, Run, note, problem, warning};
use crate::Checkpoint;

/// A rate to try after a divergence, as a share of the one that diverged.
const LOWER: f64 = 1.0 / 3.0;

pub fn damaged(run: &Run) -> Option<Finding> {
    let logged = run.log.steps.last().map(|step| step.nimg);
    let reached = run.state.as_ref().map(|state| state.counters.nimg);
    let short = logged.zip(reached).filter(|(logged, reached)| logged < reached).map(|(logged, reached)| {
        format!("the log ends at {logged} images, the newest checkpoint is of {reached}: its losses are not those of the end")
    });
    let mut why = run.damaged.iter().cloned().chain(short);
    let finding = problem(
        "Files of this run are damaged or missing.",
        "put them back from a copy; without one, resume from an older checkpoint with undiffuse train --resume, or train again",
    )
    .because(why.next()?);
    Some(why.fold(finding, Finding::because))
}

pub fn diverged(run: &Run) -> Option<Finding> {
    let failure = run.log.failures.last()?;
    let config = run.config.as_ref()?;
    let (lr, again) = (config.train.lr, config.train.lr * LOWER);
    let path = run.folder.path().display();
    let change = format!(
        "lower the learning rate, from {lr:.1e} to {again:.1e}: begin again with --set train.lr={again:.1e}, or set train.lr in {path}/{} and resume from the last good checkpoint with undiffuse train --resume {path}",
        undiffuse::run::CONFIG_FILE
    );
    let over = run.nimg() > failure.nimg + config.train.batch as u64;
    let what = format!("Training blew up at step {} ({} images): {}.", failure.step, failure.nimg, failure.what);
    let finding = if over {
        warning(format!("{what} It went on since, from an earlier checkpoint."), change)
    } else {
        problem(what, change)
    };
    let before = run.log.steps.iter().filter(|s| s.step < failure.step).collect::<Vec<_>>();
    let last: Vec<String> = before.iter().rev().take(5).rev().map(|s| format!("{:.3}", s.loss)).collect();
    let norms: Vec<String> = before.iter().rev().take(5).rev().map(|s| format!("{:.1}", s.gradient_norm)).collect();
    let finding = match last.is_empty() {
        true => finding.because("it was the very first step"),
        false => finding
            .because(format!("the last losses before: {}", last.join(", ")))
            .because(format!("their gradient norms: {}", norms.join(", "))),
    };
    let times = run.log.failures.len();
    let finding = if times > 1 { finding.because(format!("it happened {times} times")) } else { finding };
    Some(match before.last() {
        Some(step) => finding.because(format!("learning rate then {:.2e}", step.lr)),
        None => finding,
    })
}

pub fn not_a_number(run: &Run) -> Option<Finding> {
    let bad = |s: &&undiffuse::run::Step| !(s.loss.is_finite() && s.gradient_norm.is_finite());
    let first = run.log.steps.iter().find(bad)?;
    let count = run.log.steps.iter().filter(bad).count();
    let change = "the data or the network give no numbers: look at the pictures with `undiffuse data`, and begin again with a lower train.lr";
    let what = format!("The log has {count} steps whose loss or gradient is no number.");
    Some(problem(what, change).because(format!("the first is step {} at {} images", first.step, first.nimg)))
}

pub fn weights(run: &Run) -> Option<Finding> {
    if let Some(first) = run.lost.first() {
        let change = "these weights are lost: resume from an earlier checkpoint or train again with a lower train.lr";
        return Some(problem("Weights are not numbers, and no picture can be made of them.", change).because(first));
    }
    let named = |names: &[String]| {
        let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        if names.len() > 3 { format!("{shown} and {} more", names.len() - 3) } else { shown }
    };
    let checkpoint = |state: &Checkpoint, prefix: &str| state.facts(prefix);
    let own = (run.model.is_some()).then(|| ("the model", run.weights.clone()));
    let raw = run.state.as_ref().map(|s| ("the checkpoint's raw weights", checkpoint(s, "raw.")));
    let average = run.state.as_ref().map(|s| ("the checkpoint's average", checkpoint(s, "average.0.")));
    let all = [own, raw, average];
    // New networks begin with zeros at their end; a few steps fill them.
    let begun = run.config.is_none() || run.state.as_ref().is_some_and(|s| s.counters.step >= 10);
    let (place, facts) = all.iter().flatten().find(|(_, f)| begun && !f.zero.is_empty())?;
    let change = "the network has parts that learn nothing: train it, or get the weights file again";
    let what = format!("Whole tensors of {place} are zero, as in a network that was never trained.");
    Some(problem(what, change).because(format!("{} tensors: {}", facts.zero.len(), named(&facts.zero))))
}

pub fn unfinished(run: &Run) -> Option<Finding> {
    let config = run.config.as_ref()?;
    if run.running || run.finished() || !run.log.failures.is_empty() {
        return None;
    }
    let (nimg, path) = (run.nimg(), run.folder.path().display());
    let change = format!("undiffuse train --resume {path}");
    let (what, share) = match run.length.until() {
        None if nimg == 0 => ("The run has not begun.".to_owned(), 0.0),
        None => ("The run stopped before its length was planned.".to_owned(), 0.0),
        Some(until) => {
            let share = nimg as f64 / until as f64;
            (format!("The run stopped at {} of its length.", super::percent(share)), share)
        }
    };
    let finding = if share < 0.5 { warning(what, change) } else { note(what, change) };
    let until = run.length.until().map_or_else(|| "unknown".into(), |u| u.to_string());
    Some(finding.because(format!(
        "{nimg} of {until} images seen; the learning rate was to end {}",
        match config.train.lr_schedule {
            undiffuse::train::LrSchedule::Constant => "as it is",
            _ => "at zero, which is where most of the quality comes from",
        }
    )))
}
