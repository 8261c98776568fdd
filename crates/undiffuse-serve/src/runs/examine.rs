//! The doctor's visit to a run.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, TryLockError};

use serde::{Deserialize, Serialize};
use undiffuse::run::RunFolder;
use undiffuse_doctor::{self as doctor, Diagnosis, DoctorError, Severity};

use crate::problem::Problem;

/// What is likely wrong with a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Examined {
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
    /// How many checks were asked.
    pub checks: usize,
}

/// Something that is likely wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finding {
    /// The check that found it.
    pub check: String,
    /// `problem`, `warning` or `note`.
    pub severity: String,
    /// What is likely wrong.
    pub found: String,
    /// The numbers that say so.
    pub evidence: Vec<String>,
    /// What to change.
    pub advice: String,
}

/// Why the data of a run were not looked at.
const UNSEEN: &str = "the pictures were not looked at, nor what needs them: clients may not train on them here (--allow-train and --datasets \
                      say on what); `undiffuse doctor` on the command line looks at them";

/// The doctor, who sees one run at a time, and what was found in those that have not changed since.
#[derive(Debug, Default)]
pub struct Doctor {
    found: Mutex<HashMap<PathBuf, (u64, Examined)>>,
    busy: Mutex<()>,
}

impl Doctor {
    /// Looks at a run, and at what it was trained on if `data` says so; `version` is another one when the run has changed.
    ///
    /// # Errors
    /// 422 for a run that cannot be read, 503 while another is being looked at, and what `room` says.
    pub fn examine(
        &self,
        run: &RunFolder,
        version: u64,
        data: bool,
        room: impl FnOnce(u64) -> Result<(), Problem>,
    ) -> Result<Examined, Problem> {
        let path = run.path();
        let before = super::lock(&self.found).get(path).filter(|(seen, _)| *seen == version).cloned();
        if let Some((_, examined)) = before {
            return Ok(examined);
        }
        let _one_at_a_time = match self.busy.try_lock() {
            Ok(guard) => guard,
            // A panic in a check harms nobody else.
            Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let detail = "another run is being looked at; ask again in some seconds";
                return Err(Problem::unavailable("busy", detail, 10));
            }
        };
        room(run.weight())?;
        let diagnosis = match data {
            true => doctor::diagnose(path),
            false => doctor::diagnose_without_data(path, UNSEEN),
        };
        // A configuration's words are not repeated: whoever looks here may not be the one who may read it.
        let diagnosis = diagnosis.map_err(|e| {
            let detail = match e {
                DoctorError::Config { .. } => "its configuration cannot be understood".into(),
                e => e.to_string(),
            };
            Problem::invalid("id", detail)
        })?;
        let examined = Examined::from(diagnosis);
        super::lock(&self.found).insert(path.to_owned(), (version, examined.clone()));
        Ok(examined)
    }
}

impl From<Diagnosis> for Examined {
    fn from(diagnosis: Diagnosis) -> Self {
        let severity = |severity| match severity {
            Severity::Problem => "problem",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let findings = diagnosis.findings.into_iter().map(|f| Finding {
            check: f.tag.into(),
            severity: severity(f.severity).into(),
            found: f.what,
            evidence: f.evidence,
            advice: f.change,
        });
        Self { findings: findings.collect(), unseen: diagnosis.unseen, checks: diagnosis.checks }
    }
}
