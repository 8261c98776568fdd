//! Score matching on points of the plane: what is drawn, what the network answers, and the losses.

use undiffuse::burn::tensor::{Device, Tensor};
use undiffuse_math::noise;
use undiffuse_math::parameterization::Edm;
use undiffuse_math::prelude::{NoiseLevel, Parameterization, Plan, Scaling, Walk};

use crate::mixture::{Mixture, pairs};
use crate::mlp::{Activation, Mlp, Net, WaveMlp, host, rows};

/// Numbers that a network sees of a noisy point: the scaled point, the log of its noise, and a wave of that.
const FEATURES: usize = 5;

/// What a random number is for; part of its stream.
#[derive(Clone, Copy)]
enum Use {
    Level = 1,
    Noise = 2,
    Direction = 3,
    Walk = 4,
}

impl Use {
    fn stream(self, counter: u64) -> u64 {
        (self as u64) << 56 | counter
    }
}

/// What is learned of a process `x = x₀ + sigma · ε` on points.
///
/// The network is read as EDM reads it \[Karras22, Table 1\] and its own error is what is minimised. In terms of the
/// score that is denoising score matching with `λ(σ) = σ² (1 + σ² / deviation²)`: NCSN's `σ²` \[Song19, Eq. 6\] where
/// noise is smaller than data.
pub struct Process {
    parameterization: Edm,
    sigma: Box<dyn Fn(f64) -> f64>,
}

impl Process {
    /// Points of root-mean-square `deviation` an axis, with noise whose deviation at a quantile in (0, 1) is `sigma`.
    pub fn new(deviation: f64, sigma: impl Fn(f64) -> f64 + 'static) -> Self {
        Self { parameterization: Edm { sigma_data: deviation }, sigma: Box::new(sigma) }
    }

    /// The same with the levels of a ladder, each visited alike \[Song19, Eq. 6\].
    pub fn ladder(deviation: f64, sigmas: Vec<f64>) -> Self {
        Self::new(deviation, move |u| sigmas[((u * sigmas.len() as f64) as usize).min(sigmas.len() - 1)])
    }

    /// A perceptron that fits this process, with three hidden layers.
    pub fn network(&self, width: usize, seed: u64, device: &Device) -> WaveMlp {
        WaveMlp::new(&[FEATURES, width, width, width, 2], Activation::Silu, seed, device)
    }

    fn scaling(&self, sigma: f64) -> Scaling {
        self.parameterization.scaling(NoiseLevel { alpha: 1.0, sigma })
    }

    /// Denoising score matching \[Vincent11; Song19, Eq. 6\]: the mean squared error of the network's own answer
    /// for the clean points `x0`, with levels spread evenly over the batch.
    pub fn loss(&self, network: &impl Net, x0: &[f32], seed: u64, step: u64) -> Tensor<1> {
        let n = x0.len() / 2;
        let mut eps = vec![0f32; x0.len()];
        noise::normal(seed, Use::Noise.stream(step), 0, &mut eps);
        let offset = noise::uniform(seed, Use::Level.stream(step), 0);
        let (mut input, mut target) = (Vec::with_capacity(n * FEATURES), Vec::with_capacity(2 * n));
        for (i, (x0, eps)) in x0.chunks_exact(2).zip(eps.chunks_exact(2)).enumerate() {
            let sigma = (self.sigma)((i as f64 + offset) / n as f64);
            let s = self.scaling(sigma);
            let [x0, eps] = [x0, eps].map(|p| [f64::from(p[0]), f64::from(p[1])]);
            features(&s, [0, 1].map(|k| x0[k] + sigma * eps[k]), sigma, &mut input);
            target.extend([0, 1].map(|k| (s.target_x0 * x0[k] + s.target_eps * eps[k]) as f32));
        }
        let device = network.device();
        let error = network.forward(rows(input, FEATURES, &device)) - rows(target, 2, &device);
        (error.clone() * error).mean()
    }

    /// The network's guess `D(x, sigma)` of the clean points.
    pub fn denoised(&self, network: &impl Net, x: &[f32], sigma: f64) -> Vec<f32> {
        let s = self.scaling(sigma);
        let mut input = Vec::with_capacity(x.len() / 2 * FEATURES);
        pairs(x).for_each(|x| features(&s, x, sigma, &mut input));
        let answer = host(network.forward(rows(input, FEATURES, &network.device())));
        x.iter().zip(answer).map(|(x, f)| (s.skip * f64::from(*x) + s.out * f64::from(f)) as f32).collect()
    }

    /// The network's score `(D(x, sigma) − x) / sigma²` at every point.
    pub fn score(&self, network: &impl Net, x: &[f32], sigma: f64) -> Vec<[f64; 2]> {
        let denoised = self.denoised(network, x, sigma);
        let both = pairs(x).zip(pairs(&denoised));
        both.map(|(x, d)| [0, 1].map(|k| (d[k] - x[k]) / (sigma * sigma))).collect()
    }
}

/// The exact denoiser of a mixture, at every point.
pub fn exact(mixture: &Mixture, x: &[f32], sigma: f64) -> Vec<f32> {
    pairs(x).flat_map(|x| mixture.denoised(x, sigma)).map(|v| v as f32).collect()
}

fn features(s: &Scaling, x: [f64; 2], sigma: f64, out: &mut Vec<f32>) {
    let log = 0.25 * sigma.ln();
    out.extend([s.input * x[0], s.input * x[1], log, (3.0 * log).sin(), (3.0 * log).cos()].map(|v| v as f32));
}

/// Sliced score matching with variance reduction, `E[vᵀ ∇(vᵀ s(x)) + ½ ‖s(x)‖²]`, `v ~ N(0, I)`, one direction a point
/// \[Song19b, Eq. 8\]. The network sees the point and answers the score.
pub fn sliced_loss(network: &Mlp, x: &[f32], seed: u64, step: u64) -> Tensor<1> {
    let mut v = vec![0f32; x.len()];
    noise::normal(seed, Use::Direction.stream(step), 0, &mut v);
    let device = network.device();
    let v = rows(v, 2, &device);
    let (score, change) = network.tangent(rows(x.to_vec(), 2, &device), v.clone());
    // Means over both coordinates are half of the means over points.
    ((v * change).mean() + (score.clone() * score).mean() * 0.5) * 2.0
}

/// The levels of a ladder of sigmas.
pub fn levels(sigmas: &[f64]) -> Vec<NoiseLevel> {
    sigmas.iter().map(|&sigma| NoiseLevel { alpha: 1.0, sigma }).collect()
}

/// `n` levels from `first` down to `last`, each the same factor below the one before.
pub fn geometric(first: f64, last: f64, n: usize) -> Vec<f64> {
    let factor = |i: usize| i as f64 / (n.max(2) - 1) as f64;
    (0..n).map(|i| first * (last / first).powf(factor(i))).collect()
}

/// Walks points `x` along a plan with the denoiser `D(x, sigma)`; `seen` is shown the points before every row.
pub fn walk(
    plan: &Plan,
    x: Vec<f32>,
    seed: u64,
    denoised: impl Fn(&[f32], f64) -> Vec<f32>,
    mut seen: impl FnMut(usize, &[f32]),
) -> Vec<f32> {
    let n = x.len();
    let mut walk = Walk::new(plan, x);
    while let Some(row) = walk.row() {
        seen(walk.done(), walk.x());
        let guess = denoised(walk.x(), row.level.sigma);
        let z = (row.noise != 0.0).then(|| {
            let mut z = vec![0f32; n];
            noise::normal(seed, Use::Walk.stream(walk.done() as u64), 0, &mut z);
            z
        });
        walk.step(guess, z, |terms| {
            let sum = |i: usize| terms.iter().map(|(c, x)| c * f64::from(x[i])).sum::<f64>() as f32;
            (0..n).map(sum).collect()
        });
    }
    walk.into_x()
}

/// `E‖s − s*‖² / E‖s*‖²` over points: the Fisher divergence as a share of the score's own size.
pub fn relative_error(ours: &[[f64; 2]], exact: &[[f64; 2]]) -> f64 {
    let square = |v: [f64; 2]| v[0] * v[0] + v[1] * v[1];
    let error: f64 = ours.iter().zip(exact).map(|(a, b)| square([a[0] - b[0], a[1] - b[1]])).sum();
    error / exact.iter().map(|b| square(*b)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adam::Adam;
    use undiffuse_math::prelude::Solver;
    use undiffuse_math::solver::Langevin;

    /// What denoising score matching learns of one Gaussian, whose score is known: `(mean − x) / (std² + sigma²)`.
    #[test]
    fn denoising_finds_the_score_of_a_gaussian() {
        let device = undiffuse::device::open("cpu").unwrap();
        let one = Mixture { weights: vec![1.0], means: vec![[0.5, -0.8]], std: 0.3 };
        let process = Process::ladder(one.deviation(), vec![1.0, 0.3]);
        let mut adam = Adam::new(process.network(16, 0, &device), [0.9, 0.99]);
        for step in 0..400 {
            let x0 = one.sample(128, 0.0, 0, 1 << 40 | step);
            let loss = process.loss(adam.module(), &x0, 0, step);
            adam.descend(loss, 1e-2 * (1.0 - step as f64 / 400.0));
        }
        for sigma in [1.0, 0.3] {
            let x = one.sample(2000, sigma, 0, 7);
            let truth: Vec<_> = pairs(&x).map(|x| one.score(x, sigma)).collect();
            let error = relative_error(&process.score(&adam.averaged(), &x, sigma), &truth);
            assert!(error < 0.02, "{error} at sigma {sigma}");
        }
    }

    /// Of a linear score `s(x) = W x` the sliced loss has the mean `tr W + ½ E‖W x‖²`, whichever directions are drawn.
    #[test]
    fn the_sliced_loss_is_the_trace_and_half_the_square() {
        let device = undiffuse::device::open("cpu").unwrap();
        let linear = Mlp::new(&[2, 2], Activation::Softplus, 4, &device);
        let at = |x: [f32; 2]| host(linear.forward(rows(x.to_vec(), 2, &linear.device())));
        let (b, c1, c2) = (at([0.0, 0.0]), at([1.0, 0.0]), at([0.0, 1.0]));
        let trace = f64::from(c1[0] - b[0] + c2[1] - b[1]);
        let mut points = vec![0f32; 40_000];
        noise::normal(1, 0, 0, &mut points);
        let half_square = host(linear.forward(rows(points.clone(), 2, &linear.device())))
            .chunks_exact(2)
            .map(|s| 0.5 * f64::from(s[0] * s[0] + s[1] * s[1]))
            .sum::<f64>()
            / 20_000.0;
        let loss = f64::from(sliced_loss(&linear, &points, 9, 0).into_scalar::<f32>());
        assert!((loss - trace - half_square).abs() < 0.03, "{loss} is not {trace} + {half_square}");
    }

    /// Langevin's stationary law on one Gaussian has variance `s² / (1 − step / 4)` (an exact property of the linear
    /// recursion), and forgets where it began.
    #[test]
    fn langevin_reaches_the_gaussian() {
        let one = Mixture { weights: vec![1.0], means: vec![[2.0, -1.0]], std: 0.0 };
        // Two levels of one sigma: plain Langevin dynamics.
        let plan = Langevin { per_level: 150, step: 0.4 }.plan(&levels(&[0.5; 2])).unwrap();
        let x = walk(&plan, vec![8.0; 8000], 2, |x, sigma| exact(&one, x, sigma), |_, _| {});
        let mean = pairs(&x).map(|p| p[0]).sum::<f64>() / 4000.0;
        let variance = pairs(&x).map(|p| (p[1] + 1.0).powi(2)).sum::<f64>() / 4000.0;
        let expected = 0.25 / (1.0 - 0.4 / 4.0);
        assert!((mean - 2.0).abs() < 0.04, "{mean}");
        assert!((variance - expected).abs() < 0.03, "{variance} is not {expected}");
    }

    #[test]
    fn ladders_are_geometric() {
        let s = geometric(20.0, 1.0, 10);
        assert!((s[0] - 20.0).abs() < 1e-12 && (s[9] - 1.0).abs() < 1e-12);
        assert!(s.windows(3).all(|w| (w[0] / w[1] - w[1] / w[2]).abs() < 1e-9));
    }
}
