//! The unweighted error of the clean image.

use super::Weighting;
use crate::{level::NoiseLevel, parameterization::Scaling};
use serde::{Deserialize, Serialize};

/// `1`.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Uniform {}

impl Weighting for Uniform {
    fn weight(&self, _: NoiseLevel, _: &Scaling, _: f64) -> f64 {
        1.0
    }
}
