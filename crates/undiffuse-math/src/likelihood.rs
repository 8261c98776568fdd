//! The terms of the variational bound, in nats.
//!
//! A picture's code has three parts [Ho20, Eq. 5]: how much its noisiest version tells about it (the prior term), what
//! each denoising step corrects, and the last rounding to pixel values (reconstruction). With the levels of a
//! [`Plan`] each is a line of arithmetic; only the error `‖D - x0‖²` needs a network.

use crate::{level::NoiseLevel, plan::Plan, schedule::Schedule, variance::log_range_after};
use std::f64::consts::{LN_2, PI};

/// Nats as bits per dimension.
pub fn bits_per_dim(nats: f64, dims: usize) -> f64 {
    nats / (dims.max(1) as f64 * LN_2)
}

/// `KL(N(m, q² I) ‖ N(m', p² I))` in `dims` dimensions, with `gap = ‖m - m'‖²`.
pub fn gaussian_kl(gap: f64, dims: usize, q: f64, p: f64) -> f64 {
    let ratio = (q / p).powi(2);
    0.5 * (dims as f64 * (ratio - 1.0 - ratio.ln()) + gap / (p * p))
}

/// The prior term: from `q(x_T | x0) = N(alpha x0, sigma² I)` to `N(0, start² I)`; `square = ‖x0‖²`.
pub fn prior_kl(square: f64, dims: usize, level: NoiseLevel, start: f64) -> f64 {
    gaussian_kl(level.alpha * level.alpha * square, dims, level.sigma, start)
}

/// A step's Gaussian posterior `q(x' | x, x0)`: the factor on `x0` in its mean, and its standard deviation [Ho20, Eq.
/// 7]. With `r` the ratio of the two `sigma / alpha` they are `alpha' (1 - r²)` and `sigma' sqrt(1 - r²)`.
pub fn posterior(from: NoiseLevel, to: NoiseLevel) -> (f64, f64) {
    let kept = 1.0 - (from.alpha * to.sigma / (to.alpha * from.sigma)).powi(2);
    (to.alpha * kept, to.sigma * kept.max(0.0).sqrt())
}

/// The standard deviation of the noise that the forward process adds between the two levels of a step, `sigma sqrt(1 -
/// r²)`: the upper choice of [Ho20, section 3.2], `sqrt(beta)`.
pub fn forward_std(from: NoiseLevel, to: NoiseLevel) -> f64 {
    let ratio = from.alpha * to.sigma / (to.alpha * from.sigma);
    from.sigma * (1.0 - ratio * ratio).max(0.0).sqrt()
}

/// What the bound's term of one step needs to know where the network learns the step's variance.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct LearnedStep {
    /// Standard deviation of the posterior; at the clean end that of the values' rounding.
    pub posterior: f64,
    /// See [`log_range`](crate::variance::log_range).
    pub log_variances: (f64, f64),
    /// Factor on `x0` in the posterior's mean.
    pub weight: f64,
}

/// The step that ends at the timestep before `time`, of the schedule's timesteps or of a thousand [Nichol21, section 3.1].
///
/// `rounding` is the standard deviation of a value within its pixel value's interval: the last step has to hit `x0` no
/// closer.
pub fn learned_step(schedule: &dyn Schedule, time: f64, rounding: f64) -> LearnedStep {
    let (clean, noisy) = schedule.range();
    let step = match schedule.discrete_steps() {
        Some(steps) => (noisy - clean) / (steps as f64 - 1.0).max(1.0),
        None => (noisy - clean) / 1000.0,
    };
    let from = schedule.level(time);
    let to = if time - step < clean - 1e-9 * step { NoiseLevel::CLEAN } else { schedule.level(time - step) };
    let (weight, std) = posterior(from, to);
    let before = (schedule.level(time + step), from);
    let posterior = if std > 0.0 { std } else { rounding };
    LearnedStep { posterior, log_variances: log_range_after(Some(before), from, to), weight }
}

/// A step's term: from its posterior to the model's `N(mean with D in the place of x0, std² I)`; `error = ‖D - x0‖²`.
///
/// With `std` that of the posterior it is `(SNR' - SNR) / 2 · ‖D - x0‖²` [Kingma21, Eq. 13].
pub fn step_kl(from: NoiseLevel, to: NoiseLevel, error: f64, dims: usize, std: f64) -> f64 {
    let (weight, posterior) = posterior(from, to);
    gaussian_kl(weight * weight * error, dims, posterior, std)
}

/// The variance of a step that makes the bound smallest for all pictures together [Bao22, Eq. 7]: the posterior's, and
/// what the uncertainty of `x0` adds, `variance = E‖x0 - D‖² / dims`.
pub fn optimal_std(from: NoiseLevel, to: NoiseLevel, variance: f64) -> f64 {
    let (weight, posterior) = posterior(from, to);
    (posterior * posterior + weight * weight * variance).sqrt()
}

/// A plan of ancestral sampling with the noise of [`optimal_std`] in the place of its own [Bao22, Eq. 7]: fewer steps need
/// more of it. `errors` are `(log_snr, E‖x0 - D‖² / dims)` of the model, measured on pictures; between them it is
/// interpolated, beyond them the nearest holds.
///
/// The noise of the last row that adds any is kept to `last`: what it adds is seen in the picture. The paper's authors allow
/// twice a pixel value there in the mean, `2 · 2 / 255 · sqrt(π / 2)` for pixels in [-1, 1]; infinity is no limit.
pub fn with_optimal_variance(mut plan: Plan, errors: &[(f64, f64)], last: f64) -> Plan {
    let mut known: Vec<(f64, f64)> = errors.iter().copied().filter(|(l, e)| l.is_finite() && e.is_finite()).collect();
    known.sort_by(|a, b| a.0.total_cmp(&b.0));
    let error = |log_snr: f64| match known.partition_point(|(l, _)| *l < log_snr) {
        _ if known.is_empty() => 0.0,
        0 => known[0].1,
        k if k == known.len() => known[k - 1].1,
        k => {
            let ((l0, e0), (l1, e1)) = (known[k - 1], known[k]);
            e0 + (e1 - e0) * (log_snr - l0) / (l1 - l0)
        }
    };
    for row in plan.rows.iter_mut().filter(|row| row.next.sigma > 0.0) {
        row.noise = optimal_std(row.level, row.next, error(row.level.bounded_log_snr()));
    }
    if let Some(row) = plan.rows.iter_mut().rev().find(|row| row.next.sigma > 0.0) {
        row.noise = row.noise.min(last);
    }
    plan
}

/// `ln P(x)` of a value that stands for an interval `x ± half` under `N(mean, std²)`; the outermost intervals, which
/// end at `±1`, reach to infinity [Ho20, Eq. 13].
pub fn discretized_gaussian(x: f64, mean: f64, std: f64, half: f64) -> f64 {
    let edge = |limit: f64| (x + limit - mean) / std;
    let low = if x - half < -1.0 { f64::NEG_INFINITY } else { edge(-half) };
    let high = if x + half > 1.0 { f64::INFINITY } else { edge(half) };
    // On the side where both tails are small, so that nothing cancels.
    let (low, high) = if low + high > 0.0 { (-high, -low) } else { (low, high) };
    let (small, large) = (log_normal_cdf(low), log_normal_cdf(high));
    large + (-(small - large).exp()).ln_1p()
}

/// `ln Φ(x)`.
fn log_normal_cdf(x: f64) -> f64 {
    if x > -20.0 {
        (0.5 * libm::erfc(-x / 2f64.sqrt())).ln()
    } else if x == f64::NEG_INFINITY {
        x
    } else {
        // The asymptotic series of the tail [Abramowitz64, 26.2.12].
        let s = x.powi(-2);
        -0.5 * x * x - (-x * (2.0 * PI).sqrt()).ln() + (-s + 3.0 * s * s - 15.0 * s.powi(3)).ln_1p()
    }
}

/// `ln N(x; 0, std² I)` in `dims` dimensions, `square = ‖x‖²`.
pub fn log_normal(square: f64, dims: usize, std: f64) -> f64 {
    -0.5 * square / (std * std) - dims as f64 * (std * (2.0 * PI).sqrt()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By quadrature of `∫ q ln (q / p)`.
    #[test]
    fn kl_is_the_integral() {
        let density = |x: f64, mean: f64, std: f64| log_normal((x - mean).powi(2), 1, std);
        for (gap, q, p) in [(0.7, 0.4, 0.9), (-1.5, 1.2, 1.2), (0.1, 2.0, 0.8)] {
            let n = 200_000;
            let sum: f64 = (0..n)
                .map(|i| {
                    let x = 12.0 * q * ((f64::from(i) + 0.5) / f64::from(n) - 0.5);
                    let log_q = density(x, 0.0, q);
                    log_q.exp() * (log_q - density(x, gap, p)) * 12.0 * q / f64::from(n)
                })
                .sum();
            assert!((gaussian_kl(gap * gap, 1, q, p) - sum).abs() < 1e-6);
        }
    }

    #[test]
    fn steps_are_differences_of_snr() {
        let (from, to) = (NoiseLevel { alpha: 0.6, sigma: 0.8 }, NoiseLevel { alpha: 0.9, sigma: 0.3 });
        let (_, std) = posterior(from, to);
        let expected = 0.5 * (to.snr() - from.snr()) * 2.5;
        assert!((step_kl(from, to, 2.5, 10, std) - expected).abs() < 1e-12);
        // No other variance does better than the optimal one when the error is what it was made for.
        let best = optimal_std(from, to, 0.25);
        let at = |std| step_kl(from, to, 2.5, 10, std);
        assert!(at(best) < at(best * 1.01) && at(best) < at(best * 0.99) && at(best) < at(std));
    }

    /// With the exact denoiser of normal data a chain of a few steps has the data's variance if its noise is the optimal one,
    /// and less with the posterior's.
    #[test]
    fn optimal_noise_keeps_the_variance() {
        use crate::{prelude::*, solver::Ddpm};
        let (schedule, std) = ("vp".parse::<ScheduleKind>().unwrap(), 0.7);
        let spacing: SpacingKind = "log-snr".parse().unwrap();
        let plan = Grid::new(&*schedule, &*spacing, 6, Last::FirstStep).unwrap().plan(&Ddpm::default()).unwrap();
        // E[x0 | x] = gain x, and what it leaves open.
        let gain = |at: NoiseLevel| at.alpha * std * std / ((at.alpha * std).powi(2) + at.sigma.powi(2));
        let open = |at: NoiseLevel| std * std * (1.0 - gain(at) * at.alpha);
        let errors: Vec<(f64, f64)> = plan.rows.iter().map(|r| (r.level.bounded_log_snr(), open(r.level))).collect();
        let end = |plan: &Plan| {
            let first = plan.rows[0].level;
            let start = (first.alpha * std).powi(2) + first.sigma.powi(2);
            let step =
                |v: f64, row: &Row| (row.x[0] + row.denoised[0] * gain(row.level)).powi(2) * v + row.noise.powi(2);
            let last = plan.rows[plan.rows.len() - 1].next;
            plan.rows.iter().fold(start, step) / ((last.alpha * std).powi(2) + last.sigma.powi(2))
        };
        let optimal = with_optimal_variance(plan.clone(), &errors, f64::INFINITY);
        assert!((end(&optimal) - 1.0).abs() < 1e-9, "{}", end(&optimal));
        let kept = with_optimal_variance(plan.clone(), &errors, 1e-3).rows;
        assert_eq!(kept[..kept.len() - 1], optimal.rows[..kept.len() - 1]);
        assert_eq!(kept[kept.len() - 1].noise, 1e-3);
        assert!(end(&plan) < 0.9, "{}", end(&plan));
    }

    /// All probabilities of the 256 values add up, and far tails stay finite.
    #[test]
    fn a_discretized_gaussian_is_a_distribution() {
        for (mean, std) in [(0.1, 0.3), (-0.99, 0.01), (1.3, 0.05), (0.0, 1e-3)] {
            let half = 1.0 / 255.0;
            let sum: f64 =
                (0..256).map(|k| discretized_gaussian(f64::from(k) / 127.5 - 1.0, mean, std, half).exp()).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{mean} {std}: {sum}");
        }
        // 0.5 ± 1/255 is 200 standard deviations off: the density at its near edge decides.
        let far = discretized_gaussian(0.5, -1.5, 0.01, 1.0 / 255.0);
        let z: f64 = (2.0 - 1.0 / 255.0) / 0.01;
        assert!((far - (-0.5 * z * z - (z * (2.0 * PI).sqrt()).ln())).abs() < 1e-3, "{far}");
        // ln Φ(-21) by a table of the normal tail: Φ(-20) is 2.753624e-89.
        assert!((log_normal_cdf(-20.0 + 1e-9) - 2.753_624_1e-89f64.ln()).abs() < 1e-5);
        assert!((log_normal_cdf(-20.0) - log_normal_cdf(-20.0 + 1e-9)).abs() < 1e-6);
    }
}
