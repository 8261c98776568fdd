//! The model: learned forward rates, and a reverse kernel with learned mean and covariance
//! [Sohl15, section 2.4 and appendix D.1.1].
//!
//! The reverse kernel is a normalised radial basis function network whose units every step shares; each step has its
//! own read-out of every unit, which is linear in the distance to the unit's centre. It answers `D`, a guess at `x^0`,
//! and the Cholesky factor of the inverse covariance, both relative to the forward posterior that would know `x^0`.
//!
//! Rates are parameters as well: `log_snr_t = log_snr_1 - Σ softplus(theta_s)`, which is every choice of `beta_2 … beta_T`
//! in (0, 1) with `beta_1` fixed.

use undiffuse::burn::tensor::{Device, Tensor, TensorData, activation};
use undiffuse_math::level::NoiseLevel;

use super::roll::{Point, Roll};
use crate::learn::tensor;

/// Numbers that a unit says at a step: offset, matrix, Cholesky factor.
const SAID: usize = 2 + 4 + 3;

/// What is chosen before training.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// `T`.
    pub steps: usize,
    /// Units of the network.
    pub units: usize,
    /// The rate of the first step, which is not learned.
    pub beta_1: f64,
}

impl Shape {
    fn log_snr_1(&self) -> f64 {
        ((1.0 - self.beta_1) / self.beta_1).ln()
    }
}

/// Parameters before training: centres on points of the data, the reverse step that a round Gaussian would have, and
/// levels at equal distances in log-SNR.
pub fn initial(shape: Shape, roll: &Roll, seed: u64, stream: u64) -> Vec<Vec<f32>> {
    let rows = shape.steps - 1;
    let centres = (0..shape.units as u64).flat_map(|k| roll.draw(seed, stream, k)).map(|v| v as f32);
    let distance: f64 = (shape.log_snr_1() + 5.0) / rows as f64;
    let zero = |n: usize| vec![0.0; rows * shape.units * n];
    vec![
        centres.collect(),
        vec![(0.5f64 / 0.2f64.powi(2)).ln() as f32; rows],
        zero(2),
        zero(4),
        zero(3),
        vec![distance.exp_m1().ln() as f32; rows],
    ]
}

/// `K`'s cost per point in nats, `Σ_t KL + KL(q(x^T | x^0) ‖ N(0, I))`, averaged over the batch: points `x0`, `[n, 2]`,
/// and frozen noise `eps`, `[T - 1, n, 2]`, through which gradients reach the rates.
pub fn loss(p: &[Tensor<1>], shape: Shape, x0: Tensor<2>, eps: Tensor<3>) -> Tensor<1> {
    let [rows, n, _] = eps.dims();
    let units = shape.units;
    let device = eps.device();
    let falls = activation::softplus(p[5].clone(), 1.0);
    let triangle: Vec<f32> = (0..rows * rows).map(|i| if i % rows <= i / rows { 1.0 } else { 0.0 }).collect();
    let triangle = Tensor::<2>::from_data(TensorData::new(triangle, [rows, rows]), &device);
    let log_snr = -triangle.matmul(falls.clone().reshape([rows, 1])) + shape.log_snr_1();
    let log_snr: Tensor<3> = log_snr.reshape([rows, 1, 1]);
    let falls: Tensor<3> = falls.reshape([rows, 1, 1]);
    let (alpha, sigma) = (activation::sigmoid(log_snr.clone()).sqrt(), activation::sigmoid(-log_snr.clone()).sqrt());
    let x0: Tensor<3> = x0.reshape([1, n, 2]);
    let x = x0.clone() * alpha.clone() + eps * sigma.clone();

    let centres = p[0].clone().reshape([units, 2]);
    let lengths = (centres.clone() * centres.clone()).sum_dim(1).reshape([1, 1, units]);
    let near: Tensor<3> =
        x.clone().reshape([rows * n, 2]).matmul(centres.clone().transpose()).reshape([rows, n, units]);
    let sharp: Tensor<3> = p[1].clone().exp().reshape([rows, 1, 1]);
    let gates = activation::softmax((near * 2.0 - lengths) * sharp, 2);

    let matrices: Tensor<3> = p[3].clone().reshape([rows, units, 4]);
    let across = |matrices: &Tensor<3>, by: Tensor<3>| {
        let product = matrices.clone() * by;
        product.clone().narrow(2, 0, 2) + product.narrow(2, 2, 2)
    };
    // A matrix is stored by columns: the first two numbers multiply the first coordinate.
    let spread = |v: Tensor<3>| {
        let (a, b) = (v.clone().narrow(2, 0, 1), v.narrow(2, 1, 1));
        Tensor::cat(vec![a.clone(), a, b.clone(), b], 2)
    };
    let at_centres = across(&matrices, spread(centres.reshape([1, units, 2])));
    let offsets = p[2].clone().reshape([rows, units, 2]) * sigma - at_centres;
    let factors: Tensor<3> = p[4].clone().reshape([rows, units, 3]);
    let said = gates.matmul(Tensor::cat(vec![offsets, matrices, factors], 2));
    let denoised = x.clone() * alpha + said.clone().narrow(2, 0, 2) + across(&said.clone().narrow(2, 2, 4), spread(x));

    // (SNR' - SNR)^(1/2): errors in units of the posterior's standard deviation.
    let gain = (log_snr.clone() + falls.clone()).exp() * (-(-falls).exp() + 1.0);
    let error = (x0 - denoised) * gain.sqrt();
    let (e, f) = (error.clone().narrow(2, 0, 1), error.narrow(2, 1, 1));
    let (u, v, c) = (said.clone().narrow(2, 6, 1), said.clone().narrow(2, 7, 1), said.narrow(2, 8, 1));
    let (a, b) = (u.clone().exp(), v.clone().exp());
    let square = |t: Tensor<3>| t.clone() * t;
    let tail = square(a.clone() * e.clone()) + square(c.clone() * e + b.clone() * f);
    let kl = (square(a) + square(b) + square(c) + tail - 2.0) * 0.5 - u - v;
    let last = log_snr.narrow(0, rows - 1, 1).reshape([1]);
    kl.sum() / n as f64 + activation::softplus(last, 1.0)
}

/// A trained model in double precision.
pub struct Model {
    shape: Shape,
    centres: Vec<Point>,
    sharp: Vec<f64>,
    /// What every unit says at every step.
    said: Vec<[f64; SAID]>,
    levels: Vec<NoiseLevel>,
}

/// The reverse kernel at a point: `p(x^(t-1) | x^t)`, a Gaussian.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// `f_mu`.
    pub mean: Point,
    /// Lower triangle of `U` with `f_Sigma = (U^T U)^-1`: `[[U00, 0], [U10, U11]]`.
    pub factor: [f64; 3],
}

impl Model {
    /// From trained parameters.
    pub fn new(shape: Shape, p: &[Vec<f32>]) -> Self {
        let wide = |v: &f32| f64::from(*v);
        let mut levels = vec![NoiseLevel::CLEAN];
        let mut log_snr = shape.log_snr_1();
        let level = |log_snr: f64| NoiseLevel::variance_preserving((-log_snr / 2.0).exp());
        levels.push(level(log_snr));
        for theta in &p[5] {
            log_snr -= f64::from(*theta).exp().ln_1p();
            levels.push(level(log_snr));
        }
        let said = (0..(shape.steps - 1) * shape.units)
            .map(|i| {
                let sigma = levels[2 + i / shape.units].sigma;
                let mut said = [0.0; SAID];
                let parts = [(0, 2, &p[2], sigma), (2, 4, &p[3], 1.0), (6, 3, &p[4], 1.0)];
                for (from, n, values, scale) in parts {
                    for k in 0..n {
                        said[from + k] = f64::from(values[i * n + k]) * scale;
                    }
                }
                said
            })
            .collect();
        let centres = p[0].chunks(2).map(|c| [wide(&c[0]), wide(&c[1])]).collect();
        Self { shape, centres, sharp: p[1].iter().map(|s| wide(s).exp()).collect(), said, levels }
    }

    /// `T`.
    pub fn steps(&self) -> usize {
        self.shape.steps
    }

    /// Units of the network.
    pub fn units(&self) -> usize {
        self.shape.units
    }

    /// The level of `x^t`, for `t = 0 ..= T`.
    pub fn level(&self, t: usize) -> NoiseLevel {
        self.levels[t]
    }

    /// `beta_t`, for `t = 1 ..= T`.
    pub fn beta(&self, t: usize) -> f64 {
        1.0 - (self.levels[t].alpha / self.levels[t - 1].alpha).powi(2)
    }

    /// `D` and the factor of the inverse covariance in units of the posterior's, at step `t = 2 ..= T`.
    fn answer(&self, x: Point, t: usize) -> (Point, [f64; 3]) {
        let row = t - 2;
        let distance = |c: &Point| (x[0] - c[0]).powi(2) + (x[1] - c[1]).powi(2);
        let nearest = self.centres.iter().map(distance).fold(f64::MAX, f64::min);
        let alpha = self.levels[t].alpha;
        let (mut sum, mut total) = ([0.0; 5], 0.0);
        for (c, said) in self.centres.iter().zip(&self.said[row * self.shape.units..]) {
            let gate = ((nearest - distance(c)) * self.sharp[row]).exp();
            let d = [x[0] - c[0], x[1] - c[1]];
            let linear = [0, 1].map(|i| said[i] + said[2 + i] * d[0] + said[4 + i] * d[1]);
            for (s, v) in sum.iter_mut().zip([linear[0], linear[1], said[6], said[7], said[8]]) {
                *s += gate * v;
            }
            total += gate;
        }
        let [dx, dy, u, v, c] = sum.map(|s| s / total);
        ([alpha * x[0] + dx, alpha * x[1] + dy], [u.exp(), c, v.exp()])
    }

    /// The coefficient of `x^t` and of `x^0` in the mean of the posterior `q(x^(t-1) | x^t, x^0)`, and its standard
    /// deviation [Ho20, Eq. 7].
    fn posterior(&self, t: usize) -> (f64, f64, f64) {
        let (from, to) = (self.levels[t], self.levels[t - 1]);
        let (of_x0, std) = undiffuse_math::likelihood::posterior(from, to);
        ((to.alpha - of_x0) / from.alpha, of_x0, std)
    }

    /// `p(x^(t-1) | x^t)`; the last one, `t = 1`, is the forward kernel [Sohl15, appendix B.2].
    pub fn reverse(&self, x: Point, t: usize) -> Kernel {
        if t == 1 {
            let at = self.levels[1];
            return Kernel { mean: x.map(|v| v * at.alpha), factor: [1.0 / at.sigma, 0.0, 1.0 / at.sigma] };
        }
        let (denoised, factor) = self.answer(x, t);
        let (of_x, of_x0, std) = self.posterior(t);
        Kernel { mean: [0, 1].map(|i| of_x * x[i] + of_x0 * denoised[i]), factor: factor.map(|f| f / std) }
    }

    /// `KL(q(x^(t-1) | x^t, x^0) ‖ p(x^(t-1) | x^t))` in nats, for `t = 2 ..= T`.
    pub fn divergence(&self, x0: Point, x: Point, t: usize) -> f64 {
        let kernel = self.reverse(x, t);
        let (of_x, of_x0, std) = self.posterior(t);
        let gap = [0, 1].map(|i| of_x * x[i] + of_x0 * x0[i] - kernel.mean[i]);
        let [a, c, b] = kernel.factor;
        let trace = (a * a + b * b + c * c) * std * std;
        let tail = (a * gap[0]).powi(2) + (c * gap[0] + b * gap[1]).powi(2);
        0.5 * (trace + tail - 2.0) - (a * std).ln() - (b * std).ln()
    }
}

impl Kernel {
    /// `N(0, I)`, from which `x^T` is drawn.
    pub const UNIT: Self = Self { mean: [0.0; 2], factor: [1.0, 0.0, 1.0] };

    /// The product with `exp(-Σ precision_i (x_i - at_i)² / 2)`, normalised.
    pub fn times(self, at: Point, precision: [f64; 2]) -> Self {
        let [a, c, b] = self.factor;
        // The inverse covariance U^T U, the new one, and its own lower triangle.
        let (xx, xy, yy) = (a * a + c * c + precision[0], c * b, b * b + precision[1]);
        let b = yy.sqrt();
        let c = xy / b;
        let a = (xx - c * c).sqrt();
        // The mean moves by the new covariance times the force of the second distribution at the old mean.
        let force = [0, 1].map(|i| precision[i] * (at[i] - self.mean[i]));
        let moved = Self { mean: self.mean, factor: [a, c, b] };
        let [sxx, sxy, syy] = moved.covariance();
        let mean = [self.mean[0] + sxx * force[0] + sxy * force[1], self.mean[1] + sxy * force[0] + syy * force[1]];
        Self { mean, ..moved }
    }

    /// A draw, from two standard normals: `mean + U^-1 z`.
    pub fn draw(&self, z: Point) -> Point {
        let [a, c, b] = self.factor;
        let first = z[0] / a;
        [self.mean[0] + first, self.mean[1] + (z[1] - c * first) / b]
    }

    /// `f_Sigma`: `[xx, xy, yy]`.
    pub fn covariance(&self) -> [f64; 3] {
        let [a, c, b] = self.factor;
        // U^-1 = [[1/a, 0], [-c/(ab), 1/b]].
        let low = -c / (a * b);
        [1.0 / (a * a), low / a, low * low + 1.0 / (b * b)]
    }
}

/// A batch as tensors: points and frozen noise.
pub fn batch(points: &[Point], eps: Vec<f32>, device: &Device) -> (Tensor<2>, Tensor<3>) {
    let n = points.len();
    let x0 = tensor(points.iter().flatten().map(|&v| v as f32).collect(), device).reshape([n, 2]);
    let rows = eps.len() / (2 * n);
    (x0, tensor(eps, device).reshape([rows, n, 2]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::normals;

    const SHAPE: Shape = Shape { steps: 6, units: 5, beta_1: 0.01 };

    /// A model with something to say at every step.
    fn parameters() -> Vec<Vec<f32>> {
        let start = initial(SHAPE, &Roll::new(), 1, 0);
        let shaken = |(k, p): (usize, Vec<f32>)| {
            let noise = normals(2, k as u64, p.len(), 0.3);
            p.into_iter().zip(noise).map(|(p, n)| p + n).collect()
        };
        start.into_iter().enumerate().map(shaken).collect()
    }

    /// The tensor path in single precision against the plain one in double.
    #[test]
    fn loss_is_the_sum_of_divergences() {
        let (p, device) = (parameters(), Device::flex());
        let model = Model::new(SHAPE, &p);
        let points = [[0.4, -1.1], [1.3, 0.2]];
        let eps = normals(3, 0, (SHAPE.steps - 1) * 2 * points.len(), 1.0);
        // The prior's divergence at |x0|² = 2, the mean of the data.
        let mut expected = -2.0 * model.level(SHAPE.steps).sigma.ln();
        for t in 2..=SHAPE.steps {
            let at = model.level(t);
            for (k, x0) in points.iter().enumerate() {
                let noise = &eps[((t - 2) * points.len() + k) * 2..];
                let x = [0, 1].map(|i| at.alpha * x0[i] + at.sigma * f64::from(noise[i]));
                expected += model.divergence(*x0, x, t) / points.len() as f64;
            }
        }
        let tensors: Vec<Tensor<1>> = p.into_iter().map(|p| tensor(p, &device)).collect();
        let (x0, eps) = batch(&points, eps, &device);
        let got = f64::from(loss(&tensors, SHAPE, x0, eps).into_scalar::<f32>());
        assert!((got / expected - 1.0).abs() < 1e-5, "{got} {expected}");
    }

    /// The divergence by the formulas of the authors' code (precisions of the two messages to `x^(t-1)`, from `x^0` and
    /// from `x^t`) and the general one for Gaussians.
    #[test]
    fn divergence_is_that_of_two_gaussians() {
        let model = Model::new(SHAPE, &parameters());
        let (x0, x) = ([0.4, -1.1], [0.2, 0.9]);
        for t in 2..=SHAPE.steps {
            let (beta, cumulative) = (model.beta(t), model.level(t).alpha.powi(2));
            let before = cumulative / (1.0 - beta);
            let (from_x0, from_x) = (1.0 - before, beta / (1.0 - beta));
            let variance = 1.0 / (1.0 / from_x0 + 1.0 / from_x);
            let kernel = model.reverse(x, t);
            let gap = [0, 1].map(|i| {
                let mean = (x0[i] * before.sqrt() / from_x0 + x[i] / (1.0 - beta).sqrt() / from_x) * variance;
                mean - kernel.mean[i]
            });
            let [xx, xy, yy] = kernel.covariance();
            let det = xx * yy - xy * xy;
            let tail = (yy * gap[0] * gap[0] - 2.0 * xy * gap[0] * gap[1] + xx * gap[1] * gap[1]) / det;
            let kl = 0.5 * (variance * (xx + yy) / det + tail - 2.0 + (det / variance.powi(2)).ln());
            let ours = model.divergence(x0, x, t);
            assert!((ours / kl - 1.0).abs() < 1e-10, "t {t}: {ours} {kl}");
        }
    }

    #[test]
    fn draws_have_the_covariance() {
        let kernel = Kernel { mean: [1.0, -2.0], factor: [2.0, 0.5, 4.0] };
        let [xx, xy, yy] = kernel.covariance();
        // A linear map of normals: its columns are the draws of the unit vectors.
        let columns = [[1.0, 0.0], [0.0, 1.0]].map(|z| {
            let x = kernel.draw(z);
            [x[0] - kernel.mean[0], x[1] - kernel.mean[1]]
        });
        let product = |i: usize, j: usize| columns.iter().map(|c| c[i] * c[j]).sum::<f64>();
        assert!((product(0, 0) - xx).abs() < 1e-15 && (product(0, 1) - xy).abs() < 1e-15);
        assert!((product(1, 1) - yy).abs() < 1e-15);
        // And its inverse is U^T U.
        assert!((xx * (4.0 + 0.25) + xy * 2.0 - 1.0).abs() < 1e-14);
    }
}
