//! Plans that cannot be made say why, whatever they are asked for; those that can have as many rows as was said.

mod common;

use common::{schedules, solvers, spacings};
use proptest::prelude::*;
use undiffuse_math::{
    plan::Plan,
    prelude::*,
    recipe::Recipe,
    solver::{
        Ddim, DdimInverse, Deis, Dpm2Ancestral, DpmppSde, DpmppSinglestep, ErSde, Heun, Langevin, Lms, MOST_NFE,
        PlanError, Restart, SaSolver, Unipc,
    },
    spacing::{GridError, Karras, Optimal},
};

#[test]
fn evaluations_are_counted_before_they_are_planned() {
    for schedule in schedules() {
        for spacing in spacings() {
            for (steps, last) in [(1, Last::Clean), (2, Last::FirstStep), (7, Last::FirstSigma), (20, Last::Clean)] {
                let grid = Grid::new(&*schedule, &*spacing, steps, last).unwrap();
                for solver in solvers() {
                    let what = format!("{solver} in {steps} steps of {spacing} on {schedule} to {last:?}");
                    let plan = grid.plan(&*solver).unwrap_or_else(|e| panic!("{what}: {e}"));
                    assert_eq!(solver.nfe(&grid.levels()), plan.rows.len(), "{what}");
                }
            }
        }
    }
}

/// Strides, Runge-Kutta's halves and all.
#[test]
fn recipes_count_too() {
    let eps: ParameterizationKind = "eps".parse().unwrap();
    let (linear, trailing): (ScheduleKind, SpacingKind) = ("linear".parse().unwrap(), "trailing".parse().unwrap());
    for solver in solvers() {
        for (stride, steps) in [(false, 1), (false, 9), (true, 1), (true, 9), (true, 1000)] {
            let recipe = Recipe::new(linear.clone(), eps.clone(), trailing.clone(), solver.clone());
            let recipe = Recipe { stride, ..recipe };
            let plan = recipe.plan(steps).unwrap_or_else(|e| panic!("{solver}: {e}"));
            assert_eq!(recipe.nfe(steps), Ok(plan.rows.len()), "{solver} in {steps} steps, strides: {stride}");
        }
    }
}

/// What no config can say, as numbers that are none have no place in one, but a program can.
fn hostile() -> Vec<(Box<dyn Solver>, &'static str)> {
    const NAN: f64 = f64::NAN;
    vec![
        (Box::new(Ddim { eta: NAN }), "eta"),
        (Box::new(Dpm2Ancestral { eta: f64::INFINITY }), "eta"),
        (Box::new(DpmppSde { eta: -1.0, one_path: true }), "eta"),
        (Box::new(DpmppSinglestep { order: 0, ..DpmppSinglestep::default() }), "order"),
        (Box::new(Unipc { order: usize::MAX, ..Unipc::default() }), "order"),
        (Box::new(Deis { order: 0, ..Deis::default() }), "order"),
        (Box::new(Lms { order: 9, ..Lms::default() }), "order"),
        (Box::new(ErSde { order: usize::MAX }), "order"),
        (Box::new(Heun { churn: NAN, ..Heun::default() }), "churn"),
        (Box::new(Heun { s_max: Some(NAN), ..Heun::default() }), "s_max"),
        (Box::new(Restart { repeats: usize::MAX, ..Restart::default() }), "repeats"),
        (Box::new(Restart { s_min: NAN, ..Restart::default() }), "s_min"),
        (Box::new(Langevin { per_level: usize::MAX, step: 0.1 }), "per_level"),
        (Box::new(Langevin { per_level: 0, step: 0.1 }), "per_level"),
        (Box::new(Langevin { per_level: 1, step: NAN }), "step"),
        (Box::new(DdimInverse { iterations: usize::MAX }), "iterations"),
        (Box::new(SaSolver { tau: NAN, ..SaSolver::default() }), "tau"),
        (Box::new(SaSolver { predictor: 0, ..SaSolver::default() }), "predictor"),
    ]
}

#[test]
fn options_out_of_range_are_named() {
    let levels: Vec<_> = [9.0, 3.0, 1.0, 0.0].map(NoiseLevel::variance_preserving).to_vec();
    for (solver, option) in hostile() {
        let refused = solver.plan(&levels).unwrap_err();
        assert!(matches!(refused, PlanError::Options { .. }), "{solver:?}: {refused:?}");
        let message = refused.to_string();
        assert!(message.contains(option) && message.contains(&format!("{solver:?}")), "{message}");
    }
    let schedule: ScheduleKind = "edm".parse().unwrap();
    let grid = |spacing: &dyn Spacing, what: &str| match Grid::new(&*schedule, spacing, 5, Last::Clean) {
        Err(GridError::Options { what: "spacing", problem }) => assert!(problem.contains(what), "{problem}"),
        other => panic!("{other:?}"),
    };
    grid(&Karras { rho: f64::NAN, ..Karras::default() }, "rho");
    grid(&Optimal { size: usize::MAX, ..Optimal::default() }, "size");
    grid(&Optimal { sigma_min: Some(f64::NAN), ..Optimal::default() }, "sigma_min");
}

/// Steps that are named one by one are as many as are asked for, in order, and the schedule's.
#[test]
fn named_steps_that_lead_nowhere_are_refused() {
    let words = |spacing: &str| spacing.parse::<SpacingKind>().unwrap_err().to_string();
    for (spacing, told) in [
        ("timesteps:at=0;22;", "at must fall"),
        ("timesteps:at=22;22;", "at must fall"),
        ("sigmas:at=14;1;0;", "above 0"),
        ("sigmas:at=1;14;", "at must fall"),
        ("karras:at=0;22;", "in a table of 0"),
        ("karras:of=40,at=0;40;", "in a table of 40"),
        ("karras:of=40,at=22;0;", "at must rise"),
        ("karras:of=40,at=;", "names no step"),
    ] {
        let problem = words(spacing);
        assert!(problem.starts_with("spacing `") && problem.contains(told), "{problem}");
    }
    let grid = |schedule: &str, spacing: &str, steps: usize| {
        let (schedule, spacing): (ScheduleKind, SpacingKind) = (schedule.parse().unwrap(), spacing.parse().unwrap());
        let made = Grid::new(&*schedule, &*spacing, steps, Last::Clean);
        made.map(|grid| grid.points.iter().map(|point| point.time).collect::<Vec<_>>()).map_err(|e| e.to_string())
    };
    assert_eq!(grid("linear", "timesteps:at=900;7.5;", 2), Ok(vec![900.0, 7.5]));
    assert!(grid("linear", "timesteps:at=900;7;", 10).unwrap_err().contains("names 2"));
    assert!(grid("linear", "timesteps:at=1000;7;", 2).unwrap_err().contains("1000 is no time of this schedule"));
    assert!(grid("edm", "karras:of=40,at=0;22;", 3).unwrap_err().contains("names 2"));
    // A table that is not begun at its beginning is not begun at the schedule's end.
    let (whole, part) = (grid("edm", "karras:of=40", 40).unwrap(), grid("edm", "karras:of=40,at=3;22;", 2).unwrap());
    assert_eq!(part, [whole[3], whole[22]]);
}

/// Nothing is made of a walk that is too long: these would take terabytes.
#[test]
fn walks_without_end_are_refused_at_once() {
    let schedule: ScheduleKind = "edm".parse().unwrap();
    let spacing: SpacingKind = "karras".parse().unwrap();
    for (solver, steps) in
        [("langevin:per_level=10000", 100_000), ("ddim-inverse:iterations=100", 1_000_000), ("heun", 900_000)]
    {
        let solver: SolverKind = solver.parse().unwrap();
        let grid = Grid::new(&*schedule, &*spacing, steps, Last::Clean).unwrap();
        match grid.plan(&*solver) {
            Err(PlanError::TooLong { nfe, .. }) => assert!(nfe > MOST_NFE && nfe == solver.nfe(&grid.levels())),
            other => panic!("{solver}: {:?}", other.map(|plan| plan.nfe())),
        }
    }
    let restart: SolverKind = "restart:repeats=10000,s_min=0.003,s_max=70".parse().unwrap();
    let grid = Grid::new(&*schedule, &*spacing, 1000, Last::Clean).unwrap();
    assert!(matches!(grid.plan(&*restart), Err(PlanError::TooLong { .. })));
}

/// As long as any plan may be, in a moment.
#[test]
fn long_walks_are_planned() {
    let schedule: ScheduleKind = "vp".parse().unwrap();
    let spacing: SpacingKind = "log-snr".parse().unwrap();
    for (solver, steps) in [("euler", 200_000), ("dpm2", 100_000), ("unipc", 100_000)] {
        let grid = Grid::new(&*schedule, &*spacing, steps, Last::Clean).unwrap();
        let plan = grid.plan(&*solver.parse::<SolverKind>().unwrap()).unwrap();
        assert!(plan.rows.len() >= steps);
    }
}

#[derive(Debug)]
struct Miscounts;

impl Solver for Miscounts {
    fn unchecked_plan(&self, _: &[NoiseLevel]) -> Plan {
        Plan::default()
    }

    fn order(&self) -> Option<f64> {
        None
    }
}

#[test]
fn a_solver_that_miscounts_is_told() {
    let refused = Miscounts.plan(&[NoiseLevel::variance_preserving(1.0), NoiseLevel::CLEAN]).unwrap_err();
    assert_eq!(refused, PlanError::Miscounted { solver: "Miscounts".to_owned(), nfe: 1, rows: 0 });
}

/// Numbers that are levels, and numbers that hardly are or are not.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..2.0f64,
        1 => (-300.0..300.0f64).prop_map(|e| 10f64.powf(e)),
        1 => prop::sample::select(vec![0.0, -0.0, 1.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::INFINITY, f64::NAN, -1.0]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the levels are, and in whatever order, there is a finite plan or a reason.
    #[test]
    fn any_levels_give_a_plan_or_a_reason(numbers in prop::collection::vec((number(), number()), 0..9)) {
        let levels: Vec<_> = numbers.iter().map(|&(alpha, sigma)| NoiseLevel { alpha, sigma }).collect();
        for solver in solvers() {
            match solver.plan(&levels) {
                Ok(plan) => {
                    prop_assert_eq!(plan.rows.len(), if levels.len() < 2 { 0 } else { solver.nfe(&levels) });
                    prop_assert!(plan.rows.iter().all(|row| row.x.iter().chain(&row.denoised).all(|c| c.is_finite())));
                }
                Err(e) => prop_assert!(!e.to_string().is_empty()),
            }
        }
    }

    /// Whatever numbers are typed as options of a solver or a spacing.
    #[test]
    fn any_options_give_a_plan_or_a_reason(
        value in prop_oneof![Just(0.0), Just(-1.0), Just(1e-320), Just(1e308), Just(1.8446744073709552e19), -10.0..1e5f64],
        whole in any::<bool>(),
        steps in 1..40usize,
    ) {
        let schedule: ScheduleKind = "vp".parse().unwrap();
        let written = |tag: &str, option: &str| format!("{tag}:{option}={}", if whole { value.trunc() } else { value });
        let trailing: SpacingKind = "trailing".parse().unwrap();
        for entry in SolverKind::ALL {
            for option in (entry.default)().options().keys() {
                let Ok(solver) = written(entry.tag, option).parse::<SolverKind>() else { continue };
                let grid = Grid::new(&*schedule, &*trailing, steps, Last::Clean).unwrap();
                if let Ok(plan) = grid.plan(&*solver) {
                    prop_assert_eq!(plan.nfe(), solver.nfe(&grid.levels()));
                }
            }
        }
        for entry in SpacingKind::ALL {
            for option in (entry.default)().options().keys() {
                let Ok(spacing) = written(entry.tag, option).parse::<SpacingKind>() else { continue };
                let grid = Grid::new(&*schedule, &*spacing, steps, Last::Clean);
                if let Ok(Err(e)) = grid.map(|grid| grid.plan(&Heun::default())) {
                    prop_assert!(!e.to_string().is_empty());
                }
            }
        }
    }
}
