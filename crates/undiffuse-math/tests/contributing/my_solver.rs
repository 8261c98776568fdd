//! My solver [Source, Eq. 1].

use super::Solver;
use crate::{
    level::NoiseLevel,
    plan::{Plan, Row},
};
use serde::{Deserialize, Serialize};

/// What it does: `x' = (sigma' / sigma) x + (alpha' - alpha sigma' / sigma) D` [Source, Eq. 1].
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MySolver {}

impl Solver for MySolver {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let rows = levels.windows(2).map(|pair| {
            let (level, next) = (pair[0], pair[1]);
            // A clean image has no noise to keep a share of.
            let keep = if level.sigma > 0.0 { next.sigma / level.sigma } else { next.alpha / level.alpha };
            Row { level, next, x: vec![keep], denoised: vec![next.alpha - keep * level.alpha], ..Row::default() }
        });
        Plan { init_noise_sigma: levels[0].scale(), rows: rows.collect() }
    }

    fn order(&self) -> Option<f64> {
        Some(1.0)
    }
}
