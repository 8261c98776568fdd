//! Solvers: from a list of levels to a [`Plan`].
//!
//! Write `r = (alpha sigma') / (alpha' sigma)` for the step from `(alpha, sigma)` to `(alpha', sigma')`: the ratio of
//! the two `sigma / alpha`, which is `exp(-h)` with `h` half the gain in log-SNR. In `x / alpha` and `sigma / alpha`
//! every schedule is the variance-exploding one, and the methods of the literature become the same few lines of `r`.
//! What is left of `alpha` never stands alone in a denominator, so pure noise (`r = 0`) and the clean end need no
//! special schedule.
//!
#![doc = include_str!("rows.md")]

mod ancestral;
mod basis;
mod checked;
mod coordinate;
mod exponential;
mod raise;
mod terms;
mod two_stage;

pub use checked::{MOST_NFE, PlanError};
pub use coordinate::Coordinate;
pub use ddpm::AncestralVariance;
pub use dpmpp_2m::Correction;
pub use exponential::Predict;
pub use plms::{Combine, PlmsStart};
pub use unipc::UnipcVariant;

use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
    registry::{kind, require},
};
use std::fmt::Debug;

/// A way to walk through levels.
pub trait Solver: Debug + Send + Sync {
    /// The rows of [`Solver::plan`], which has checked the options and the levels: two or more, finite, and falling in
    /// noise, though neighbours may be equal.
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan;

    /// How many evaluations of the denoiser a walk through `levels` takes, which is the number of rows of its plan.
    fn nfe(&self, levels: &[NoiseLevel]) -> usize {
        levels.len().saturating_sub(1)
    }

    /// The plan for a walk through `levels`, which fall in noise; fewer than two give no rows.
    ///
    /// # Errors
    /// Options that [`Solver::check`] refuses, numbers that are no level, more evaluations than [`MOST_NFE`],
    /// coefficients that overflow.
    fn plan(&self, levels: &[NoiseLevel]) -> Result<Plan, PlanError> {
        checked::plan(self, levels)
    }

    /// Order of convergence on the probability-flow ODE; `None` for methods that add noise.
    fn order(&self) -> Option<f64>;

    /// Order at which mean and covariance of the samples approach those of normal data; `None` for methods without
    /// noise, and for those that never get there.
    fn weak_order(&self) -> Option<f64> {
        None
    }

    /// Whether every row, given `x` with exactly the signal of its level, ends with exactly the signal of the next.
    fn exact_mean(&self) -> bool {
        true
    }

    /// Whether `D` is meant to be a consistency function, the end of the probability-flow ODE through `x`, instead of
    /// the average of all clean images that could have led to `x`.
    fn wants_consistency(&self) -> bool {
        false
    }

    /// Whether the noise of every row is that of an ancestral step between its levels, so that a variance which was
    /// learnt for such steps, or is best for them, may take its place [Nichol21, section 3.1; Bao22, Eq. 7].
    fn takes_variance(&self) -> bool {
        false
    }

    /// Whether every row, given `x` with exactly the noise of its level, ends with exactly the noise of the next.
    fn exact_variance(&self) -> bool {
        true
    }

    /// Whether the plan walks the levels from the last to the first: from a picture up to noise.
    fn rises(&self) -> bool {
        false
    }

    /// Whether the options make sense together.
    ///
    /// # Errors
    /// Says which option is wrong and what would be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

kind! {
    /// Every solver by name.
    pub enum SolverKind: Solver, "solver" {
        "ddpm" in ddpm => Ddpm, "ancestral sampling from the Gaussian posterior [Ho20, Algorithm 2]",
            also ["variance=fixed-large"];
        "ddim" in ddim => Ddim, "implicit sampling, eta between ODE and ancestral [Song21c, Eq. 12]",
            also ["eta=0.5", "eta=1"];
        "euler" in euler => Euler, "Euler steps of the probability-flow ODE in sigma [Karras22, Algorithm 1]";
        "euler-ancestral" in euler_ancestral => EulerAncestral, "an Euler step further down, then noise back up [k-diffusion, sampling.py]",
            also ["eta=0.3"];
        "heun" in heun => Heun, "second order, two evaluations a step [Karras22, Algorithm 1]",
            also ["along=flow", "churn=30", "churn=30,s_max=20,s_min=0.05,s_noise=1.003"];
        "midpoint" in midpoint => Midpoint, "the explicit midpoint rule in sigma or flow time, two evaluations a step [Karras22, Algorithm 3]",
            also ["along=flow"];
        "dpm2" in dpm2 => Dpm2, "the midpoint rule with its middle in ln sigma [k-diffusion, sample_dpm_2]";
        "dpmpp-singlestep" in dpmpp_singlestep => DpmppSinglestep, "DPM-Solver++(1S, 2S, 3S), levels as the stages of steps [Lu22b, Algorithm 1]",
            also ["order=1", "order=2", "order=2,correction=heun,lower_order_final=false", "correction=heun",
                "lower_order_final=false", "correction=heun,lower_order_final=false"];
        "dpmpp-2m" in dpmpp_2m => Dpmpp2m, "DPM-Solver++(2M), second order from one evaluation a step [Lu22b, Algorithm 2]",
            also ["correction=heun,lower_order_final=false", "euler_at_final=true"];
        "dpmpp-2m-sde" in dpmpp_2m_sde => Dpmpp2mSde, "DPM-Solver++(2M) for the reverse SDE [Lu22b, SDE-DPM-Solver++(2M)]",
            also ["correction=heun", "eta=0.4", "eta=0"];
        "dpmpp-3m" in dpmpp_3m => Dpmpp3m, "DPM-Solver++(3M), three denoised images a step [Lu22b; diffusers, k-diffusion]",
            also ["correction=heun,lower_order_final=false"];
        "unipc" in unipc => Unipc, "unified predictor-corrector, an order gained at no cost [Zhao23, UniPC]",
            also ["lower_order_final=false", "order=1", "order=1,variant=bh1", "order=3",
                "order=3,variant=bh1,lower_order_final=false", "predict=eps",
                "order=3,predict=eps,variant=bh1,lower_order_final=false", "order=3,corrector=false"];
        "deis" in deis => Deis, "exponential integrator, eps a polynomial in ln sigma [Zhang23, DEIS]",
            also ["order=1", "order=2,lower_order_final=false", "lower_order_final=false"];
        "lms" in lms => Lms, "linear multistep in sigma [k-diffusion, sample_lms]",
            also ["order=1", "order=2", "order=3", "along=flow"];
        "plms" in plms => Plms, "pseudo linear multistep on DDIM's transfer [Liu22, PLMS]", also ["start=runge-kutta"];
        "ddim-inverse" in ddim_inverse => DdimInverse, "DDIM backwards, from a picture up to its noise [Song21c, section 4.3]",
            also ["iterations=3"];
        "euler-maruyama" in euler_maruyama => EulerMaruyama, "plain Euler-Maruyama steps of the reverse SDE [Song21, Eq. 6]";
        "reverse-diffusion" in reverse_diffusion => ReverseDiffusion, "the forward chain's discretisation, reversed [Song21, Appendix E]";
        "langevin" in langevin => Langevin, "annealed Langevin dynamics, several steps at each level [Song19, Algorithm 1]";
        "restart" in restart => Restart, "Heun with noise put back over an interval [Xu23, Algorithm 1]",
            also ["repeats=1,s_max=2,s_min=0.2"];
        "dpm2-ancestral" in dpm2_ancestral => Dpm2Ancestral, "DPM-Solver-2 further down, then noise back up [k-diffusion, sampling.py]",
            also ["eta=0.4", "eta=0"];
        "dpmpp-2s-ancestral" in dpmpp_2s_ancestral => Dpmpp2sAncestral, "DPM-Solver++(2S) further down, then noise back up [k-diffusion, sampling.py]",
            also ["eta=0.4", "eta=0"];
        "dpmpp-sde" in dpmpp_sde => DpmppSde, "DPM-Solver++ of the reverse SDE, two evaluations a step [k-diffusion, sampling.py]",
            also ["eta=0.4", "one_path=false", "eta=0"];
        "dpmpp-3m-sde" in dpmpp_3m_sde => Dpmpp3mSde, "DPM-Solver++(3M) for the reverse SDE [k-diffusion, sampling.py]",
            also ["eta=0.4", "eta=0"];
        "er-sde" in er_sde => ErSde, "multistep solver of an SDE with less noise at the clean end [Cui23, ER-SDE]",
            also ["order=2", "order=1"];
        "sa-solver" in sa_solver => SaSolver, "stochastic Adams predictor and corrector [Xue23, Algorithm 1]",
            also ["corrector=0,predictor=3", "corrector=3,lower_order_final=false,predictor=3",
                "corrector=1,predictor=1", "s_max=1,s_min=0.05,tau=0.7", "tau=0",
                "corrector=3,lower_order_final=false,tau=0", "corrector=0,predictor=1,tau=0"];
        "lcm" in lcm => Lcm, "jump to the clean image and add fresh noise, for consistency models [Luo23, Algorithm 3]",
            also ["s_noise=1.007,sigma_min=0.002"];
    }
}

/// The ratio `r` of the two `sigma / alpha`, between 0 and 1.
fn ratio(from: NoiseLevel, to: NoiseLevel) -> f64 {
    let (top, bottom) = (from.alpha * to.sigma, to.alpha * from.sigma);
    // 0 / 0: pure noise to pure noise, or clean to clean; nothing is to be done.
    if top == bottom { 1.0 } else { top / bottom }
}

/// The first-order step that all of DDPM, DDIM, Euler and Euler ancestral are: keep `sqrt(sigma'² - noise²)` of the
/// noise already in `x`, replace the rest by fresh noise.
fn one_step(from: NoiseLevel, to: NoiseLevel, noise: f64) -> Row {
    let kept = (to.sigma * to.sigma - noise * noise).max(0.0).sqrt();
    let x = if from.sigma > 0.0 { kept / from.sigma } else { to.alpha / from.alpha };
    Row { level: from, time: None, next: to, x: vec![x], denoised: vec![to.alpha - x * from.alpha], noise }
}

/// Refuses an order outside `1..=most`.
fn check_order(order: usize, most: usize) -> Result<(), String> {
    require((1..=most).contains(&order), || format!("order must lie between 1 and {most}, is {order}"))
}

/// A plan of rows that each see only their own two levels.
fn plan_by_step(levels: &[NoiseLevel], row: impl Fn(NoiseLevel, NoiseLevel) -> Row) -> Plan {
    plan_of(levels, levels.windows(2).map(|pair| row(pair[0], pair[1])).collect())
}

/// A plan that starts as noisy as data of unit variance are at the first level.
fn plan_of(levels: &[NoiseLevel], rows: Vec<Row>) -> Plan {
    Plan { init_noise_sigma: levels.first().map_or(0.0, |level| level.scale()), rows }
}
