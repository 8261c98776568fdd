//! The service's process and the offline command that it is compared with.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::http::Service;

/// A service that was started here; it is ended when this is dropped.
pub struct Started {
    child: Child,
    /// Where it answers.
    pub service: Service,
}

impl Started {
    /// Starts the program on a free port, with its store in `folder`.
    pub fn new(program: &Path, model: &Path, folder: &Path, more: &[String]) -> anyhow::Result<Self> {
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut child = Command::new(program)
            .arg("serve")
            .arg(model)
            .args(["--addr", &addr, "--reports"])
            .arg(folder.join("eval"))
            .arg("--store")
            .arg(folder.join("store"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let service = Service { addr, token: None };
        for _ in 0..300 {
            if let Some(status) = child.try_wait()? {
                bail!("the service ended at once: {status}");
            }
            if service.ask("GET", "/readyz", None).is_ok_and(|answer| answer.status == 200) {
                return Ok(Self { child, service });
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("the service is not ready after 30 s")
    }

    /// Resident bytes of the process now and at most, in MiB.
    pub fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
        };
        (mib("VmRSS:"), mib("VmHWM:"))
    }

    /// Asks it to end, and expects that it does, in order.
    pub fn end(mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let asked = Command::new("kill").arg(self.child.id().to_string()).status()?;
        ensure!(asked.success(), "cannot send a signal");
        let status = self.child.wait()?;
        ensure!(status.success(), "the service ended with {status}");
        Ok(start.elapsed())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pictures a second of `PROGRAM sample`, its start and the reading of the model left out: the slope between two lengths.
pub fn offline(program: &Path, model: &Path, folder: &Path, steps: usize, n: usize) -> anyhow::Result<f64> {
    let few = n / 8;
    let [short, long] = [few, n].map(|n| -> anyhow::Result<f64> {
        let out: PathBuf = folder.join(format!("offline-{n}"));
        let start = Instant::now();
        let output = Command::new(program)
            .arg("sample")
            .arg(model)
            .args(["-n", &n.to_string(), "--steps", &steps.to_string(), "--out"])
            .arg(&out)
            .output()?;
        let took = start.elapsed().as_secs_f64();
        ensure!(output.status.success(), "sample: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::remove_dir_all(&out)?;
        Ok(took)
    });
    Ok((n - few) as f64 / (long? - short?))
}
