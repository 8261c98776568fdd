//! The loss of DDPM.

use super::Weighting;
use crate::{level::NoiseLevel, parameterization::Scaling};
use serde::{Deserialize, Serialize};

/// `alpha² / sigma²`: the unweighted error of eps, `L_simple` [Ho20, Eq. 14].
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Simple {}

impl Weighting for Simple {
    fn weight(&self, at: NoiseLevel, _: &Scaling, _: f64) -> f64 {
        super::snr(at)
    }
}
