//! Likelihoods of Gaussian mixtures, whose denoiser and density are known exactly.

use undiffuse::codec::AnyCodec;
use undiffuse::denoise::{Cond, Mixture};
use undiffuse::likelihood::bound::{self, BoundSettings, StepVariance};
use undiffuse::likelihood::flow::{self, FlowSettings, Trace};
use undiffuse::likelihood::{self, Dequantize, Estimate, TestPictures};
use undiffuse::math::likelihood::{bits_per_dim, log_normal};
use undiffuse::math::noise;
use undiffuse::math::ode::DormandPrince;
use undiffuse::math::parameterization::{Eps, X0};
use undiffuse::math::prelude::*;
use undiffuse::math::spacing::LogSnr;

struct Case {
    oracle: Mixture,
    pictures: TestPictures,
    schedule: ScheduleKind,
}

/// `n` draws from a mixture of four Gaussians.
fn case(shape: [usize; 3], n: usize, schedule: &str) -> Case {
    let dims: usize = shape.iter().product();
    let device = undiffuse::device::open("cpu").unwrap().autodiff();
    let components: Vec<(f64, Vec<f32>, f64)> = [(0.4, 0.15), (0.3, 0.3), (0.2, 0.1), (0.1, 0.5)]
        .into_iter()
        .enumerate()
        .map(|(k, (weight, std))| {
            let mut mean = vec![0.0; dims];
            noise::normal(7, k as u64, 0, &mut mean);
            (weight, mean, std)
        })
        .collect();
    let mut x0 = Vec::new();
    for k in 0..n {
        let u = noise::uniform(11, k as u64, 0);
        let mut sum = 0.0;
        let of = components.iter().find(|c| {
            sum += c.0;
            u < sum
        });
        let (_, mean, std) = of.unwrap_or(&components[0]);
        let mut eps = vec![0.0; dims];
        noise::normal(13, k as u64, 0, &mut eps);
        x0.extend(mean.iter().zip(eps).map(|(m, e)| m + *std as f32 * e));
    }
    let seeds = (0..n as u64).collect();
    let pictures =
        TestPictures { shape, x0, codec: AnyCodec::default(), range: (-1.0, 1.0), seeds, cond: Cond::default() };
    Case { oracle: Mixture::new(&components, &device), pictures, schedule: schedule.parse().unwrap() }
}

impl Case {
    fn plan(&self, steps: usize) -> Plan {
        let grid = Grid::new(&*self.schedule, &LogSnr {}, steps, Last::Clean).unwrap();
        likelihood::plan(&grid, &X0 {}).unwrap()
    }

    fn flow(&self, trace: Trace, dequantize: Dequantize) -> Vec<f64> {
        let settings = FlowSettings { trace, integrator: DormandPrince::default(), batch: 1000, dequantize };
        let level_at = |log_snr| self.schedule.level_at(log_snr);
        let plan = self.plan(50);
        flow::flow(&self.oracle, &plan, &level_at, &self.pictures, &settings, &mut |_, _| true).unwrap().nll
    }

    fn bound(&self, steps: usize, variance: StepVariance) -> bound::Bound {
        let settings = BoundSettings { evaluations: steps, batch: 1000, dequantize: Dequantize::None, variance };
        bound::bound(&self.oracle, &self.plan(steps), &self.pictures, &settings, &mut |_, _| true).unwrap()
    }

    fn bits(&self, nats: &[f64]) -> Estimate {
        let bits: Vec<f64> = nats.iter().map(|n| bits_per_dim(*n, self.pictures.dims())).collect();
        Estimate::of(&bits)
    }

    /// `-ln p(y)` of `y = x / alpha` at the cleanest level of a plan of `steps`, for `y = x0`.
    fn truth(&self, steps: usize) -> Vec<f64> {
        let level = self.plan(steps).rows.last().unwrap().level;
        let dims = self.pictures.dims();
        let one = |x0: &[f32]| {
            let x: Vec<f32> = x0.iter().map(|x| (f64::from(*x) * level.alpha) as f32).collect();
            -self.oracle.log_density(&x, level) - dims as f64 * level.alpha.ln()
        };
        self.pictures.x0.chunks(dims).map(one).collect()
    }

    /// `ln q(x1 | x0) - ln p(x1)` averaged over the noise of `x1`, which the prior and the steps of a bound bound.
    fn latent_truth(&self, steps: usize) -> f64 {
        let level = self.plan(steps).rows.last().unwrap().level;
        let dims = self.pictures.dims();
        let draws: Vec<f64> = (0..20)
            .flat_map(|draw| {
                self.pictures.x0.chunks(dims).enumerate().map(move |(k, x0)| {
                    let mut eps = vec![0.0; dims];
                    noise::normal(1000 + draw, k as u64, 0, &mut eps);
                    let square = eps.iter().map(|e| f64::from(*e).powi(2)).sum::<f64>();
                    let x: Vec<f32> = x0
                        .iter()
                        .zip(&eps)
                        .map(|(x, e)| (level.alpha * f64::from(*x) + level.sigma * f64::from(*e)) as f32)
                        .collect();
                    log_normal(square, dims, 1.0) - dims as f64 * level.sigma.ln() - self.oracle.log_density(&x, level)
                })
            })
            .collect();
        self.bits(&draws).mean
    }
}

const SHAPES: [[usize; 3]; 2] = [[1, 1, 2], [1, 8, 8]];

#[test]
fn the_ode_finds_the_density() {
    for shape in SHAPES {
        for schedule in ["vp", "ve", "linear", "flow:t_min=0.01", "linear:rescale_zero_snr=true"] {
            let case = case(shape, 24, schedule);
            let truth = case.truth(50);
            for (trace, tolerance) in [(Trace::Exact, 0.01), (Trace::Rademacher(4), 0.1), (Trace::Gaussian(4), 0.2)] {
                if trace == Trace::Exact && shape[1] > 1 && schedule != "vp" {
                    continue;
                }
                let found = case.flow(trace, Dequantize::None);
                let off: Vec<f64> = found.iter().zip(&truth).map(|(a, b)| a - b).collect();
                let off = case.bits(&off);
                // Probes are unbiased: their mean error is what is left of chance.
                let tolerance = if trace == Trace::Exact { tolerance } else { 4.0 * off.standard_error + 0.01 };
                assert!(off.mean.abs() < tolerance, "{shape:?} {schedule} {trace:?}: off by {off:?} bits/dim");
            }
        }
    }
}

#[test]
fn the_bound_is_never_below_the_truth_and_reaches_it() {
    for shape in SHAPES {
        let case = case(shape, 100, "vp");
        let mut gaps = Vec::new();
        for steps in [10, 40, 160, 640] {
            let bound = case.bound(steps, StepVariance::Posterior);
            let latent: Vec<f64> = bound.prior.iter().zip(&bound.steps).map(|(a, b)| a + b).collect();
            let (found, truth) = (case.bits(&latent), case.latent_truth(steps));
            let gap = found.mean - truth;
            assert!(gap > -3.0 * found.standard_error, "{shape:?}, {steps} steps: {found:?} is below {truth}");
            gaps.push(gap);
        }
        assert!(gaps.windows(2).all(|g| g[1] < g[0]), "{shape:?}: {gaps:?}");
        assert!(gaps[3] < 0.08 && gaps[3] < 0.4 * gaps[2], "{shape:?}: {gaps:?}");
        // The variance that was made to be best is, and most with few steps.
        let few = case.bound(10, StepVariance::Posterior);
        let errors = few.curve.iter().map(|s| s.error).collect();
        let best = case.bits(&case.bound(10, StepVariance::Optimal(errors)).steps).mean;
        let others = [StepVariance::Posterior, StepVariance::Forward].map(|v| case.bits(&case.bound(10, v).steps).mean);
        assert!(others.iter().all(|other| best < *other), "{shape:?}: {best} {others:?}");
    }
}

/// A stratified part of the steps gives the same bound within its error.
#[test]
fn a_part_of_the_steps_is_enough() {
    let case = case([1, 8, 8], 200, "vp");
    let all = case.bits(&case.bound(200, StepVariance::Posterior).steps);
    let plan = case.plan(200);
    let settings =
        BoundSettings { evaluations: 10, batch: 64, dequantize: Dequantize::None, variance: StepVariance::Posterior };
    let part = bound::bound(&case.oracle, &plan, &case.pictures, &settings, &mut |_, _| true).unwrap();
    let part = case.bits(&part.steps);
    let error = all.standard_error.hypot(part.standard_error);
    assert!((all.mean - part.mean).abs() < 3.0 * error, "{all:?} {part:?}");
}

/// One picture's numbers do not depend on the pictures beside it.
#[test]
fn a_picture_is_alone() {
    let case = case([1, 8, 8], 9, "vp");
    let together = case.flow(Trace::Rademacher(1), Dequantize::Gaussian);
    let bounds = case.bound(20, StepVariance::Posterior);
    let dims = case.pictures.dims();
    for k in [0, 4, 8] {
        let one = TestPictures {
            x0: case.pictures.x0[k * dims..(k + 1) * dims].to_vec(),
            seeds: vec![case.pictures.seeds[k]],
            ..case.pictures.clone()
        };
        let alone = Case { pictures: one, ..self::case([1, 8, 8], 9, "vp") };
        assert!((alone.flow(Trace::Rademacher(1), Dequantize::Gaussian)[0] - together[k]).abs() < 1e-4);
        assert!((alone.bound(20, StepVariance::Posterior).steps[0] - bounds.steps[k]).abs() < 1e-4);
    }
}

#[test]
fn what_means_nothing_is_said() {
    let message = |schedule: &str, steps: usize| {
        let schedule: ScheduleKind = schedule.parse().unwrap();
        let grid = Grid::new(&*schedule, &LogSnr {}, steps, Last::Clean).unwrap();
        likelihood::plan(&grid, &X0 {}).map(|_| ()).map_err(|e| e.to_string())
    };
    assert!(message("vp", 1).is_err_and(|e| e.contains("at least 2")));
    assert!(message("linear:beta_end=0.0005", 10).is_err_and(|e| e.contains("noisier")));
    let zero: ScheduleKind = "linear:rescale_zero_snr=true".parse().unwrap();
    let grid = Grid::new(&*zero, &LogSnr {}, 10, Last::Clean).unwrap();
    assert!(likelihood::plan(&grid, &Eps {}).is_err_and(|e| e.to_string().contains("alpha = 0")));
    assert!(likelihood::plan(&grid, &X0 {}).is_ok());
}
