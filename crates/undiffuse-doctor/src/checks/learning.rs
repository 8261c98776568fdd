//! Whether the network learns, and whether it learns by heart.

use super::{Finding, Run, note, percent, problem, process, rate, warning};
use crate::SIGMAS;
use crate::log::{mean, spread};

/// Steps before which nothing is said of a network that has learnt nothing.
const BEGUN: u64 = 100;
/// Rise of the validation loss above its lowest that counts.
const RISE: f64 = 0.03;
/// Gap between the losses on held-out and on training pictures that counts, and its size in standard errors.
const GAP: (f64, f64) = (0.15, 4.0);
/// Passes over the data after which a network with more weights than the data have numbers knows them.
const PASSES: f64 = 100.0;
/// Pictures below which a network of any size learns them by heart.
const FEW: usize = 500;
/// Error over that of a pixelwise guess at a level that was hardly trained, and at one that was. A young network that answers
/// noise is a little worse than the guess at high noise, where its errors are multiplied.
const UNTRAINED: f64 = 1.4;
const LEARNT: f64 = 0.8;
/// Fall of the loss over the last fifth of a run that is worth more training.
const FALLING: f64 = 0.05;

pub fn trivial_loss(run: &Run) -> Option<Finding> {
    let (trivial, loss) = (run.trivial?, run.final_loss()?);
    let config = run.config.as_ref()?;
    let steps = run.log.steps.last()?.step;
    let numbers = |finding: Finding| {
        finding
            .because(format!("loss at the end {loss:.4}, at the first step {:.4}", run.log.steps[0].loss))
            .because(format!("a network that always answers zero has {:.4}", trivial.zero))
            .because(format!("the best guess of each pixel from itself alone has {:.4}", trivial.pixelwise))
    };
    if loss < trivial.zero.min(trivial.pixelwise) * 0.97 {
        return None;
    }
    if steps < BEGUN {
        let change = "give it more time: --budget 10m, or train --resume with a longer --budget";
        return Some(numbers(note(format!("After {steps} steps the network has hardly begun to learn."), change)));
    }
    let rate = rate::high(run).or_else(|| rate::low(run)).map(|_| "the learning rate is the likely cause: see there");
    if loss >= trivial.zero * 0.97 {
        let lr = config.train.lr;
        let change = rate.map(str::to_owned).unwrap_or(format!(
            "if the loss never fell, the learning rate ({lr:.1e}) is far too high or far too low: try --set train.lr=4e-4; if the data are noise or their range is off, `undiffuse data` shows it"
        ));
        let what = "The network has learnt nothing: its loss is what answering zero gives.";
        return Some(numbers(problem(what, change)));
    }
    let change = rate.unwrap_or(
        "train longer (--budget), with a wider network (--set network.width=64) or another learning rate (--set train.lr=4e-4)",
    );
    let what = match loss > 1.05 * trivial.pixelwise {
        true => "The network has learnt next to nothing: guessing each pixel from itself alone would do better.",
        false => {
            "The network has learnt brightness but no shapes: guessing each pixel from itself alone would do as well."
        }
    };
    Some(numbers(if run.finished() { problem(what, change) } else { warning(what, change) }))
}

pub fn levels(run: &Run) -> Option<Finding> {
    let (pictures, own) = (run.pictures.as_ref()?, run.readings.first()?);
    // What is wrong with the model as a whole is told elsewhere.
    if process::parameterization(run).is_some() || process::pixel_range(run).is_some() {
        return None;
    }
    let shares: Vec<f64> = SIGMAS.iter().zip(&own.errors).map(|(s, error)| error / pictures.wiener(*s)).collect();
    let somewhere = shares.iter().any(|share| *share < LEARNT);
    let bad: Vec<usize> = (0..shares.len()).filter(|&k| shares[k].is_nan() || shares[k] > UNTRAINED).collect();
    if !somewhere || bad.is_empty() {
        return None;
    }
    let what = "At some noise levels the network denoises worse than guessing each pixel from itself alone, at others it is good: those levels were hardly trained, and every sample passes through them.";
    let change = "widen the distribution of training times (--set noise.timing=uniform, or a larger std), or give those levels more weight (noise.weighting)";
    let finding = problem(what, change);
    let finding = bad.into_iter().fold(finding, |finding, k| {
        let wiener = pictures.wiener(SIGMAS[k]);
        finding.because(format!(
            "at noise {} the RMSE is {:.3}, each pixel by itself has {wiener:.3}",
            SIGMAS[k], own.errors[k]
        ))
    });
    Some(match &run.config {
        Some(config) => finding.because(format!("times are drawn by {}", config.noise.timing)),
        None => finding,
    })
}

pub fn memorising(run: &Run) -> Option<Finding> {
    let pictures = run.pictures.as_ref()?;
    let images = pictures.split.train.len();
    let change = format!(
        "more pictures are the cure ({images} now); else stop earlier, mirror them (--flip) where that is sensible, use a narrower network (--set network.width=…) or dropout (--set network.dropout=0.1)"
    );
    let size = format!(
        "{} weights for {images} pictures of {} numbers, seen {:.0} times each",
        run.parameters,
        pictures.dims(),
        run.passes().unwrap_or(0.0)
    );
    if let Some((at, best, last)) = validation_rise(run) {
        let what = format!(
            "Too few pictures for this network and length: since about {at} images it learns them by heart. The loss on held-out pictures rises while that of training falls."
        );
        let finding = problem(what, change).because(format!(
            "validation loss {best:.4} at {at} images, {last:.4} at the end ({})",
            percent(last / best - 1.0)
        ));
        return Some(finding.because(size));
    }
    let probe = run.probe.as_ref().filter(|p| !p.train.is_empty())?;
    let (_, held_out) = probe.averages.first()?;
    // The noise is the same and the pictures are not, so the errors add.
    let ((a, ea), (b, eb)) = (spread(held_out), spread(&probe.train));
    if a - b < GAP.0 * b || a - b < GAP.1 * ea.hypot(eb) {
        return None;
    }
    let what =
        "The network knows its training pictures: it denoises them much better than pictures that it has not seen.";
    let finding = warning(what, change);
    Some(
        finding
            .because(format!("loss {a:.4} on held-out pictures, {b:.4} on training ones ({})", percent(a / b - 1.0)))
            .because(size),
    )
}

/// Where the validation loss was lowest, its value there, and at the end, when it rose while the training loss fell.
fn validation_rise(run: &Run) -> Option<(u64, f64, f64)> {
    let validations = &run.log.validations;
    let &(end, last) = validations.last()?;
    let &(at, best) = validations.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let near = |nimg: u64| {
        let steps = &run.log.steps;
        let place = steps.partition_point(|s| s.nimg < nimg);
        let window = (steps.len() / 20).max(5);
        let part = &steps[place.saturating_sub(window).min(steps.len())..place.min(steps.len())];
        mean(&part.iter().map(|s| s.loss).collect::<Vec<_>>())
    };
    let rose = last > best * (1.0 + RISE) && at < end;
    (rose && near(end) < near(at) * 0.99).then_some((at, best, last))
}

pub fn few_images(run: &Run) -> Option<Finding> {
    let pictures = run.pictures.as_ref()?;
    run.config.as_ref()?;
    let images = pictures.split.train.len();
    let (passes, numbers) = (run.passes()?, images * pictures.dims());
    let outnumbered = run.parameters > numbers;
    if images >= FEW && !(outnumbered && passes > PASSES) {
        return None;
    }
    let what =
        format!("{images} pictures are too few for this network: it will give them back instead of making new ones.");
    let change = "collect more pictures (thousands are usual), mirror them (--flip) where that is sensible, and train a smaller network for fewer passes; `undiffuse eval` shows the copies";
    let finding = if images < FEW && passes > PASSES { problem(what, change) } else { warning(what, change) };
    Some(
        finding
            .because(format!("{} weights, {numbers} numbers in the data", run.parameters))
            .because(format!("each picture was seen {passes:.0} times")),
    )
}

pub fn still_improving(run: &Run) -> Option<Finding> {
    run.config.as_ref()?;
    if run.running || !run.finished() {
        return None;
    }
    let path = run.folder.path().display();
    let change = format!(
        "give it more: undiffuse train --resume {path} --budget 10m, or a longer --budget from the start (better, for the learning rate falls only once)"
    );
    let blocks = run.log.blocks(10, 10);
    let median = |steps: &[undiffuse::run::Step]| crate::log::median(steps.iter().map(|s| s.loss));
    let fall = match blocks[..] {
        [.., before, _, last] if blocks.len() >= 6 => 1.0 - median(last) / median(before),
        _ => 0.0,
    };
    let unseen = run.passes().filter(|p| *p < 1.0);
    if fall < FALLING && unseen.is_none() {
        return None;
    }
    let what = match unseen {
        Some(_) => "The run ended before every picture was seen once.",
        None => "The loss was still falling when the run ended.",
    };
    let steps = run.log.steps.last().map_or(0, |s| s.step);
    let passes = run.passes().map(|p| format!(", {p:.1} passes over the data")).unwrap_or_default();
    let mut finding = note(what, change).because(format!("{steps} steps{passes}"));
    if fall >= FALLING {
        finding = finding.because(format!("the loss fell by {} over the last fifth", percent(fall)));
    }
    Some(finding)
}
