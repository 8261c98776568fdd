//! Schedules, solvers and spacings in a client's words: what the registries read, with bounds on what a word may cost.
//!
//! A few options are counts, and some of these make tables or plans of that length: `linear:steps=4000000000` is a short
//! request. Here they are refused before anything is built.

use undiffuse::math::prelude::{ScheduleKind, SolverKind, SpacingKind};
use undiffuse::math::registry::KindError;

use crate::problem::Problem;

/// The longest word that is read, in bytes; a table of 1000 betas fits.
const LONGEST: usize = 32 << 10;

/// Options that are counts, and the most that is taken of each.
const COUNTS: &[(&str, f64)] =
    &[("steps", 10_000.0), ("per_level", 100.0), ("repeats", 100.0), ("offset", 10_000.0), ("of", 10_000.0)];

/// A schedule, such as `cosine` or `vp:beta_max=10`.
///
/// # Errors
/// 422: words that the registry does not know, values that cost too much.
pub fn schedule(text: &str) -> Result<ScheduleKind, Problem> {
    part("schedule", text)
}

/// A solver, such as `dpmpp-2m` or `ddim:eta=0.5`.
///
/// # Errors
/// As [`schedule`].
pub fn solver(text: &str) -> Result<SolverKind, Problem> {
    part("solver", text)
}

/// A spacing, such as `karras:rho=5`.
///
/// # Errors
/// As [`schedule`].
pub fn spacing(text: &str) -> Result<SpacingKind, Problem> {
    part("spacing", text)
}

fn part<T: std::str::FromStr<Err = KindError>>(field: &str, text: &str) -> Result<T, Problem> {
    if text.len() > LONGEST {
        return Err(Problem::invalid(field, format!("{} bytes are too many: at most {LONGEST} are read", text.len())));
    }
    let options = text.split_once(':').map_or("", |(_, options)| options).split(',');
    for (key, value) in options.filter_map(|option| option.split_once('=')) {
        let value = value.trim().parse::<f64>().unwrap_or(0.0);
        if let Some((key, most)) = COUNTS.iter().find(|(known, most)| *known == key.trim() && value > *most) {
            return Err(Problem::invalid(field, format!("{key} = {value} is more than is served: at most {most}")));
        }
    }
    text.parse().map_err(|e: KindError| Problem::invalid(field, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_registries_are_read_and_costly_ones_refused() {
        assert_eq!(solver("ddim:eta=0.5").unwrap().to_string(), "ddim:eta=0.5");
        assert_eq!(spacing("karras").unwrap().tag(), "karras");
        for hostile in ["linear:steps=4000000000", "cosine: steps =1e18", "linear:steps=inf"] {
            let problem = schedule(hostile).unwrap_err();
            assert_eq!((problem.status, problem.field.as_deref()), (422, Some("schedule")), "{hostile}");
        }
        assert_eq!(solver("langevin:per_level=1000000000").unwrap_err().status, 422);
        assert!(schedule("cosin").unwrap_err().detail.contains("cosine"));
        assert!(schedule(&"x".repeat(1 << 20)).unwrap_err().detail.len() < 200);
    }

    /// Every option of every part that is a whole number has a bound here, or one of its own.
    #[test]
    fn no_count_is_without_bound() {
        use serde_json::{Map, Value};
        let all: Vec<(&str, Map<String, Value>)> = (ScheduleKind::ALL.iter().map(|e| (e.tag, (e.default)().options())))
            .chain(SolverKind::ALL.iter().map(|e| (e.tag, (e.default)().options())))
            .chain(SpacingKind::ALL.iter().map(|e| (e.tag, (e.default)().options())))
            .collect();
        for (tag, options) in all {
            for (key, _) in options.iter().filter(|(_, value)| value.is_u64()) {
                let word = format!("{tag}:{key}=1000000");
                let refused = [schedule(&word).err(), solver(&word).err(), spacing(&word).err()];
                assert!(refused.iter().all(Option::is_some), "{word} is taken");
            }
        }
    }
}
