//! `undiffuse eval --compare`.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use undiffuse_eval::report::{self, Report, compare, shown};

use crate::common::usage;
use crate::output::{show, show_json, table};

/// Two reports side by side, or why not.
pub fn run(a: &Path, b: &Path, allow: &[String], json: bool) -> anyhow::Result<ExitCode> {
    let (first, second) = (read(a)?, read(b)?);
    let known = first.protocol.facts();
    if let Some(part) =
        allow.iter().find(|part| !known.iter().any(|(path, _)| path == *part || path.starts_with(&format!("{part}."))))
    {
        let paths: Vec<&str> = known.iter().map(|(path, _)| path.as_str()).collect();
        return Err(usage(format!("--allow {part}: a protocol has no such part; it has {}", paths.join(", "))));
    }
    let comparison =
        compare(&first, &second, allow).map_err(|e| usage(format!("{e}\n--allow PART accepts a difference")))?;
    if json {
        let lines = comparison.lines.iter().map(|line| json!({ "a": line.a, "b": line.b, "better": line.winner() }));
        let allowed = comparison.allowed.iter().map(|(path, a, b)| json!({ "part": path, "a": a, "b": b }));
        show_json(&json!({
            "a": first.subject,
            "b": second.subject,
            "protocol": first.fingerprint,
            "figures": lines.collect::<Vec<_>>(),
            "allowed": allowed.collect::<Vec<_>>(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = comparison
        .lines
        .iter()
        .map(|line| {
            let ((a, a_interval), (b, b_interval)) = (shown(line.a), shown(line.b));
            let verdict =
                line.winner().map_or("intervals meet", |winner| if winner == "a" { "a better" } else { "b better" });
            vec![line.a.name.clone(), a, a_interval, b, b_interval, verdict.into()]
        })
        .collect();
    show(&format!("a  {}\nb  {}\n", first.subject.name, second.subject.name))?;
    for (path, a, b) in &comparison.allowed {
        show(&format!("differs  {path}: {a} | {b}\n"))?;
    }
    show(&table(&["", "a", "", "b", "", ""], &rows))?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let text = undiffuse::files::read_text(path)?;
    report::read(&text).map_err(|e| anyhow::anyhow!("`{}` cannot be read: {e}", path.display()))
}
