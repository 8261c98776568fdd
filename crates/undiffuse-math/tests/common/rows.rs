//! The rows of each solver for three steps, as its documentation shows them.

use std::{fmt::Write, path::PathBuf};
use undiffuse_math::{prelude::*, registry::Entry};

/// Where a solver's documentation includes its rows from.
pub fn file(entry: &Entry<SolverKind>) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/solver/rows")).join(format!("{}.txt", entry.tag))
}

/// Markdown for three steps with the defaults, on levels of rectified flow, whose coefficients are short.
pub fn text(entry: &Entry<SolverKind>) -> String {
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
        rows.push([level(row.level), level(row.to), list(&row.x), list(&row.denoised), number(row.noise)]);
    }
    let widths: Vec<_> = (0..5).map(|k| rows.iter().map(|cells| cells[k].len()).max().unwrap_or(0)).collect();
    let mut text = format!(
        "\n# Rows\nOf three steps through the levels `(alpha, sigma)` = {}, starting from {}:\n```text\n",
        grid.levels().into_iter().map(|l| format!("({})", level(l))).collect::<Vec<_>>().join(", "),
        if plan.start == 0.0 { "a picture".to_owned() } else { format!("noise of {}", number(plan.start)) },
    );
    for cells in rows {
        let line: String = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}   ")).collect();
        writeln!(text, "{}", line.trim_end()).expect("a String takes anything");
    }
    text + "```\n"
}
