//! One process, measured.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::contenders::{Clock, Contender};
use super::machine::Ticks;

/// What one process took.
#[derive(Debug)]
pub struct Run {
    /// Milliseconds: the median of its runs, or from its start to the file on disk.
    pub ms: f64,
    /// Peak resident size in MiB; 0 where the system does not tell.
    pub peak_mb: f64,
    /// Share of the machine's processor time that other programs had meanwhile; 0 where the system does not tell.
    pub neighbours: f64,
    /// The line of JSON that it printed, if any, with whatever else it knows.
    pub said: Value,
}

/// Starts the contender, waits for its end and reads its figures.
pub fn run(contender: &Contender) -> anyhow::Result<Run> {
    let mut command = Command::new(&contender.program);
    command.args(&contender.words).envs(contender.environment.iter().map(|(name, value)| (*name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let before = Ticks::now();
    let mut run = match &contender.clock {
        Clock::Own => own(&mut command),
        Clock::Ours(file) => until_said(&mut command, file),
    }?;
    if let (Some(before), Some(after)) = (before, Ticks::now()) {
        run.neighbours = after.neighbours_since(before);
    }
    Ok(run)
}

fn own(command: &mut Command) -> anyhow::Result<Run> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{}: {}", output.status, last_lines(&String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let said: Value = serde_json::from_str(text.trim().lines().next_back().unwrap_or_default())
        .with_context(|| format!("its last line is no JSON: {}", last_lines(&text)))?;
    let number = |name: &str| said[name].as_f64().with_context(|| format!("it printed no `{name}`: {said}"));
    Ok(Run { ms: number("ms")?, peak_mb: number("peak_mb")?, neighbours: 0.0, said })
}

fn until_said(command: &mut Command, file: &Path) -> anyhow::Result<Run> {
    let folder = file.parent().context("a file in a folder")?;
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let (line, ms, peak_mb) = first_line(&mut child, start)?;
    let there = file.exists();
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}: {}", output.status, last_lines(&String::from_utf8_lossy(&output.stderr)));
    }
    if !there {
        bail!("it said `{}`, but {} was not there", line.trim(), file.display());
    }
    Ok(Run { ms, peak_mb, neighbours: 0.0, said: serde_json::from_str(&line).unwrap_or(Value::Null) })
}

/// The first line on the child's output, when it came, and the largest resident size up to then.
fn first_line(child: &mut Child, start: Instant) -> anyhow::Result<(String, f64, f64)> {
    let mut reader = BufReader::new(child.stdout.take().context("piped above")?);
    let (id, done) = (child.id(), AtomicBool::new(false));
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0.0f64;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(peak_mb(id));
                thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        let mut line = String::new();
        let read = reader.read_line(&mut line);
        let (ms, last) = (1e3 * start.elapsed().as_secs_f64(), peak_mb(id));
        done.store(true, Ordering::Relaxed);
        let peak = watch.join().unwrap_or(0.0).max(last);
        read.context("cannot read what it prints")?;
        // What follows is read too: a closed pipe would make the program fail.
        std::io::copy(&mut reader.by_ref(), &mut std::io::sink()).context("cannot read what it prints")?;
        Ok((line, ms, peak))
    })
}

/// Peak resident size of a living process in MiB, as Linux counts it.
fn peak_mb(id: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap_or(0.0) / 1024.0
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn shell(script: &str, clock: Clock) -> Contender {
        let words = vec!["-c".to_owned(), script.to_owned()];
        Contender { program: "/bin/sh".into(), words, environment: Vec::new(), clock }
    }

    #[test]
    fn reads_the_last_line_of_a_program_with_its_own_watch() {
        let run =
            run(&shell("echo warming up; echo '{\"ms\": 12.5, \"peak_mb\": 340, \"runs\": 7}'", Clock::Own)).unwrap();
        assert_eq!((run.ms, run.peak_mb, run.said["runs"].as_u64()), (12.5, 340.0, Some(7)));
        let error = super::run(&shell("echo no module named torch >&2; exit 3", Clock::Own)).unwrap_err();
        assert!(error.to_string().contains("no module named torch"));
        assert!(super::run(&shell("echo done", Clock::Own)).is_err());
    }

    #[test]
    fn stops_the_watch_at_the_first_line_and_not_at_the_end() {
        let folder = std::env::temp_dir().join(format!("xtask-measure-{}", std::process::id()));
        let file = folder.join("a.png");
        let makes = format!("sleep 0.2; touch {}; echo done; sleep 2", file.display());
        let run = super::run(&shell(&makes, Clock::Ours(file.clone()))).unwrap();
        assert!((200.0..2000.0).contains(&run.ms), "{} ms", run.ms);
        assert!((0.1..100.0).contains(&run.peak_mb), "{} MB", run.peak_mb);
        let error = super::run(&shell("echo done", Clock::Ours(file))).unwrap_err();
        assert!(error.to_string().contains("was not there"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
