//! Writes what the documentation shows of every registered solver: `docs/solvers.md`, the table of measured orders,
//! and `src/solver/rows.md`, the rows for three steps.
//!
//! `cargo run --release -p undiffuse-math --example solvers`

#[path = "../tests/common/mod.rs"]
mod common;

use common::{
    normal::Normal,
    orders::{self, Problem},
    rows, solvers,
};
use std::{fmt::Write, fs, io};
use undiffuse_math::prelude::*;

const STEPS: usize = 60;

fn main() -> io::Result<()> {
    fs::write(rows::FILE, rows::text())?;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/solvers.md");
    fs::write(path, table())?;
    println!("wrote {} and {path}", rows::FILE);
    Ok(())
}

fn table() -> String {
    let problem = Problem::mixture();
    let schedule = (ScheduleKind::ALL[0].default)();
    let levels: Vec<_> = (0..=STEPS).map(|i| schedule.level_at(-3.0 + 0.1 * i as f64)).collect();
    let mut text = format!(
        "# Solvers\n\n\
         Written by `cargo run --release -p undiffuse-math --example solvers`.\n\n\
         The order is that of the error at the end of a walk from log-SNR -3 to 3 in equal steps, over the \
         probability-flow ODE of a mixture of two normal distributions whose denoiser is exact; it is measured between \
         {few} and {many} steps on the {schedule} schedule, and every test run holds it to the promised one within 0.2 on \
         all schedules. Solvers that add noise are marked with their weak order, that of the mean and variance \
         of normal data, measured between 600 and 1200 steps and held to as well, and with what each of their rows \
         keeps exactly. A method \
         is no better than its worst step: those that begin with an Euler step or end with one \
         (`lower_order_final`) are of second order whatever they do between.\n\n\
         | solver | evaluations in {STEPS} steps | order | measured | what |\n|---|---|---|---|---|\n",
        few = orders::STEPS,
        many = 2 * orders::STEPS,
    );
    let all = solvers();
    for entry in SolverKind::ALL {
        for solver in all.iter().filter(|solver| solver.tag() == entry.tag) {
            let (order, measured) = match solver.order() {
                Some(order) => {
                    (order.to_string(), format!("{:.2}", problem.order(&*schedule, &**solver, orders::STEPS)))
                }
                None => {
                    let order = solver.weak_order().map_or("adds noise".to_owned(), |order| format!("weak {order}"));
                    let kept = match (solver.exact_mean(), solver.exact_variance()) {
                        (true, true) => "signal and noise exact",
                        (true, false) => "signal exact",
                        (false, true) => "noise exact",
                        (false, false) => "in the limit",
                    };
                    let normal = Normal { mean: 0.4, std: 0.5 };
                    let measured =
                        solver.weak_order().map(|_| format!("{:.2}; ", normal.weak_order(&*schedule, &**solver, 600)));
                    (order, measured.unwrap_or_default() + kept)
                }
            };
            let what = if *solver == (entry.default)() { entry.doc } else { "" };
            let nfe = solver.nfe(&levels);
            writeln!(text, "| `{solver}` | {nfe} | {order} | {measured} | {what} |").expect("a String takes anything");
        }
    }
    text
}
