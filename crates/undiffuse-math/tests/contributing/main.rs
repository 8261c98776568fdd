//! The solver that CONTRIBUTING.md shows, compiled as it stands there and held to what it promises.

#[path = "../common/mod.rs"]
mod common;
mod my_solver;

// What `super` and `crate` are where it says to put the file.
use undiffuse_math::{level, plan, prelude::*};

use common::{
    orders::{Problem, STEPS},
    schedules, spacings,
};
use my_solver::MySolver;

#[test]
fn contributing_shows_this_file() {
    let guide = include_str!("../../../../CONTRIBUTING.md");
    let indented: String = include_str!("my_solver.rs")
        .lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("   {line}\n") })
        .collect();
    assert!(
        guide.contains(&format!("```rust\n{indented}   ```")),
        "CONTRIBUTING.md shows another tests/contributing/my_solver.rs"
    );
}

/// It is Euler's method, on every schedule, spacing and number of steps.
#[test]
fn it_walks_as_euler_does() {
    let euler: SolverKind = "euler".parse().unwrap();
    for schedule in schedules() {
        for spacing in spacings() {
            for last in [Last::Clean, Last::FirstStep] {
                let grid = Grid::new(&*schedule, &*spacing, 7, last).unwrap();
                assert_eq!(grid.plan(&MySolver {}).unwrap(), grid.plan(&*euler).unwrap(), "{schedule} {spacing}");
            }
        }
        let order = Problem::mixture().order(&*schedule, &MySolver {}, STEPS);
        assert!((order - 1.0).abs() < 0.2, "{schedule}: {order}");
    }
    assert_eq!(MySolver {}.plan(&[]).unwrap(), Plan::default());
    let clean = [NoiseLevel::CLEAN; 2];
    assert_eq!(MySolver {}.plan(&clean).unwrap().rows[0].x, [1.0]);
}

#[test]
fn it_refuses_options_that_it_does_not_have() {
    assert!(serde_json::from_str::<MySolver>("{}").is_ok());
    assert!(serde_json::from_str::<MySolver>(r#"{"eta": 1}"#).is_err());
}
