//! The reverse kernel: three hidden layers of 50 units that all steps share, and a read-out for every step
//! [Sohl15, appendix D.1.2].
//!
//! What the read-out answers is the log-odds of every bit of `x^0`, beyond the evidence of the bit itself, which is
//! known in closed form. The flip probability follows from them by Bayes' rule, so every answer is a possible reverse
//! kernel and no answer needs more digits than another.

use undiffuse::burn::tensor::{Device, Tensor, TensorData, activation};
use undiffuse_math::binomial::Binomial;

use super::pulses::{LENGTH, doubt, draw, flip};
use crate::learn::{normals, tensor};

const HIDDEN: usize = 50;
/// Stretches of the trajectory; within one the read-out goes linearly from knot to knot.
const KNOTS: usize = 40;
/// Weights and offsets of one read-out.
const READOUT: usize = (HIDDEN + 1) * LENGTH;
const LAYERS: [[usize; 2]; 3] = [[LENGTH, HIDDEN], [HIDDEN, HIDDEN], [HIDDEN, HIDDEN]];

/// Sequences drawn for every step, and the numbers of every step, as the loss reads them.
pub struct Batch {
    /// `x^t`, ±1, `[T, n, LENGTH]`.
    x: Tensor<3>,
    /// Reverse flips given `x^0`, for the sequences of the batch, the same shape.
    target: Tensor<3>,
}

/// The process as tensors, `[T, 1, 1]` each.
pub struct Process {
    same: Tensor<3>,
    other: Tensor<3>,
    evidence: Tensor<3>,
    share: Tensor<3>,
}

impl Process {
    /// The numbers of every step.
    pub fn new(chain: &Binomial, device: &Device) -> Self {
        let column = |f: &dyn Fn(usize) -> f64| {
            let values: Vec<f32> = (1..=chain.steps()).map(|t| f(t) as f32).collect();
            tensor(values, device).reshape([chain.steps(), 1, 1])
        };
        Self {
            same: column(&|t| chain.reverse_flip(t, true)),
            other: column(&|t| chain.reverse_flip(t, false)),
            evidence: column(&|t| chain.evidence(t)),
            share: column(&|t| place(t, chain.steps()).1),
        }
    }
}

impl Batch {
    /// `n` sequences for every step.
    pub fn new(chain: &Binomial, n: usize, seed: u64, stream: u64, device: &Device) -> Self {
        let steps = chain.steps();
        let (mut x, mut target) = (Vec::new(), Vec::new());
        for t in 1..=steps {
            for k in 0..n {
                let (_, now) = draw(chain, t, seed, stream, (t * n + k) as u64);
                x.extend(now.map(sign));
                let doubt = doubt(&now, chain.evidence(t));
                target.extend(doubt.map(|doubt| flip(chain, t, doubt) as f32));
            }
        }
        let [x, target] =
            [x, target].map(|v| Tensor::<3>::from_data(TensorData::new(v, [steps, n, LENGTH]), device));
        Self { x, target }
    }
}

fn sign(bit: bool) -> f32 {
    if bit { 1.0 } else { -1.0 }
}

/// The parameters before training: hidden layers of unit gain, read-outs of nothing.
pub fn initial(steps: usize, seed: u64, stream: u64) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for (k, [input, output]) in LAYERS.into_iter().enumerate() {
        all.push(normals(seed, stream + k as u64, input * output, (1.0 / input as f64).sqrt()));
        all.push(vec![0.0; output]);
    }
    all.push(vec![0.0; (KNOTS + 1) * READOUT]);
    let _ = steps;
    all
}

/// The mean over sequences of the bound's cost `Σ_t KL`, in nats, up to the entropy of the targets.
pub fn loss(parameters: &[Tensor<1>], process: &Process, batch: &Batch) -> Tensor<1> {
    let [steps, n, _] = batch.x.dims();
    let mut h = batch.x.clone().reshape([(steps * n) as i32, LENGTH as i32]);
    for (k, [input, output]) in LAYERS.into_iter().enumerate() {
        let weight = parameters[2 * k].clone().reshape([input, output]);
        h = activation::tanh(h.matmul(weight) + parameters[2 * k + 1].clone().reshape([1, output]));
    }
    let knots = parameters[6].clone().reshape([KNOTS + 1, HIDDEN + 1, LENGTH]);
    // Every stretch is one product with the knot before it and one with the knot behind.
    let h: Tensor<3> = h.reshape([KNOTS, steps / KNOTS * n, HIDDEN]);
    let answer = |from: usize| {
        let knots = knots.clone().narrow(0, from, KNOTS);
        h.clone().matmul(knots.clone().narrow(1, 0, HIDDEN)) + knots.narrow(1, HIDDEN, 1)
    };
    let (from, to) = (answer(0), answer(1));
    let share = process.share.clone();
    let odds = from.reshape([steps, n, LENGTH]) * (-share.clone() + 1.0) + to.reshape([steps, n, LENGTH]) * share;
    let odds = odds * process.evidence.clone();
    // The probability that a bit differs from x^0.
    let doubt = activation::sigmoid(-(odds * batch.x.clone() + process.evidence.clone()));
    let flip = process.same.clone() + doubt * (process.other.clone() - process.same.clone());
    let flip = flip.clamp(1e-12, 1.0 - 1e-7);
    let stay = -flip.clone() + 1.0;
    let cost = batch.target.clone() * flip.log() + (-batch.target.clone() + 1.0) * stay.log();
    -cost.sum() / n as f64
}

/// Where step `t` lies: the knot before it, and how far it is to the next one.
fn place(t: usize, steps: usize) -> (usize, f64) {
    let stretch = steps / KNOTS;
    ((t - 1) / stretch, ((t - 1) % stretch) as f64 / stretch as f64)
}

/// A trained network in double precision.
pub struct Network {
    parameters: Vec<Vec<f64>>,
    steps: usize,
}

impl Network {
    /// From trained parameters.
    pub fn new(parameters: Vec<Vec<f32>>, steps: usize) -> Self {
        Self { parameters: parameters.into_iter().map(|p| p.into_iter().map(f64::from).collect()).collect(), steps }
    }

    /// For every bit of `x^t`, the probability that it differs from `x^0`.
    pub fn doubt(&self, x: &[bool; LENGTH], t: usize, evidence: f64) -> [f64; LENGTH] {
        let p = &self.parameters;
        let mut h: Vec<f64> = x.iter().map(|&b| f64::from(sign(b))).collect();
        for k in 0..LAYERS.len() {
            h = affine(&h, &p[2 * k], &p[2 * k + 1]);
            h.iter_mut().for_each(|v| *v = v.tanh());
        }
        let (knot, share) = place(t, self.steps);
        let answer = |knot: usize| {
            let (w, b) = p[6][knot * READOUT..(knot + 1) * READOUT].split_at(HIDDEN * LENGTH);
            affine(&h, w, b)
        };
        let odds: Vec<f64> =
            answer(knot).into_iter().zip(answer(knot + 1)).map(|(a, b)| a + (b - a) * share).collect();
        std::array::from_fn(|i| 1.0 / (1.0 + (evidence * (1.0 + odds[i] * f64::from(sign(x[i])))).exp()))
    }
}

/// `x W + b`, `W` by rows of inputs.
fn affine(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    let mut out = b.to_vec();
    for (&x, row) in x.iter().zip(w.chunks(b.len())) {
        out.iter_mut().zip(row).for_each(|(o, w)| *o += x * w);
    }
    out
}
