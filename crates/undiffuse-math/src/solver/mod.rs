//! Solvers: from a list of levels to a [`Plan`].
//!
//! Write `r = (alpha sigma') / (alpha' sigma)` for the step from `(alpha, sigma)` to `(alpha', sigma')`: the ratio of
//! the two `sigma / alpha`, which is `exp(-h)` with `h` half the gain in log-SNR. In `x / alpha` and `sigma / alpha`
//! every schedule is the variance-exploding one, and the methods of the literature become the same few lines of `r`.
//! What is left of `alpha` never stands alone in a denominator, so pure noise (`r = 0`) and the clean end need no
//! special schedule.

mod along;
mod ancestral;
mod basis;
mod checked;
mod ddim;
mod ddim_inverse;
mod ddpm;
mod deis;
mod dpm2;
mod dpm2_ancestral;
mod dpmpp_2m;
mod dpmpp_2m_sde;
mod dpmpp_2s_ancestral;
mod dpmpp_3m;
mod dpmpp_3m_sde;
mod dpmpp_sde;
mod dpmpp_singlestep;
mod er_sde;
mod euler;
mod euler_ancestral;
mod euler_maruyama;
mod exponential;
mod heun;
mod langevin;
mod lcm;
mod lms;
mod midpoint;
mod plms;
mod raise;
mod restart;
mod reverse_diffusion;
mod sa_solver;
mod terms;
mod two_stage;
mod unipc;

pub use along::Along;
pub use checked::{MOST_NFE, PlanError};
pub use ddim::Ddim;
pub use ddim_inverse::DdimInverse;
pub use ddpm::{Ddpm, Variance};
pub use deis::Deis;
pub use dpm2::Dpm2;
pub use dpm2_ancestral::Dpm2Ancestral;
pub use dpmpp_2m::{Correction, Dpmpp2m};
pub use dpmpp_2m_sde::Dpmpp2mSde;
pub use dpmpp_2s_ancestral::Dpmpp2sAncestral;
pub use dpmpp_3m::Dpmpp3m;
pub use dpmpp_3m_sde::Dpmpp3mSde;
pub use dpmpp_sde::DpmppSde;
pub use dpmpp_singlestep::DpmppSinglestep;
pub use er_sde::ErSde;
pub use euler::Euler;
pub use euler_ancestral::EulerAncestral;
pub use euler_maruyama::EulerMaruyama;
pub use exponential::Predict;
pub use heun::Heun;
pub use langevin::Langevin;
pub use lcm::Lcm;
pub use lms::Lms;
pub use midpoint::Midpoint;
pub use plms::{Combine, Plms, PlmsStart};
pub use restart::Restart;
pub use reverse_diffusion::ReverseDiffusion;
pub use sa_solver::SaSolver;
pub use unipc::{Unipc, UnipcVariant};

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
        "ddpm" => Ddpm(Ddpm), "ancestral sampling from the Gaussian posterior [Ho20, Algorithm 2]";
        "ddim" => Ddim(Ddim), "implicit sampling, eta between ODE and ancestral [Song21c, Eq. 12]";
        "euler" => Euler(Euler), "Euler steps of the probability-flow ODE in sigma [Karras22, Algorithm 1]";
        "euler-ancestral" => EulerAncestral(EulerAncestral), "an Euler step further down, then noise back up [k-diffusion, sampling.py]";
        "heun" => Heun(Heun), "second order, two evaluations a step [Karras22, Algorithm 1]";
        "midpoint" => Midpoint(Midpoint), "the explicit midpoint rule in sigma or flow time, two evaluations a step [Karras22, Algorithm 3]";
        "dpm2" => Dpm2(Dpm2), "the midpoint rule with its middle in ln sigma [k-diffusion, sample_dpm_2]";
        "dpmpp-singlestep" => DpmppSinglestep(DpmppSinglestep), "DPM-Solver++(1S, 2S, 3S), levels as the stages of steps [Lu22b, Algorithm 1]";
        "dpmpp-2m" => Dpmpp2m(Dpmpp2m), "DPM-Solver++(2M), second order from one evaluation a step [Lu22b, Algorithm 2]";
        "dpmpp-2m-sde" => Dpmpp2mSde(Dpmpp2mSde), "DPM-Solver++(2M) for the reverse SDE [Lu22b, SDE-DPM-Solver++(2M)]";
        "dpmpp-3m" => Dpmpp3m(Dpmpp3m), "DPM-Solver++(3M), three denoised images a step [Lu22b; diffusers, k-diffusion]";
        "unipc" => Unipc(Unipc), "unified predictor-corrector, an order gained at no cost [Zhao23, UniPC]";
        "deis" => Deis(Deis), "exponential integrator, eps a polynomial in ln sigma [Zhang23, DEIS]";
        "lms" => Lms(Lms), "linear multistep in sigma [k-diffusion, sample_lms]";
        "plms" => Plms(Plms), "pseudo linear multistep on DDIM's transfer [Liu22, PLMS]";
        "ddim-inverse" => DdimInverse(DdimInverse), "DDIM backwards, from a picture up to its noise [Song21c, section 4.3]";
        "euler-maruyama" => EulerMaruyama(EulerMaruyama), "plain Euler-Maruyama steps of the reverse SDE [Song21, Eq. 6]";
        "reverse-diffusion" => ReverseDiffusion(ReverseDiffusion), "the forward chain's discretisation, reversed [Song21, Appendix E]";
        "langevin" => Langevin(Langevin), "annealed Langevin dynamics, several steps at each level [Song19, Algorithm 1]";
        "restart" => Restart(Restart), "Heun with noise put back over an interval [Xu23, Algorithm 1]";
        "dpm2-ancestral" => Dpm2Ancestral(Dpm2Ancestral), "DPM-Solver-2 further down, then noise back up [k-diffusion, sampling.py]";
        "dpmpp-2s-ancestral" => Dpmpp2sAncestral(Dpmpp2sAncestral), "DPM-Solver++(2S) further down, then noise back up [k-diffusion, sampling.py]";
        "dpmpp-sde" => DpmppSde(DpmppSde), "DPM-Solver++ of the reverse SDE, two evaluations a step [k-diffusion, sampling.py]";
        "dpmpp-3m-sde" => Dpmpp3mSde(Dpmpp3mSde), "DPM-Solver++(3M) for the reverse SDE [k-diffusion, sampling.py]";
        "er-sde" => ErSde(ErSde), "multistep solver of an SDE with less noise at the clean end [Cui23, ER-SDE]";
        "sa-solver" => SaSolver(SaSolver), "stochastic Adams predictor and corrector [Xue23, Algorithm 1]";
        "lcm" => Lcm(Lcm), "jump to the clean image and noise it anew, for consistency models [Luo23, Algorithm 3]";
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
    Row { level: from, time: None, to, x: vec![x], denoised: vec![to.alpha - x * from.alpha], noise }
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
    Plan { start: levels.first().map_or(0.0, |level| level.scale()), rows }
}
