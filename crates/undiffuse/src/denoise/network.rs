//! A network read through its parameterisation.

use burn::tensor::{Device, Tensor};
use undiffuse_math::draw::c_noise;
use undiffuse_math::prelude::{ParameterizationKind, Scaling, ScheduleKind};
use undiffuse_nn::Condition;

use super::{At, Cond, Denoise, Guess, per_image};
use crate::condition::Conditioner;

/// `D(x, level) = skip · x + out · F(input · x, c_noise)` \[Karras22, Eq. 7\].
#[derive(Debug)]
pub struct Denoiser<'a> {
    /// The network `F`.
    pub network: &'a undiffuse_nn::Network,
    /// What it reads of what is asked.
    pub conditioner: &'a Conditioner,
    /// The schedule, for networks that read its timesteps.
    pub schedule: &'a ScheduleKind,
    /// How `F` is read.
    pub parameterization: &'a ParameterizationKind,
    /// Whether the second half of its channels is a variance.
    pub learned_variance: bool,
}

impl Denoise for Denoiser<'_> {
    fn denoise(&self, x: Tensor<4>, at: &[At], cond: &Cond) -> Guess {
        let device = x.device();
        let [_, c, _, _] = x.dims();
        let scalings: Vec<Scaling> = at.iter().map(|at| self.parameterization.scaling(at.level)).collect();
        let factor = |of: fn(&Scaling) -> f64| per_image(scalings.iter().map(of), &device);
        let c_noise: Vec<f32> =
            scalings.iter().zip(at).map(|(s, at)| c_noise(&**self.schedule, s, at.level, at.time) as f32).collect();
        let condition = match cond.is_empty() {
            true => Condition::default(),
            false => self.conditioner.encode(&cond.0, &device),
        };
        let y = self.network.forward(x.clone() * factor(|s| s.input), &c_noise, &condition);
        // What there is beyond the picture's channels is a variance, or nobody's business.
        let twice = y.dims()[1] == 2 * c;
        let variance = (twice && self.learned_variance).then(|| y.clone().narrow(1, c, c));
        let y = if twice { y.narrow(1, 0, c) } else { y };
        Guess { x0: x * factor(|s| s.skip) + y * factor(|s| s.out), variance }
    }

    fn device(&self) -> Device {
        self.network.device()
    }
}
