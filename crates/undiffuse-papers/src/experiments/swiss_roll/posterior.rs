//! Multiplying the model with a second distribution [Sohl15, section 2.5]: denoising and inpainting on the swiss roll,
//! beside the exact posterior.
//!
//! With a second distribution `r(x^t)` at every step, the kernel `p(x^(t-1) | x^t) r(x^(t-1))` is, for Gaussians, a
//! Gaussian again. What `r` should be for `t > 0` is a choice; the paper takes it constant and names two.

use super::model::{Kernel, Model};
use super::roll::{NOISE, Point, Roll};
use super::{stream, train, walk};
use crate::learn::normals;
use crate::{Error, ExperimentEvent, ExperimentOptions, ExperimentReport, Listener, Row};
use undiffuse_data::figure::{COLORS, Layer, Panel, figure};
use undiffuse_math::noise;

/// What was seen of a point: one value for each axis, with its standard deviation; infinite for an axis not seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Where.
    pub at: Point,
    /// How exactly.
    pub std: Point,
}

/// `r(x^t)`, the second distribution at later steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Second {
    /// `r(x^t) = r(x^0)`: the paper's experiments.
    Constant,
    /// `r(x^t) = r(x^0)^((T - t) / T)`: the paper's other choice.
    Annealed,
    /// `r(x^t) = ∫ r(x^0) N(x^t; alpha x^0, sigma²) dx^0`: dissolved like the data, what is known about `x^t`.
    Dissolved,
}

impl Second {
    /// The centre and the precision of `r(x^t)` along an axis.
    fn at(self, seen: Seen, axis: usize, model: &Model, t: usize) -> (f64, f64) {
        let (at, variance) = (seen.at[axis], seen.std[axis].powi(2));
        match self {
            Second::Constant => (at, 1.0 / variance),
            Second::Annealed => (at, (model.steps() - t) as f64 / model.steps() as f64 / variance),
            Second::Dissolved => {
                let level = model.level(t);
                (level.alpha * at, 1.0 / (level.alpha.powi(2) * variance + level.sigma.powi(2)))
            }
        }
    }

    /// The product of the kernel for `x^t` with `r(x^t)`, normalised.
    fn multiply(self, kernel: Kernel, seen: Seen, model: &Model, t: usize) -> Kernel {
        let [(a, p), (b, q)] = [0, 1].map(|axis| self.at(seen, axis, model, t));
        kernel.times([a, b], [p, q])
    }
}

/// Trains, measures and draws.
///
/// # Errors
/// A figure that cannot be written, and training that diverges.
pub fn run(options: &ExperimentOptions, hear: Listener) -> Result<ExperimentReport, Error> {
    let roll = Roll::new();
    let model = train(options, &roll, &mut |event| hear(ExperimentEvent { progress: 0.9 * event.progress, ..event }))?;
    hear(ExperimentEvent { progress: 0.92, text: "sampling posteriors".into() });
    let tasks = [
        ("denoise", Seen { at: [0.3, 0.9], std: [0.4, 0.4] }),
        ("inpaint", Seen { at: [0.2, 0.0], std: [NOISE, f64::INFINITY] }),
    ];
    let choices = [("constant", Second::Constant), ("annealed", Second::Annealed), ("dissolved", Second::Dissolved)];
    let n = options.choose(1000, 20);
    let mut report = ExperimentReport::default();
    let mut panels = Vec::new();
    for (task, seen) in tasks {
        let weights = weights(&roll, seen);
        let exact: Vec<f64> = weights.chunks(FINE).map(|bin| bin.iter().sum()).collect();
        panels.push(panel(&roll, &format!("{task}: exact"), seen, draws(&roll, &weights, options.seed, n)));
        for (word, second) in choices {
            let points: Vec<Point> = (0..n)
                .map(|k| {
                    let eps = normals(options.seed, (stream::POSTERIOR << 32) + k as u64, 2 * (model.steps() + 1), 1.0);
                    let steer = |kernel, t: usize| second.multiply(kernel, seen, &model, t);
                    walk(&model, &eps, steer, |_, _| ())
                })
                .collect();
            let mut shares = vec![0.0; exact.len()];
            let mut near = 0.0;
            for &x in &points {
                let (u, distance) = roll.nearest(x);
                shares[(u * BINS as f64) as usize] += 1.0 / n as f64;
                near += f64::from(distance < 0.02) / n as f64;
            }
            let apart = exact.iter().zip(&shares).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0;
            report.rows.push(Row::new(
                format!("{task}, r {word}: total variation from the exact posterior"),
                apart,
                "",
            ));
            report.rows.push(Row::new(format!("{task}, r {word}: samples on the roll"), 100.0 * near, "%"));
            panels.push(panel(&roll, &format!("{task}: {word}"), seen, points));
        }
    }
    report.note(format!(
        "Exact: the generator's density times r, integrated along the roll. Total variation is over {BINS} stretches of \
         the roll, {n} samples each.",
    ));
    report.note(
        "Every reverse kernel is multiplied with r(x^t), a Gaussian, in closed form. The constant and the \
                 annealed r are the paper's; the dissolved one is N(x^t; alpha y, alpha² s² + sigma²).",
    );
    let title = "Posterior sampling: the model times a second distribution r";
    report.figure(options, "swiss-roll-posterior.png", &figure(title, 1 + choices.len(), (340, 340), &panels))?;
    Ok(report)
}

/// Stretches of the roll, equal in `u`.
const BINS: usize = 40;
/// Cells of a stretch.
const FINE: usize = 2000;

/// `p(u in cell | seen)`: `u` is uniform before, and what is seen has the noise of the roll and its own.
fn weights(roll: &Roll, seen: Seen) -> Vec<f64> {
    let cells = BINS * FINE;
    let weight = |k: usize| {
        let c = roll.curve((k as f64 + 0.5) / cells as f64);
        let square = |i: usize| (c[i] - seen.at[i]).powi(2) / (seen.std[i].powi(2) + NOISE * NOISE);
        (-0.5 * (square(0) + square(1))).exp()
    };
    let weights: Vec<f64> = (0..cells).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// Points of the curve, drawn with these weights.
fn draws(roll: &Roll, weights: &[f64], seed: u64, n: usize) -> Vec<Point> {
    let sums: Vec<f64> = weights
        .iter()
        .scan(0.0, |sum, w| {
            *sum += w;
            Some(*sum)
        })
        .collect();
    let draw = |k: usize| {
        let cell = sums.partition_point(|&s| s < noise::uniform(seed, stream::EXACT, k as u64)).min(sums.len() - 1);
        roll.curve((cell as f64 + 0.5) / sums.len() as f64)
    };
    (0..n).map(draw).collect()
}

fn panel(roll: &Roll, title: &str, seen: Seen, points: Vec<Point>) -> Panel {
    let pair = |p: Point| (p[0], p[1]);
    let line = |points, color| Layer::Line { name: String::new(), points, color: Some(color) };
    // A cross, or a line where one axis was seen alone.
    let bar = |axis: usize| {
        let half = if seen.std[1 - axis].is_finite() { seen.std[axis].min(10.0) } else { 10.0 };
        let mut ends = [seen.at; 2];
        (ends[0][axis], ends[1][axis]) = (seen.at[axis] - half, seen.at[axis] + half);
        line(ends.map(pair).to_vec(), COLORS[1])
    };
    let bars = (0..2).filter(|&axis| seen.std.iter().all(|s| s.is_finite()) || !seen.std[axis].is_finite()).map(bar);
    let points = points.into_iter().map(pair).collect();
    let dots = Layer::Points { name: String::new(), points, color: Some(COLORS[0]), radius: 2 };
    let layers = std::iter::once(roll.layer()).chain(bars).chain([dots]).collect();
    Panel::new(title, layers).square(-2.6, 2.6)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the model is a plain Gaussian, the product is Bayes' rule in closed form.
    #[test]
    fn product_of_gaussians() {
        let kernel = Kernel { mean: [1.0, -2.0], factor: [2.0, 0.5, 4.0] };
        // P = U^T U = [[4.25, 2], [2, 16]]; with the precisions added: [[7.25, 2], [2, 21]].
        let product = kernel.times([0.5, 1.0], [3.0, 5.0]);
        let det = 7.25 * 21.0 - 4.0;
        let covariance = [21.0 / det, -2.0 / det, 7.25 / det];
        let force = [4.25 - 4.0 + 1.5, 2.0 - 32.0 + 5.0];
        let mean =
            [covariance[0] * force[0] + covariance[1] * force[1], covariance[1] * force[0] + covariance[2] * force[1]];
        assert!(product.covariance().iter().zip(covariance).all(|(a, b)| (a - b).abs() < 1e-14));
        assert!((product.mean[0] - mean[0]).abs() < 1e-12 && (product.mean[1] - mean[1]).abs() < 1e-12);
    }

    #[test]
    fn nothing_seen_changes_nothing() {
        let roll = Roll::new();
        let seen = Seen { at: [0.0; 2], std: [f64::INFINITY; 2] };
        assert!(weights(&roll, seen).iter().all(|w| (w * (BINS * FINE) as f64 - 1.0).abs() < 1e-9));
        let kernel = Kernel { mean: [0.3, 0.7], factor: [2.0, 0.5, 4.0] };
        let product = kernel.times([9.0, 9.0], [0.0, 0.0]);
        assert!((product.mean[0] - 0.3).abs() < 1e-14 && (product.factor[1] - 0.5).abs() < 1e-14);
    }
}
