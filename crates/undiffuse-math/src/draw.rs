//! A training example: everything the loss needs to know about one image's noise.

use crate::{
    level::NoiseLevel,
    parameterization::{NoiseInput, Parameterization, Scaling},
    schedule::Schedule,
    timing::Timing,
    weighting::Weighting,
};

/// The noise of one training example. With it the loss is
/// `weight · out² · ‖F(input · (alpha x0 + sigma eps), c_noise) - target_x0 · x0 - target_eps · eps‖²`,
/// equal to `weight · ‖D - x0‖²`.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Draw {
    /// Time in the schedule's native unit.
    pub time: f64,
    /// The noise level at that time.
    pub level: NoiseLevel,
    /// How the network is asked and read.
    pub scaling: Scaling,
    /// The number that the network reads of the noise.
    pub c_noise: f64,
    /// Weight on `‖D - x0‖²`, without the correction.
    pub weight: f64,
    /// The factor that makes up for the times that are drawn more often.
    pub correction: f64,
}

impl Draw {
    /// The draw at quantile `u` of the training times' distribution, `u` in (0, 1).
    pub fn new(
        schedule: &dyn Schedule,
        parameterization: &dyn Parameterization,
        weighting: &dyn Weighting,
        timing: &dyn Timing,
        u: f64,
    ) -> Self {
        let time = timing.time(schedule, u);
        let level = schedule.level(time);
        let scaling = parameterization.scaling(level);
        let weight = weighting.weight(level, &scaling, timing.rate(schedule, u));
        Self {
            time,
            level,
            scaling,
            c_noise: c_noise(schedule, &scaling, level, Some(time)),
            weight,
            correction: timing.correction(u),
        }
    }

    /// Weight on the network's own squared error, `weight · out² · correction`.
    pub fn target_weight(&self) -> f64 {
        self.weight * self.scaling.out * self.scaling.out * self.correction
    }
}

/// The number that a network reads at a level, whose time is looked up unless it is known.
pub fn c_noise(schedule: &dyn Schedule, scaling: &Scaling, level: NoiseLevel, time: Option<f64>) -> f64 {
    match scaling.c_noise {
        NoiseInput::Value(value) => value,
        NoiseInput::Timestep => schedule.timestep(time.unwrap_or_else(|| schedule.time(level.log_snr()))),
    }
}
