//! A linear probe: which class an image belongs to, told by its features.
//!
//! Multinomial logistic regression on standardised features \[Alain16\]: the minimum of
//! `mean(−ln p_label) + ‖W‖² / 2n` with `p = softmax(W z + b)`, the objective of scikit-learn's `LogisticRegression(C=1)`
//! over `n`. It is convex, so any good minimiser finds it; here L-BFGS [Nocedal06, Algorithm 7.4].

use std::collections::VecDeque;

use rayon::prelude::*;
use undiffuse_kernels::linear::{self, Linear};
use undiffuse_math::noise;

use crate::distances::tiles;
use crate::{MetricError, Rows};

/// Keeps the choice of held-out images apart from the other uses of a seed.
const STREAM: u64 = 0x9806 << 32;
/// Every how-many-th image is held out.
const HELD_OUT: usize = 5;
/// Rows that a gradient takes as one picture: eight such are summed in one chain.
const ROWS: usize = 120;
/// Steps that L-BFGS remembers.
const MEMORY: usize = 10;
/// Steps after which it stops in any case.
const STEPS: usize = 500;

/// A classifier of feature vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    classes: usize,
    /// Mean and reciprocal deviation of each feature.
    standard: Vec<[f32; 2]>,
    weights: Weights,
    /// How many of the images that it did not learn from it names rightly, and how many there were: what its word is worth.
    pub held_out: [usize; 2],
}

/// `W [classes, dims]` and `b [classes]`.
#[derive(Clone, Debug, PartialEq)]
struct Weights {
    w: Vec<f32>,
    b: Vec<f32>,
}

impl Probe {
    /// Learns from four fifths of labelled images and is tried on the others, which `seed` picks.
    ///
    /// # Errors
    /// Fewer than two classes, too few rows, another number of labels than of rows, labels beyond the classes, numbers
    /// that are not finite.
    pub fn fit(rows: Rows, labels: &[u32], classes: usize, seed: u64) -> Result<Self, MetricError> {
        check(rows, labels, classes)?;
        let order = noise::shuffled(seed, STREAM, rows.len() as u32);
        let (held_out, learnt) = order.split_at(rows.len() / HELD_OUT);
        let gather = |indices: &[u32]| {
            let values: Vec<f32> = indices.iter().flat_map(|i| rows.row(*i as usize)).copied().collect();
            (values, indices.iter().map(|i| labels[*i as usize]).collect::<Vec<_>>())
        };
        let (values, its_labels) = gather(learnt);
        let mut probe = fit_all(Rows::new(&values, rows.dims()), &its_labels, classes);
        let (values, its_labels) = gather(held_out);
        let named = probe.classify(Rows::new(&values, rows.dims()));
        let right = named.iter().zip(&its_labels).filter(|(named, label)| named == label).count();
        probe.held_out = [right, held_out.len()];
        Ok(probe)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Probabilities of the classes, `[rows, classes]`.
    ///
    /// # Panics
    /// If the dimensions are not those it has learnt.
    pub fn probabilities(&self, rows: Rows) -> Vec<f64> {
        assert_eq!(rows.dims(), self.standard.len(), "a probe of {} features", self.standard.len());
        let mut out = Vec::with_capacity(rows.len() * self.classes);
        for tile in tiles(rows.len()) {
            let values = &rows.values()[tile.start * rows.dims()..tile.end * rows.dims()];
            let x = standardised(Rows::new(values, rows.dims()), &self.standard);
            let logits = self.weights.logits(&x, tile.len());
            out.par_extend(logits.par_chunks(self.classes).flat_map_iter(softmax));
        }
        out
    }

    /// The most probable class of each row.
    pub fn classify(&self, rows: Rows) -> Vec<u32> {
        self.probabilities(rows).chunks(self.classes).map(most_probable).collect()
    }
}

/// Of equally probable classes the first.
pub(crate) fn most_probable(probabilities: &[f64]) -> u32 {
    let best = |best: usize, (i, p): (usize, &f64)| if *p > probabilities[best] { i } else { best };
    probabilities.iter().enumerate().fold(0, best) as u32
}

fn check(rows: Rows, labels: &[u32], classes: usize) -> Result<(), MetricError> {
    let refuse = |why: String| Err(MetricError::Labels(why));
    if labels.len() != rows.len() {
        return refuse(format!("{} labels for {} images: every image of the data needs one", labels.len(), rows.len()));
    }
    if classes < 2 {
        return refuse("classes can be told apart from two on: the data have fewer".into());
    }
    if rows.len() < HELD_OUT {
        return refuse(format!("{} labelled images are too few for a probe: {HELD_OUT} at least", rows.len()));
    }
    if let Some(i) = labels.iter().position(|label| *label as usize >= classes) {
        return refuse(format!("image {i} has label {}, but there are {classes} classes, from 0", labels[i]));
    }
    match rows.values().par_iter().position_first(|x| !x.is_finite()) {
        Some(index) => Err(MetricError::NotFinite { which: "real", index: index / rows.dims() }),
        None => Ok(()),
    }
}

fn fit_all(rows: Rows, labels: &[u32], classes: usize) -> Probe {
    let standard = standard(rows);
    let x = standardised(rows, &standard);
    let problem = Problem { x: &x, labels, dims: rows.dims(), classes };
    let best = minimise(&problem, vec![0.0; (rows.dims() + 1) * classes]);
    Probe { classes, standard, weights: problem.weights(&best), held_out: [0, 0] }
}

/// Mean and reciprocal deviation of each feature; a constant one is only centred.
fn standard(rows: Rows) -> Vec<[f32; 2]> {
    let n = rows.len() as f64;
    let (mut sums, mut squares) = (vec![0.0; rows.dims()], vec![0.0; rows.dims()]);
    for row in rows.iter() {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) / n);
    }
    for row in rows.iter() {
        let each = squares.iter_mut().zip(&sums).zip(row);
        each.for_each(|((square, mean), x)| *square += (f64::from(*x) - mean).powi(2) / n);
    }
    let scale = |square: f64| if square > 0.0 { (1.0 / square.sqrt()) as f32 } else { 1.0 };
    sums.iter().zip(squares).map(|(mean, square)| [*mean as f32, scale(square)]).collect()
}

fn standardised(rows: Rows, standard: &[[f32; 2]]) -> Vec<f32> {
    let mut out = rows.values().to_vec();
    out.par_chunks_mut(standard.len())
        .for_each(|row| row.iter_mut().zip(standard).for_each(|(x, [mean, scale])| *x = (*x - mean) * scale));
    out
}

fn softmax(logits: &[f32]) -> impl Iterator<Item = f64> {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let powers: Vec<f64> = logits.iter().map(|x| libm::exp(f64::from(x - largest))).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(move |x| x / sum)
}

impl Weights {
    fn logits(&self, x: &[f32], rows: usize) -> Vec<f32> {
        let classes = self.b.len();
        let shape = Linear { rows, c_in: self.w.len() / classes, c_out: classes };
        let mut y = vec![0.0; rows * classes];
        linear::forward(&shape, x, &self.w, Some(&self.b), &mut y);
        y
    }
}

/// The regression as a function of all its weights, `W` and then `b`.
struct Problem<'a> {
    x: &'a [f32],
    labels: &'a [u32],
    dims: usize,
    classes: usize,
}

impl Problem<'_> {
    fn weights(&self, at: &[f64]) -> Weights {
        let (w, b) = at.split_at(self.dims * self.classes);
        let narrow = |x: &[f64]| x.iter().map(|x| *x as f32).collect();
        Weights { w: narrow(w), b: narrow(b) }
    }

    /// The objective and its gradient.
    fn value(&self, at: &[f64]) -> (f64, Vec<f64>) {
        let (n, weights) = (self.labels.len(), self.weights(at));
        let mut slopes = weights.logits(self.x, n);
        let losses: Vec<f64> = slopes
            .par_chunks_mut(self.classes)
            .zip(self.labels)
            .map(|(row, label)| {
                let p: Vec<f64> = softmax(row).collect();
                for (class, (slope, p)) in row.iter_mut().zip(&p).enumerate() {
                    *slope = (p - f64::from(u8::from(class == *label as usize))) as f32;
                }
                -p[*label as usize].max(f64::MIN_POSITIVE).ln()
            })
            .collect();
        let shape = Linear { rows: n, c_in: self.dims, c_out: self.classes };
        let (mut dw, mut db) = (vec![0.0; weights.w.len()], vec![0.0; self.classes]);
        linear::backward_weight(&shape, ROWS, self.x, &slopes, &mut dw, Some(&mut db));
        let n = n as f64;
        let w = &at[..dw.len()];
        let penalty: f64 = w.iter().map(|x| x * x).sum::<f64>() / 2.0;
        let mut gradient: Vec<f64> = dw.iter().zip(w).map(|(d, w)| (f64::from(*d) + w) / n).collect();
        gradient.extend(db.iter().map(|d| f64::from(*d) / n));
        ((losses.iter().sum::<f64>() + penalty) / n, gradient)
    }
}

/// L-BFGS with steps that are halved until they descend enough; ends where f32 gradients have no more to say.
fn minimise(problem: &Problem, mut at: Vec<f64>) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (mut value, mut gradient) = problem.value(&at);
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::with_capacity(MEMORY);
    for step in 0..STEPS {
        let direction = two_loops(&gradient, &memory);
        let slope = dot(&direction, &gradient);
        // Before curvature is known, a step of length 1.
        let mut length = if step == 0 { 1.0 / dot(&gradient, &gradient).sqrt().max(1e-300) } else { 1.0 };
        let found = (0..30).find_map(|_| {
            let there: Vec<f64> = at.iter().zip(&direction).map(|(x, d)| x + length * d).collect();
            let (its_value, its_gradient) = problem.value(&there);
            if its_value <= value + 1e-4 * length * slope {
                return Some((there, its_value, its_gradient));
            }
            length /= 2.0;
            None
        });
        let Some((there, its_value, its_gradient)) = found else { break };
        let moved: Vec<f64> = there.iter().zip(&at).map(|(a, b)| a - b).collect();
        let bent: Vec<f64> = its_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let gain = value - its_value;
        (at, value, gradient) = (there, its_value, its_gradient);
        if gain <= 1e-9 * value.abs() {
            break;
        }
        if dot(&moved, &bent) > 1e-12 * dot(&bent, &bent) {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back((moved, bent));
        }
    }
    at
}

/// `−H g` with the inverse Hessian that the remembered steps suggest.
fn two_loops(gradient: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let add = |to: &mut [f64], factor: f64, from: &[f64]| to.iter_mut().zip(from).for_each(|(x, y)| *x += factor * y);
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut factors = Vec::with_capacity(memory.len());
    for (moved, bent) in memory.iter().rev() {
        let factor = dot(moved, &direction) / dot(moved, bent);
        add(&mut direction, -factor, bent);
        factors.push(factor);
    }
    if let Some((moved, bent)) = memory.back() {
        let scale = dot(moved, bent) / dot(bent, bent);
        direction.iter_mut().for_each(|x| *x *= scale);
    }
    for ((moved, bent), factor) in memory.iter().zip(factors.iter().rev()) {
        let back = dot(bent, &direction) / dot(moved, bent);
        add(&mut direction, factor - back, moved);
    }
    direction
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    /// Objective and probabilities at scikit-learn's optimum.
    #[test]
    fn as_sklearn() {
        let file = SafeTensors::deserialize(include_bytes!("../tests/fixtures/metrics.safetensors")).unwrap();
        let floats = |name: &str| -> Vec<f32> {
            let data = file.tensor(name).unwrap().data().to_vec();
            data.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect()
        };
        let labels = file.tensor("probe.labels").unwrap().data().to_vec();
        let labels: Vec<u32> =
            labels.chunks_exact(8).map(|x| i64::from_le_bytes(x.try_into().unwrap()) as u32).collect();
        let (values, wanted) = (floats("probe.rows"), floats("probe.probabilities"));
        let numbers: serde_json::Value = serde_json::from_str(include_str!("../tests/fixtures/metrics.json")).unwrap();

        let rows = Rows::new(&values, 12);
        let probe = fit_all(rows, &labels, 3);
        let found = probe.probabilities(rows);
        for (found, want) in found.iter().zip(&wanted) {
            assert!((found - f64::from(*want)).abs() < 2e-4, "{found} {want}");
        }
        let x = standardised(rows, &probe.standard);
        let problem = Problem { x: &x, labels: &labels, dims: 12, classes: 3 };
        let at: Vec<f64> = probe.weights.w.iter().chain(&probe.weights.b).map(|x| f64::from(*x)).collect();
        let want = numbers["probe"]["mean_objective"].as_f64().unwrap();
        assert!((problem.value(&at).0 / want - 1.0).abs() < 1e-6, "{} {want}", problem.value(&at).0);
    }

    /// Two clouds far apart are told apart, labels without meaning are not, and threads show in no bit.
    #[test]
    fn its_worth_is_measured_on_what_it_has_not_seen() {
        let (n, dims) = (400, 30);
        let mut values = vec![0.0f32; n * dims];
        noise::normal(4, 0, 0, &mut values);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 2).collect();
        let blind = Probe::fit(Rows::new(&values, dims), &labels, 2, 0).unwrap();
        assert_eq!(blind.held_out[1], 80);
        assert!((20..60).contains(&blind.held_out[0]), "{:?}", blind.held_out);
        values.chunks_exact_mut(dims).zip(&labels).for_each(|(row, label)| row[3] += 8.0 * *label as f32);
        let rows = Rows::new(&values, dims);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Probe::fit(rows, &labels, 2, 0)).unwrap()
        };
        let probe = on(1);
        assert_eq!(probe.held_out, [80, 80]);
        assert_eq!(probe, on(3));
    }

    #[test]
    fn labels_that_do_not_fit_are_refused() {
        let values = [0.5f32; 12];
        let fit =
            |labels: &[u32], classes| Probe::fit(Rows::new(&values, 2), labels, classes, 0).unwrap_err().to_string();
        assert!(fit(&[0; 5], 2).contains("5 labels for 6 images"));
        assert!(fit(&[0; 6], 1).contains("from two on"));
        assert!(fit(&[0, 1, 0, 2, 1, 0], 2).contains("image 3 has label 2"));
        let broken = [f32::NAN; 12];
        let error = Probe::fit(Rows::new(&broken, 2), &[0; 6], 2, 0).unwrap_err();
        assert_eq!(error, MetricError::NotFinite { which: "real", index: 0 });
    }
}
