//! The data: a published generator of unit variance, its exact density, its entropy.
//!
//! With `u` uniform in (0, 1) and `phi = 3π/2 · (1 + 2 u)`, the roll is `(phi cos phi, phi sin phi)`: one and a half
//! turns, the third coordinate of the usual swiss roll left out. Each axis is centred and scaled by its exact mean and
//! standard deviation, then the point is `sqrt(1 - NOISE²)` times that plus `NOISE` times a standard normal, so each
//! axis has mean 0 and variance 1. The paper does not state its generator.

use std::f64::consts::{LN_2, PI};

use undiffuse_data::figure::Layer;
use undiffuse_math::noise;

/// A point of the plane.
pub type Point = [f64; 2];

/// Standard deviation of the noise across and along the curve.
pub const NOISE: f64 = 0.001;

/// The curve without its noise, and how to move along it.
pub struct Roll {
    mean: Point,
    scale: Point,
}

fn angle(u: f64) -> f64 {
    1.5 * PI * (1.0 + 2.0 * u)
}

impl Roll {
    /// The curve, its moments integrated by the midpoint rule.
    pub fn new() -> Self {
        let n = 1 << 16;
        let points = || (0..n).map(|k| raw((k as f64 + 0.5) / n as f64));
        let mean: Point = [0, 1].map(|i| points().map(|p| p[i]).sum::<f64>() / n as f64);
        let variance = [0, 1].map(|i| points().map(|p| (p[i] - mean[i]).powi(2)).sum::<f64>() / n as f64);
        Self { mean, scale: variance.map(|v| ((1.0 - NOISE * NOISE) / v).sqrt()) }
    }

    /// The point of the curve at `u`.
    pub fn curve(&self, u: f64) -> Point {
        let p = raw(u);
        [0, 1].map(|i| (p[i] - self.mean[i]) * self.scale[i])
    }

    /// The derivative of the curve by `u`.
    fn velocity(&self, u: f64) -> Point {
        let (sin, cos) = angle(u).sin_cos();
        let d = [cos - angle(u) * sin, sin + angle(u) * cos];
        [0, 1].map(|i| 3.0 * PI * d[i] * self.scale[i])
    }

    /// Speed, the unit normal and the curvature of the curve at `u`.
    fn frame(&self, u: f64) -> (f64, Point, f64) {
        let v = self.velocity(u);
        let speed = v[0].hypot(v[1]);
        let h = 1e-5;
        let (a, b) = (self.velocity(u - h), self.velocity(u + h));
        let turn = [0, 1].map(|i| (b[i] - a[i]) / (2.0 * h));
        (speed, [-v[1] / speed, v[0] / speed], (v[0] * turn[1] - v[1] * turn[0]) / speed.powi(3))
    }

    /// The curve as a grey line.
    pub fn layer(&self) -> Layer {
        let points = (0..=400).map(|k| self.curve(f64::from(k) / 400.0)).map(|[x, y]| (x, y)).collect();
        Layer::Line { name: String::new(), points, color: Some([190; 3]) }
    }

    /// The `u` of the curve's point nearest to `x`, below 1, and its distance.
    pub fn nearest(&self, x: Point) -> (f64, f64) {
        let distance = |u: f64| {
            let c = self.curve(u);
            (x[0] - c[0]).hypot(x[1] - c[1])
        };
        // The best of a coarse grid lies in the valley of the answer; thirds of its surroundings find the bottom.
        let n = 500;
        let coarse = (0..=n).map(|k| f64::from(k) / f64::from(n)).min_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        let u = coarse.unwrap_or(0.0);
        let (mut low, mut high) = ((u - 1.0 / f64::from(n)).max(0.0), (u + 1.0 / f64::from(n)).min(1.0 - 1e-12));
        for _ in 0..40 {
            let third = (high - low) / 3.0;
            if distance(low + third) < distance(high - third) { high -= third } else { low += third }
        }
        (low, distance(low))
    }

    /// Point `index` of a stream.
    pub fn draw(&self, seed: u64, stream: u64, index: u64) -> Point {
        let u = noise::uniform(seed, stream, index);
        let mut z = [0.0; 2];
        // A stream of its own for the normals.
        noise::normal(seed, stream | 1 << 63, 2 * index, &mut z);
        let c = self.curve(u);
        [0, 1].map(|i| c[i] + NOISE * f64::from(z[i]))
    }

    /// The density near the curve's point at `u0`, all other parts of the curve being too far away to matter.
    fn density_near(&self, x: Point, u0: f64, speed: f64) -> f64 {
        // The trapezoidal rule on a Gaussian with a fifth of its width as step is exact to 10⁻¹⁶, ends apart; the
        // ends of the curve take half a weight.
        let reach = 9.0 * NOISE / speed;
        let (low, high) = ((u0 - reach).max(0.0), (u0 + reach).min(1.0));
        if low >= high {
            return 0.0;
        }
        let n = ((high - low) / (NOISE / 5.0 / speed)).ceil() as usize;
        let du = (high - low) / n as f64;
        let term = |k: usize| {
            let c = self.curve(low + du * k as f64);
            let square = (x[0] - c[0]).powi(2) + (x[1] - c[1]).powi(2);
            (-square / (2.0 * NOISE * NOISE)).exp() * if k == 0 || k == n { 0.5 } else { 1.0 }
        };
        (0..=n).map(term).sum::<f64>() * du / (2.0 * PI * NOISE * NOISE)
    }

    /// Total probability and differential entropy in bits, by integrating the density over the plane in the
    /// coordinates along and across the curve; `every` is the spacing of points in units of the noise.
    pub fn integrals(&self, every: f64) -> (f64, f64) {
        let (mut mass, mut entropy) = (0.0, 0.0);
        let mut visit = |u: f64, length: f64| {
            let (speed, normal, curvature) = self.frame(u);
            let c = self.curve(u);
            let reach = (8.0 / every).ceil() as i32;
            for k in -reach..=reach {
                let across = f64::from(k) * every * NOISE;
                let x = [0, 1].map(|i| c[i] + across * normal[i]);
                let p = self.density_near(x, u, speed);
                let area = length * every * NOISE * (1.0 - curvature * across);
                if p > 0.0 {
                    mass += p * area;
                    entropy -= p * p.ln() / LN_2 * area;
                }
            }
        };
        // Steps of equal length near the ends, where the density falls off; in between it changes with the curve
        // alone, and a thousand Simpson steps are plenty.
        let margin = |u: f64| 16.0 * NOISE / self.frame(u).0;
        for end in [0.0, 1.0] {
            let n = (32.0 / every) as usize;
            let half = margin(end);
            for k in 0..n {
                let u = end - half + 2.0 * half * (k as f64 + 0.5) / n as f64;
                let (speed, ..) = self.frame(u);
                visit(u, 2.0 * half / n as f64 * speed);
            }
        }
        let (low, high, n) = (margin(0.0), 1.0 - margin(1.0), 1000);
        for k in 0..=n {
            let u = low + (high - low) * f64::from(k) / f64::from(n);
            let simpson = if k == 0 || k == n { 1.0 } else { [2.0, 4.0][k as usize % 2] } / 3.0;
            visit(u, simpson * (high - low) / f64::from(n) * self.frame(u).0);
        }
        (mass, entropy)
    }
}

impl Default for Roll {
    fn default() -> Self {
        Self::new()
    }
}

fn raw(u: f64) -> Point {
    let (sin, cos) = angle(u).sin_cos();
    [angle(u) * cos, angle(u) * sin]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_variance() {
        let roll = Roll::new();
        let n = 100_000;
        for axis in 0..2 {
            let points = || (0..n).map(|k| roll.draw(3, 0, k)[axis]);
            let mean = points().sum::<f64>() / n as f64;
            let variance = points().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.015, "{mean} {variance}");
        }
    }

    /// Mass one, and the entropy of a thin line: `E[log2 ds/du] + log2(NOISE sqrt(2πe))`, by an integral of its own.
    #[test]
    fn entropy_is_that_of_a_thin_line() {
        let roll = Roll::new();
        let (mass, entropy) = roll.integrals(0.25);
        assert!((mass - 1.0).abs() < 1e-6, "{mass}");
        let n = 100_000;
        let length = (0..n).map(|k| roll.frame((k as f64 + 0.5) / n as f64).0.log2()).sum::<f64>() / n as f64;
        let thin = length + (NOISE * (2.0 * PI * std::f64::consts::E).sqrt()).log2();
        println!("entropy {entropy} thin {thin}");
        // The ends add what a sharp end cut would not have: of the order of NOISE.
        assert!((entropy - thin).abs() < 0.005, "{entropy} {thin}");
    }

    /// The same entropy as the mean of `-log2 p` over drawn points, with the density summed over the whole curve.
    #[test]
    fn entropy_is_the_mean_surprise() {
        let roll = Roll::new();
        let n = 4000;
        let surprise: Vec<f64> = (0..n)
            .map(|k| {
                let u = noise::uniform(5, 0, k);
                let x = roll.draw(5, 0, k);
                -roll.density_near(x, u, roll.frame(u).0).log2()
            })
            .collect();
        let mean = surprise.iter().sum::<f64>() / n as f64;
        let std = (surprise.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
        let (_, entropy) = roll.integrals(0.25);
        assert!((mean - entropy).abs() < 4.0 * std / (n as f64).sqrt(), "{mean} {entropy}");
    }
}
