//! `[noise]` of a configuration: the process, and what a network learns of it.

use serde::{Deserialize, Serialize};
use undiffuse_math::{
    parameterization::ParameterizationKind, schedule::ScheduleKind, timing::TimingKind, weighting::WeightingKind,
};

/// `[noise]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseConfig {
    /// (α, σ)(t).
    pub schedule: ScheduleKind,
    /// What the network answers.
    pub parameterization: ParameterizationKind,
    /// Weight of `‖D − x₀‖²` by noise level.
    pub weighting: WeightingKind,
    /// Distribution of the training times.
    pub timing: TimingKind,
    /// Whether the parameterization's `sigma_data` is to be that of the data, measured when the run begins.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_sigma_data: bool,
}

/// The option of a parameterization that is made for data of a spread.
const SIGMA_DATA: &str = "sigma_data";
/// The least of it: pictures that are all alike have none.
const SIGMA_DATA_MIN: f64 = 1e-3;

impl NoiseConfig {
    /// What cannot work.
    pub(super) fn problem(&self) -> Option<String> {
        let parameterization = &self.parameterization;
        let lacking = self.own_sigma_data && !parameterization.options().contains_key(SIGMA_DATA);
        lacking.then(|| {
            let having = ParameterizationKind::ALL.iter().filter(|p| (p.default)().options().contains_key(SIGMA_DATA));
            let having: Vec<&str> = having.map(|p| p.tag).collect();
            format!(
                "noise.own_sigma_data = true: the parameterization {} has no sigma_data; those that have are {}",
                parameterization.tag(),
                having.join(", ")
            )
        })
    }

    /// The same for data whose numbers have this root mean square, to three digits.
    pub(super) fn settled(&mut self, root_mean_square: f64) {
        let sigma_data: f64 = format!("{:.2e}", root_mean_square.max(SIGMA_DATA_MIN)).parse().expect("it is a number");
        let mut options = self.parameterization.options();
        options.insert("kind".into(), self.parameterization.tag().into());
        options.insert(SIGMA_DATA.into(), sigma_data.into());
        self.parameterization =
            ParameterizationKind::from_value(options.into()).expect("the option is one of the parameterization's");
        self.own_sigma_data = false;
    }
}
