//! The rows of each solver for three steps, as its documentation shows them.

use std::fmt::Write;
use undiffuse_math::{prelude::*, registry::Entry};

/// Where the documentation of solvers includes the rows from.
pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/solver/rows.md");

/// Markdown for three steps of every solver with its defaults, on levels of rectified flow, whose coefficients are short.
pub fn text() -> String {
    let intro = "# Rows\n\nOf three steps through levels `(alpha, sigma)` of rectified flow; written by the example `solvers`.\n";
    SolverKind::ALL.iter().map(of).fold(intro.to_owned(), |text, rows| text + &rows)
}

fn of(entry: &Entry<SolverKind>) -> String {
    let schedule: ScheduleKind = "flow".parse().expect("flow is registered");
    let points = [0.8, 0.5, 0.2].map(|time| Point::at(&*schedule, time)).to_vec();
    let grid = Grid { points, last: NoiseLevel::CLEAN, schedule: &*schedule };
    let plan = grid.plan(&*(entry.default)()).unwrap();
    let number = |v: f64| {
        let text = format!("{v:.4}");
        let short = text.trim_end_matches('0').trim_end_matches('.');
        if short == "-0" { "0".to_owned() } else { short.to_owned() }
    };
    let list = |values: &[f64]| values.iter().map(|&v| number(v)).collect::<Vec<_>>().join(", ");
    let level = |l: NoiseLevel| list(&[l.alpha, l.sigma]);
    let mut rows = vec![["at", "makes", "x by lag", "D by lag", "noise"].map(str::to_owned)];
    for row in &plan.rows {
        rows.push([level(row.level), level(row.next), list(&row.x), list(&row.denoised), number(row.noise)]);
    }
    let widths: Vec<_> = (0..5).map(|k| rows.iter().map(|cells| cells[k].len()).max().unwrap_or(0)).collect();
    let mut text = format!(
        "\n## {}\n{}, starting from {}:\n```text\n",
        entry.tag,
        entry.doc,
        if plan.init_noise_sigma == 0.0 {
            "a picture".to_owned()
        } else {
            format!("noise of {}", number(plan.init_noise_sigma))
        },
    );
    for cells in rows {
        let line: String = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}   ")).collect();
        writeln!(text, "{}", line.trim_end()).expect("a String takes anything");
    }
    text + "```\n"
}
