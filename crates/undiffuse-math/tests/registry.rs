//! Every entry of every registry: its written forms, its options, its messages.

mod common;

use common::all;
use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::HashSet, fmt::Debug, str::FromStr};
use undiffuse_math::{
    prelude::*,
    registry::{Entry, KindError},
};

fn check<T>(entries: &[Entry<T>], more: &[&str])
where
    T: Clone + PartialEq + Debug + ToString + FromStr<Err = KindError> + Serialize + DeserializeOwned,
{
    #[derive(Serialize, Deserialize)]
    struct Config<T> {
        part: T,
    }
    let tags: HashSet<_> = entries.iter().map(|entry| entry.tag).collect();
    assert_eq!(tags.len(), entries.len(), "a tag is there twice");
    assert!(entries.iter().all(|entry| entry.doc.len() > 8 && (entry.default)().to_string() == entry.tag));
    for part in all(entries, more) {
        let text = part.to_string();
        assert_eq!(text.parse::<T>().unwrap(), part, "{text}");
        let toml = toml::to_string(&Config { part: part.clone() }).unwrap();
        assert_eq!(toml::from_str::<Config<T>>(&toml).unwrap().part, part, "{toml}");
        let short = format!("part = \"{text}\"");
        assert_eq!(toml::from_str::<Config<T>>(&short).unwrap().part, part, "{short}");
        let json = serde_json::to_string(&part).unwrap();
        assert_eq!(serde_json::from_str::<T>(&json).unwrap(), part, "{json}");
    }
    for text in more {
        assert_eq!(text.parse::<T>().unwrap().to_string(), *text, "the shortest form is the one given back");
    }
}

#[test]
fn every_entry_has_its_written_forms() {
    check(
        ScheduleKind::ALL,
        &["linear:beta_end=0.01", "trained:betas=0.1;0.2;", "cosine:rescale_zero_snr=true,steps=50"],
    );
    check(ParameterizationKind::ALL, &["edm:sigma_data=1"]);
    check(WeightingKind::ALL, &["min-snr:gamma=1.5"]);
    check(TimingKind::ALL, &["lognormal:mean=0.5,std=2"]);
    check(
        SpacingKind::ALL,
        &[
            "karras:rho=5,round=nearest,sigma_min=0.1",
            "leading:offset=1",
            "linspace:round=false",
            "timesteps:at=999;250.5;0;",
            "sigmas:at=14.6;",
            "karras:at=0;22;,of=40",
        ],
    );
    check(
        SolverKind::ALL,
        &[
            "ddim:eta=0.5",
            "ddpm:variance=fixed-large",
            "unipc:order=3,predict=eps,variant=bh1",
            "plms:start=runge-kutta",
        ],
    );
}

#[test]
fn slips_are_named() {
    let solver = |text: &str| text.parse::<SolverKind>().unwrap_err().to_string();
    assert!(solver("dimm").starts_with("unknown solver `dimm`, did you mean `ddim`?; known: ddpm, ddim, euler, "));
    assert!(SolverKind::ALL.iter().all(|entry| solver("dimm").contains(entry.tag)));
    assert!(!solver("leapfrog").contains("did you mean"));
    assert_eq!(solver("ddim:etta=1"), "solver `ddim` has no option `etta`, did you mean `eta`?; its options: eta");
    assert_eq!(solver("euler:eta=1"), "solver `euler` has no option `eta`; its options: none");
    assert_eq!(solver("ddim:eta"), "solver: `eta` in `ddim:eta` is not of the form `option=value`");
    assert_eq!(solver("lcm:s_noise=-1"), "solver `lcm`: s_noise must be at least 0, is -1");
    assert_eq!(solver("lms:order=5"), "solver `lms`: order must lie between 1 and 4, is 5");
    assert_eq!(solver("unipc:order=0"), "solver `unipc`: order must lie between 1 and 3, is 0");
    assert!(solver("ddim-inverse:iterations=0").contains("between 1 and 100, is 0"));
    assert_eq!(solver("ddim:eta=1.5"), "solver `ddim`: eta must lie in [0, 1], is 1.5");
    assert!(solver("ddim:eta=much").starts_with("solver `ddim`: invalid type: string \"much\""));
    assert!(
        solver("ddpm:variance=medium").contains("unknown variant `medium`, expected `fixed-small` or `fixed-large`")
    );
    assert!(solver("").starts_with("unknown solver ``"));
    let schedule = |text: &str| text.parse::<ScheduleKind>().unwrap_err().to_string();
    for (text, says) in [
        ("linear:steps=1", "needs 2 to 1000000 timesteps, has 1"),
        ("linear:beta_end=1.5", "beta at timestep"),
        ("trained:betas=0.1;2", "beta at timestep 1 is 2"),
        ("edm:sigma_min=90", "sigma_min < sigma_max"),
        ("flow:shift=0", "shift must be positive"),
        ("vp:t_min=1", "t_min must lie in [0, 1)"),
        ("vp:beta_min=30", "beta_min < beta_max"),
        ("cosine-vp:log_snr_min=20", "log_snr_min < log_snr_max"),
    ] {
        assert!(schedule(text).contains(says), "{text}: {}", schedule(text));
    }
    for (text, says) in [
        ("karras:rho=0", "rho"),
        ("karras:of=0", "of must lie"),
        ("lcm:of=0", "of must lie"),
        ("lcm:of=4,strength=0.2", "between 1 / of = 0.25 and 1, is 0.2"),
        ("exponential:sigma_min=2,sigma_max=1", "sigma_min < sigma_max"),
    ] {
        assert!(text.parse::<SpacingKind>().unwrap_err().to_string().contains(says));
    }
    assert!("edm:sigma_data=0".parse::<ParameterizationKind>().unwrap_err().to_string().contains("sigma_data"));
    assert!("consistency:sigma_min=-1".parse::<ParameterizationKind>().unwrap_err().to_string().contains("sigma_min"));
    assert!("min-snr:gamma=-1".parse::<WeightingKind>().unwrap_err().to_string().contains("gamma"));
    assert!("lognormal:std=0".parse::<TimingKind>().unwrap_err().to_string().contains("std"));
}

#[test]
fn tables_are_checked_too() {
    #[derive(Debug, Deserialize)]
    struct Config {
        #[allow(dead_code)]
        schedule: ScheduleKind,
    }
    let message = |text: &str| toml::from_str::<Config>(text).unwrap_err().to_string();
    assert!(message("[schedule]\nkind = \"liner\"").contains("did you mean `linear`?"));
    assert!(message("[schedule]\nkind = \"linear\"\nbeta_strat = 1").contains("did you mean `beta_start`?"));
    assert!(message("[schedule]\nbeta_start = 1").contains("`kind` is missing"));
    assert!(message("schedule = 3").contains("expected a name or a table"));
    assert!(toml::from_str::<Config>("schedule = \"linear:steps=50\"").is_ok());
}

proptest! {
    /// Whatever is typed gives a part or a message, never a panic; what gives a part comes back the same.
    #[test]
    fn anything_may_be_typed(text in "[a-z0-9:=,.;\\- ]{0,30}", tag in 0..5usize, eta in 0.0..1.0f64) {
        for text in [text.clone(), format!("{}:{text}", SolverKind::ALL[tag].tag)] {
            if let Ok(solver) = text.parse::<SolverKind>() {
                prop_assert_eq!(solver.to_string().parse::<SolverKind>().unwrap(), solver);
            }
        }
        let solver: SolverKind = undiffuse_math::solver::Ddim { eta }.into();
        prop_assert_eq!(solver.to_string().parse::<SolverKind>().unwrap(), solver);
    }
}
