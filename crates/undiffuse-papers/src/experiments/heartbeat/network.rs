//! The reverse kernel: three hidden layers that all steps share, and a read-out for every step
//! [Sohl15, appendix D.1.2].
//!
//! Unlike the paper's, one network answers for every bit: it sees the sequence turned so that the bit stands first, so
//! no place can be favoured. (Layers of 50 units with read-outs of its own for every bit, as the paper has them, were here
//! before: nothing kept the errors of their bits equal, and of 100 samples of one seed the pulse fell on its five places
//! 19, 12, 20, 14 and 34 times.)
//!
//! A read-out answers the log-odds of a bit of `x^0` beyond the data's mean and the evidence of the bit itself, in units
//! of that evidence. The flip probability follows by Bayes' rule, so every answer is a possible reverse kernel.
//! Read-outs lie on straight lines between [`KNOTS`] of them: neighbouring steps of two thousand learn from each other.

use std::f64::consts::LN_2;

use undiffuse::burn::tensor::{Device, Tensor, TensorData, activation};
use undiffuse_math::binomial::{Binomial, entropy};

use super::pulses::{LENGTH, MEAN, doubt, draw, flip};
use crate::learn::{normals, tensor};

const HIDDEN: usize = 32;
/// Stretches of the trajectory, a divisor of its steps; in one the read-out goes from knot to knot.
pub const KNOTS: usize = 40;
/// Weights of one read-out, and its offset.
const READOUT: usize = HIDDEN + 1;
const LAYERS: [[usize; 2]; 3] = [[LENGTH, HIDDEN], [HIDDEN, HIDDEN], [HIDDEN, HIDDEN]];

/// Sequences drawn for some steps, as the loss reads them.
///
/// The cost of a bit is linear in the posterior `q(x^(t-1) | x^t, x^0)`, so its mean over the `x^0` of the training set
/// that may have led to `x^t` is taken in closed form: the target is the posterior with `x^0` averaged out, which
/// leaves the gradient's mean as it is and most of its variance away [Xu23b, with all data as reference].
pub struct Batch {
    /// `x^t` turned to every bit, ±1, `[steps, n · LENGTH, LENGTH]`.
    turned: Tensor<3>,
    /// Reverse flips of the training set, `[steps, n · LENGTH, 1]`.
    target: Tensor<3>,
    /// Their entropy, in nats per sequence: what the loss cannot fall below.
    floor: f64,
}

/// The steps that one update looks at, as tensors, `[steps, 1, 1]` each.
pub struct Process {
    steps: Vec<usize>,
    same: Tensor<3>,
    other: Tensor<3>,
    evidence: Tensor<3>,
    share: Tensor<3>,
}

impl Process {
    /// Every `stride`-th step from `first` on, as many in each stretch.
    pub fn new(chain: &Binomial, first: usize, stride: usize, device: &Device) -> Self {
        let steps: Vec<usize> = (first..=chain.steps()).step_by(stride).collect();
        let column = |f: &dyn Fn(usize) -> f64| {
            let values: Vec<f32> = steps.iter().map(|&t| f(t) as f32).collect();
            tensor(values, device).reshape([steps.len(), 1, 1])
        };
        Self {
            same: column(&|t| chain.reverse_flip(t, true)),
            other: column(&|t| chain.reverse_flip(t, false)),
            evidence: column(&|t| chain.evidence(t)),
            share: column(&|t| place(t, chain.steps()).1),
            steps,
        }
    }
}

impl Batch {
    /// `n` sequences for every step of `process`.
    pub fn new(chain: &Binomial, process: &Process, n: usize, seed: u64, stream: u64, device: &Device) -> Self {
        let (mut seen, mut target, mut bits) = (Vec::new(), Vec::new(), 0.0);
        for &t in &process.steps {
            for k in 0..n {
                let (_, now) = draw(chain, t, seed, stream, (t * n + k) as u64);
                (0..LENGTH).for_each(|i| seen.extend(turned(&now, i).map(|v| v as f32)));
                let flips = doubt(&now, chain.evidence(t)).map(|doubt| flip(chain, t, doubt));
                bits += flips.into_iter().map(entropy).sum::<f64>();
                target.extend(flips.map(|f| f as f32));
            }
        }
        let [turned, target] = [(seen, LENGTH), (target, 1)]
            .map(|(v, width)| TensorData::new(v, [process.steps.len(), n * LENGTH, width]))
            .map(|data| Tensor::<3>::from_data(data, device));
        Self { turned, target, floor: bits * LN_2 / n as f64 }
    }

    /// How far a loss on this batch is above the lowest possible one, in bits per sequence.
    pub fn excess(&self, loss: f64) -> f64 {
        (loss - self.floor) / LN_2
    }
}

/// The sequence turned so that bit `i` stands first, as ±1.
fn turned(x: &[bool; LENGTH], i: usize) -> [f64; LENGTH] {
    std::array::from_fn(|k| if x[(i + k) % LENGTH] { 1.0 } else { -1.0 })
}

/// The log-odds of a bit of which nothing but the data's mean is known.
fn prior() -> f64 {
    (MEAN / (1.0 - MEAN)).ln()
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

/// The mean over sequences of the cross-entropies whose sum over steps is the bound's cost `Σ_t KL`, in nats.
pub fn loss(parameters: &[Tensor<1>], process: &Process, batch: &Batch) -> Tensor<1> {
    let [steps, rows, _] = batch.turned.dims();
    let mut h = batch.turned.clone().reshape([steps * rows, LENGTH]);
    for (k, [input, output]) in LAYERS.into_iter().enumerate() {
        let weight = parameters[2 * k].clone().reshape([input, output]);
        h = activation::tanh(h.matmul(weight) + parameters[2 * k + 1].clone().reshape([1, output]));
    }
    // Every stretch is one product with the knot before it and the knot behind, side by side.
    let h: Tensor<3> = h.reshape([KNOTS, steps / KNOTS * rows, HIDDEN]);
    let knots = parameters[6].clone().reshape([KNOTS + 1, READOUT, 1]);
    let ends = Tensor::cat(vec![knots.clone().narrow(0, 0, KNOTS), knots.narrow(0, 1, KNOTS)], 2);
    let answers = h.matmul(ends.clone().narrow(1, 0, HIDDEN)) + ends.narrow(1, HIDDEN, 1);
    let end = |k: usize| answers.clone().narrow(2, k, 1).reshape([steps, rows, 1]);
    let share = process.share.clone();
    let odds = end(0) * (-share.clone() + 1.0) + end(1) * share;
    // The probability that a bit differs from x^0.
    let x = batch.turned.clone().narrow(2, 0, 1);
    let odds = (odds * process.evidence.clone() + prior()) * x + process.evidence.clone();
    let doubt = activation::sigmoid(-odds);
    let flip = process.same.clone() + doubt * (process.other.clone() - process.same.clone());
    let flip = flip.clamp(1e-12, 1.0 - 1e-7);
    let stay = -flip.clone() + 1.0;
    let cost = batch.target.clone() * flip.log() + (-batch.target.clone() + 1.0) * stay.log();
    -cost.sum() * (LENGTH as f64 / rows as f64)
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
        let (knot, share) = place(t, self.steps);
        let readout: Vec<f64> = (0..READOUT)
            .map(|k| [knot, knot + 1].map(|knot| p[6][knot * READOUT + k]))
            .map(|[from, to]| from + (to - from) * share)
            .collect();
        std::array::from_fn(|i| {
            let turned = turned(x, i);
            let mut h = turned.to_vec();
            for k in 0..LAYERS.len() {
                h = affine(&h, &p[2 * k], &p[2 * k + 1]);
                h.iter_mut().for_each(|v| *v = v.tanh());
            }
            let odds = affine(&h, &readout[..HIDDEN], &readout[HIDDEN..])[0];
            1.0 / (1.0 + ((odds * evidence + prior()) * turned[0] + evidence).exp())
        })
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
        let process = Process::new(&chain, 1, 1, &device);
        let batch = Batch::new(&chain, &process, 1, 7, 8, &device);
        let got = f64::from(loss(&tensors, &process, &batch).into_scalar::<f32>());
        assert!((got / expected - 1.0).abs() < 1e-5, "{got} {expected}");
        assert!(batch.excess(got) > 0.0);
    }

    /// Whichever way a sequence is turned, its answers turn with it: every place is as good as any other.
    #[test]
    fn no_place_is_favoured() {
        let chain = Binomial::linear(KNOTS);
        let parameters = initial(3, 0).iter().enumerate().map(|(k, p)| normals(4, k as u64, p.len(), 0.3)).collect();
        let network = Network::new(parameters, chain.steps());
        for t in [1, 20, KNOTS] {
            let (_, x) = draw(&chain, t, 7, 8, t as u64);
            let doubt = network.doubt(&x, t, chain.evidence(t));
            for by in 1..LENGTH {
                let turn = |i: usize| (i + by) % LENGTH;
                let turned = network.doubt(&std::array::from_fn(|i| x[turn(i)]), t, chain.evidence(t));
                assert_eq!(turned, std::array::from_fn(|i| doubt[turn(i)]), "step {t}, turned by {by}");
            }
        }
    }
}
