//! `undiffuse doctor`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use undiffuse_doctor::{self as doctor, CHECKS, Diagnosis, Finding, Severity};

use crate::common::Machine;
use crate::output::{facts, show, show_json};

/// Say what is likely wrong with a run, why, and what to change.
#[derive(clap::Args)]
pub struct Args {
    /// A run made by `undiffuse train`, or a diffusers folder
    #[arg(required_unless_present = "list")]
    run: Option<PathBuf>,
    /// Pictures that a bare model should know, or the place that a run's own have moved to
    #[arg(long)]
    data: Option<PathBuf>,
    /// Say what is looked for, and stop
    #[arg(long)]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

/// Severities from the worst, and what they are called above their findings.
const SEVERITIES: [(Severity, &str); 3] =
    [(Severity::Problem, "PROBLEMS"), (Severity::Warning, "WARNINGS"), (Severity::Note, "NOTES")];
/// Columns of a line.
const WIDTH: usize = 100;

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.list {
        let checks: Vec<_> = CHECKS.iter().map(|check| (check.tag, check.about.to_owned())).collect();
        show(&facts(&checks))?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = args.run.unwrap_or_default();
    let device = args.machine.open()?;
    let diagnosis = doctor::examine(&path, args.data.as_deref(), &device)?;
    match args.json {
        true => show_json(&serde_json::to_value(&diagnosis)?)?,
        false => show(&text(&diagnosis))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(diagnosis: &Diagnosis) -> String {
    let mut out = facts(&diagnosis.facts);
    for unseen in &diagnosis.unseen {
        out += &wrapped("not seen: ", "          ", unseen);
    }
    for (severity, title) in SEVERITIES {
        let found: Vec<&Finding> = diagnosis.findings.iter().filter(|f| f.severity == severity).collect();
        if !found.is_empty() {
            let _ = writeln!(out, "\n{title}");
        }
        for finding in found {
            out += &wrapped("  ", "  ", &format!("{} [{}]", finding.what, finding.tag));
            for evidence in &finding.evidence {
                out += &wrapped("    - ", "      ", evidence);
            }
            out += &wrapped("    → ", "      ", &finding.change);
        }
    }
    if diagnosis.findings.iter().all(|f| f.severity == Severity::Note) {
        let seen = if diagnosis.unseen.is_empty() { "" } else { " in what could be seen" };
        let notes = if diagnosis.findings.is_empty() { "" } else { ", beside the notes above" };
        let _ = writeln!(out, "\nNothing looks wrong{seen}: {} checks were made{notes}.", diagnosis.checks);
    }
    out
}

/// A paragraph whose first line begins with `first` and the others with `then`.
fn wrapped(first: &str, then: &str, text: &str) -> String {
    let (mut out, mut line) = (String::new(), first.to_owned());
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out += &line;
            out.push('\n');
            (line, empty) = (then.to_owned(), true);
        }
        if !empty {
            line.push(' ');
        }
        line += word;
        empty = false;
    }
    out + &line + "\n"
}
