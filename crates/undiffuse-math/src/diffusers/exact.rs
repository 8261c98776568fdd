//! A whole recipe as a scheduler config: one that reads back to the same recipe, or none.

use super::{
    WriteError,
    write::{class_name, has, put, refuse, timesteps, write_parts},
};
use crate::{
    recipe::{Learned, Recipe},
    solver::{Ddim, SolverKind},
    spacing::Last,
};
use serde_json::{Map, Value, json};

impl Recipe {
    /// The config of the diffusers class that samples like this recipe. (DDIM's `eta` is not part of configs: it is an
    /// argument of sampling there.)
    ///
    /// # Errors
    /// Names the part that diffusers has no word for; nothing is approximated, see [`write`](super::write()) for that.
    pub fn to_value(&self) -> Result<Value, WriteError> {
        let (schedule, parameterization) = (&self.schedule, &self.parameterization);
        let mut config = write_parts(schedule, parameterization, Some(&self.solver), Some(&self.spacing), self.clip)?;
        if let Some(ends) = &self.ends {
            timesteps(&mut config, Some(ends))?;
        }
        let clean = self.last == Last::Clean;
        for (field, value) in [
            ("set_alpha_to_one", json!(clean)),
            ("final_sigmas_type", json!(if clean { "zero" } else { "sigma_min" })),
            ("correct_steps", json!(self.corrector.map_or(0, |corrector| corrector.steps))),
        ] {
            if has(&config, field) {
                put(&mut config, json!({ field: value }));
            }
        }
        if let (Some(boundary), true) = (self.boundary, has(&config, "timestep_scaling")) {
            put(&mut config, json!({ "timestep_scaling": boundary.scaling }));
        }
        if let Some(corrector) = self.corrector {
            put(&mut config, json!({ "snr": corrector.snr }));
        }
        if let Some(learned) = self.learned_variance {
            let word = if learned == Learned::Direct { "learned" } else { "learned_range" };
            put(&mut config, json!({ "variance_type": word }));
        }
        self.compare(&config)?;
        Ok(Value::Object(config))
    }

    /// Refuses a config that reads back to something else, by the first part that differs.
    fn compare(&self, config: &Map<String, Value>) -> Result<(), WriteError> {
        let because = format!(" in {}", class_name(config));
        let read = Self::from_value(&Value::Object(config.clone()))
            .map_err(|e| refuse("recipe", &e, &because, "another solver or spacing"))?;
        let solver = match self.solver {
            SolverKind::Ddim(_) => Ddim::default().into(),
            ref other => other.clone(),
        };
        let parts = [
            ("schedule", self.schedule == read.schedule, self.schedule.to_string()),
            ("parameterization", self.parameterization == read.parameterization, self.parameterization.to_string()),
            ("solver", solver == read.solver, self.solver.to_string()),
            ("spacing", self.spacing == read.spacing, self.spacing.to_string()),
            ("ends of the spacing", self.ends == read.ends, format!("{:?}", self.ends)),
            ("timesteps", self.timesteps == read.timesteps, format!("{:?}", self.timesteps)),
            ("last level", self.last == read.last, format!("{:?}", self.last)),
            ("start", self.start == read.start, format!("{:?}", self.start)),
            ("clipping", self.clip == read.clip, format!("{:?}", self.clip)),
            ("boundary", self.boundary == read.boundary, format!("{:?}", self.boundary)),
            ("keep_eps", self.keep_eps == read.keep_eps, self.keep_eps.to_string()),
            ("stride", self.stride == read.stride, self.stride.to_string()),
            (
                "learned variance",
                self.learned_variance == read.learned_variance,
                format!("{:?}", self.learned_variance),
            ),
            ("corrector", self.corrector == read.corrector, format!("{:?}", self.corrector)),
            ("pixel range", self.pixels == read.pixels, format!("{:?}", self.pixels)),
        ];
        match parts.into_iter().find(|(_, same, _)| !same) {
            None => Ok(()),
            Some((what, _, part)) => Err(refuse(what, &part, &because, "what that class does, or another solver")),
        }
    }
}
