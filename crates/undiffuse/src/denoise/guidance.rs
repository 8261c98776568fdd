//! Classifier-free guidance.

use burn::tensor::{Device, Tensor};
use undiffuse_math::prelude::{ParameterizationKind, Scaling};

use super::{At, Cond, Denoise, Guess, per_image};
use crate::card::SampleDefaults;

/// How strongly what is asked for is followed, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// Guidance scale: 1 is none.
    pub scale: f64,
    /// How far the network's answer is scaled back to the deviation that it has without guidance: 0 not at all, 1 all the way
    /// \[Lin24, section 3.4\].
    pub rescale: f64,
    /// Where there is any: at noise levels `sigma / alpha` above the first and up to the second \[Kynkaanniemi24\].
    pub interval: [f64; 2],
}

/// Guidance of this scale, everywhere.
impl From<f64> for Guidance {
    fn from(scale: f64) -> Self {
        Self { scale, rescale: 0.0, interval: [0.0, f64::INFINITY] }
    }
}

impl From<&SampleDefaults> for Guidance {
    fn from(settings: &SampleDefaults) -> Self {
        let all = Self::from(settings.guidance);
        Self { rescale: settings.guidance_rescale, interval: settings.guidance_interval.unwrap_or(all.interval), ..all }
    }
}

impl Guidance {
    /// Whether there is any at a noise level.
    fn acts(&self, at: &At) -> bool {
        let [low, high] = self.interval;
        let sigma = at.level.sigma_edm();
        // All of the way includes a clean picture.
        (sigma > low || low == 0.0) && sigma <= high
    }
}

/// `D = D(∅) + scale · (D(cond) − D(∅))` \[Ho22, Eq. 6\]: 1 is the plain conditional model, more
/// trades variety for likeness to what was asked for. `∅` is whatever a picture is led away from. Both guesses run as one batch.
pub struct Guided<'a, D> {
    /// The conditional denoiser, which has learned to go without.
    pub inner: D,
    /// How strong.
    pub guidance: Guidance,
    /// How the network's answer is read, whose deviation is scaled back.
    pub parameterization: &'a ParameterizationKind,
}

/// Whether guidance of this scale evaluates what is asked twice, with it and without.
pub fn is_guided(scale: f64, cond: &Cond) -> bool {
    scale != 1.0 && !cond.is_empty()
}

impl<D: Denoise> Guided<'_, D> {
    /// Pictures that are all guided.
    fn guided(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        let n = cond.len();
        let Guidance { scale, rescale, .. } = self.guidance;
        let both = Cond::concat([cond, &cond.unconditional()]);
        let twice = Tensor::cat(vec![x.clone(), x.clone()], 0);
        let Guess { x0, variance } = self.inner.denoise(twice, &[at, at].concat(), &both);
        let (with, without) = (x0.clone().narrow(0, 0, n), x0.narrow(0, n, n));
        let led = without.clone() + (with.clone() - without) * scale;
        let x0 = if rescale == 0.0 { led } else { self.rescaled(x, at, led, with) };
        Guess { x0, variance: variance.map(|v| v.narrow(0, 0, n)) }
    }

    /// The guided guess whose answer `F` has some of the deviation that it has in the one `with` what is asked:
    /// `F' = F_cfg (rescale std(F) / std(F_cfg) + 1 - rescale)`, a picture at a time.
    fn rescaled(&self, x: Tensor<4>, at: &[At], led: Tensor<4>, with: Tensor<4>) -> Tensor<4> {
        let scalings: Vec<Scaling> = at.iter().map(|at| self.parameterization.scaling(at.level)).collect();
        let factor = |of: &dyn Fn(&Scaling) -> f64| per_image(scalings.iter().map(of), &x.device());
        let kept = x.clone() * factor(&|s| s.skip);
        let out = factor(&|s| s.out);
        let answer = |guess: Tensor<4>| (guess - kept.clone()) / out.clone();
        let (led, with) = (answer(led), answer(with));
        let ratio = deviation(&with) / deviation(&led);
        let share = self.guidance.rescale;
        kept.clone() + led * (ratio * share + (1.0 - share)) * out.clone()
    }
}

/// The standard deviation of each picture's numbers, `[B, 1, 1, 1]`, but for a factor that their number decides.
fn deviation(x: &Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let flat = x.clone().reshape([b, c * h * w]);
    let off = flat.clone() - flat.mean_dim(1);
    (off.clone() * off).sum_dim(1).sqrt().reshape([b, 1, 1, 1])
}

impl<D: Denoise> Denoise for Guided<'_, D> {
    /// The variance is that of the conditional model, as in \[Dhariwal21\].
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        let acting = at.iter().filter(|at| self.guidance.acts(at)).count();
        if !is_guided(self.guidance.scale, cond) || acting == 0 {
            return self.inner.denoise(x, at, cond);
        }
        if acting == at.len() {
            return self.guided(x, at, cond);
        }
        // Pictures at levels of their own, each by itself.
        let one = |k: usize| {
            let (x, at, cond) = (x.clone().narrow(0, k, 1), &at[k..=k], cond.select([k]));
            self.denoise(x, at, &cond)
        };
        let all: Vec<Guess> = (0..at.len()).map(one).collect();
        let variances: Option<Vec<Tensor<4>>> = all.iter().map(|guess| guess.variance.clone()).collect();
        Guess {
            x0: Tensor::cat(all.into_iter().map(|guess| guess.x0).collect(), 0),
            variance: variances.map(|variances| Tensor::cat(variances, 0)),
        }
    }

    fn device(&self) -> Device {
        self.inner.device()
    }
}

/// A network that was taught to answer as if it were guided, and reads how strongly \[Meng23, section 3.1\]: it is evaluated once, and
/// nothing is led away from.
pub struct Distilled<D> {
    /// The network as a denoiser.
    pub inner: D,
    /// Guidance scale.
    pub scale: f64,
}

impl<D: Denoise> Denoise for Distilled<D> {
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        self.inner.denoise(x, at, &cond.clone().followed(self.scale))
    }

    fn device(&self) -> Device {
        self.inner.device()
    }
}
