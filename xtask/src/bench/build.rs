//! Our own programs, built by cargo into its usual folder.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::root;

/// Builds `undiffuse-nn`'s whole-network bench and says where it lies.
pub fn network() -> anyhow::Result<PathBuf> {
    executable(&["bench", "--package", "undiffuse-nn", "--bench", "network", "--no-run"], "network")
}

/// Builds the command-line program and says where it lies.
pub fn undiffuse() -> anyhow::Result<PathBuf> {
    executable(&["build", "--release", "--package", "undiffuse-cli"], "undiffuse")
}

fn executable(words: &[&str], target: &str) -> anyhow::Result<PathBuf> {
    eprintln!("cargo {}", words.join(" "));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).arg("--message-format=json-render-diagnostics").current_dir(root()).stderr(Stdio::inherit());
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo {} failed", words.join(" "));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let of = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == target).then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    };
    said.lines().filter_map(of).next_back().with_context(|| format!("cargo built no executable named {target}"))
}

/// Our version for the report: the commit, and whether anything differs from it.
pub fn versions() -> String {
    let says = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).current_dir(root()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
    };
    let commit = says("git", &["rev-parse", "--short", "HEAD"]);
    let changed = says("git", &["status", "--porcelain", "--untracked-files=no", "--", "crates", "Cargo.lock"]);
    let commit = match (commit, changed) {
        (Some(commit), Some(_)) => format!("commit {commit} with changes that are not committed"),
        (Some(commit), None) => format!("commit {commit}"),
        _ => "of no known commit".into(),
    };
    format!("undiffuse {} ({commit}), {}", env!("CARGO_PKG_VERSION"), says("rustc", &["--version"]).unwrap_or_default())
}
