//! The reverse kernel: three hidden layers of 50 units that all steps share, and a read-out for every step
//! [Sohl15, appendix D.1.2].
//!
//! A read-out answers the log-odds of every bit of `x^0` beyond the evidence of the bit itself, in units of that
//! evidence. The flip probability follows by Bayes' rule, so every answer is a possible reverse kernel. Read-outs lie on
//! straight lines between [`KNOTS`] of them: neighbouring steps of two thousand learn from each other.

use std::f64::consts::LN_2;

use undiffuse::burn::tensor::{Device, Tensor, TensorData, activation};
use undiffuse_math::binomial::{Binomial, entropy};

use super::pulses::{LENGTH, doubt, draw, flip};
use crate::learn::{normals, tensor};

const HIDDEN: usize = 50;
/// Stretches of the trajectory, a divisor of its steps; in one the read-out goes from knot to knot.
pub const KNOTS: usize = 40;
/// Weights and offsets of one read-out.
const READOUT: usize = (HIDDEN + 1) * LENGTH;
const LAYERS: [[usize; 2]; 3] = [[LENGTH, HIDDEN], [HIDDEN, HIDDEN], [HIDDEN, HIDDEN]];

/// Sequences drawn for every step, as the loss reads them.
///
/// The cost of a bit is linear in the posterior `q(x^(t-1) | x^t, x^0)`, so its mean over the `x^0` of the training set
/// that may have led to `x^t` is taken in closed form: the target is the posterior with `x^0` averaged out, which
/// leaves the gradient's mean as it is and most of its variance away [Xu23, section 3, with all data as reference].
pub struct Batch {
    /// `x^t`, ±1, `[T, n, LENGTH]`.
    x: Tensor<3>,
    /// Reverse flips of the training set, the same shape.
    target: Tensor<3>,
    /// Their entropy, in nats per sequence: what the loss cannot fall below.
    floor: f64,
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
        let (mut x, mut target, mut bits) = (Vec::new(), Vec::new(), 0.0);
        for t in 1..=steps {
            for k in 0..n {
                let (_, now) = draw(chain, t, seed, stream, (t * n + k) as u64);
                x.extend(now.map(sign));
                let flips = doubt(&now, chain.evidence(t)).map(|doubt| flip(chain, t, doubt));
                bits += flips.into_iter().map(entropy).sum::<f64>();
                target.extend(flips.map(|f| f as f32));
            }
        }
        let [x, target] = [x, target].map(|v| Tensor::<3>::from_data(TensorData::new(v, [steps, n, LENGTH]), device));
        Self { x, target, floor: bits * LN_2 / n as f64 }
    }

    /// How far a loss on this batch is above the lowest possible one, in bits per sequence.
    pub fn excess(&self, loss: f64) -> f64 {
        (loss - self.floor) / LN_2
    }
}

fn sign(bit: bool) -> f32 {
    if bit { 1.0 } else { -1.0 }
}

/// The parameters before training: hidden layers of unit gain, read-outs of nothing.
pub fn initial(seed: u64, stream: u64) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for (k, [input, output]) in LAYERS.into_iter().enumerate() {
        all.push(normals(seed, stream + k as u64, input * output, (1.0 / input as f64).sqrt()));
        all.push(vec![0.0; output]);
    }
    all.push(vec![0.0; (KNOTS + 1) * READOUT]);
    all
}

/// The mean over sequences of the cross-entropies whose sum is the bound's cost `Σ_t KL`, in nats.
pub fn loss(parameters: &[Tensor<1>], process: &Process, batch: &Batch) -> Tensor<1> {
    let [steps, n, _] = batch.x.dims();
    let mut h = batch.x.clone().reshape([steps * n, LENGTH]);
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
        let odds: Vec<f64> = answer(knot).into_iter().zip(answer(knot + 1)).map(|(a, b)| a + (b - a) * share).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The tensor path in single precision against the plain one in double, on a network with something to say.
    #[test]
    fn loss_is_the_cross_entropy_of_the_network() {
        let chain = Binomial::linear(2 * KNOTS);
        let parameters: Vec<Vec<f32>> =
            initial(3, 0).iter().enumerate().map(|(k, p)| normals(4, k as u64, p.len(), 0.3)).collect();
        let network = Network::new(parameters.clone(), chain.steps());
        let mut expected = 0.0;
        for t in 1..=chain.steps() {
            let (_, x) = draw(&chain, t, 7, 8, t as u64);
            let ours = network.doubt(&x, t, chain.evidence(t)).map(|d| flip(&chain, t, d));
            let target = doubt(&x, chain.evidence(t)).map(|d| flip(&chain, t, d));
            expected -= target.iter().zip(ours).map(|(q, p)| q * p.ln() + (1.0 - q) * (-p).ln_1p()).sum::<f64>();
        }
        let device = Device::flex();
        let tensors: Vec<Tensor<1>> = parameters.into_iter().map(|p| tensor(p, &device)).collect();
        let batch = Batch::new(&chain, 1, 7, 8, &device);
        let got = f64::from(loss(&tensors, &Process::new(&chain, &device), &batch).into_scalar::<f32>());
        assert!((got / expected - 1.0).abs() < 1e-5, "{got} {expected}");
        assert!(batch.excess(got) > 0.0);
    }
}
