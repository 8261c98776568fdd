//! The peer's side: a Python environment outside the repository with pinned versions, and tcmalloc.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::root;

/// Names the environment's folder.
const ENVIRONMENT: &str = "UNDIFFUSE_BENCH_ENV";
/// Names a tcmalloc that is not where Linux distributions put it.
const TCMALLOC: &str = "UNDIFFUSE_TCMALLOC";

/// PyTorch and diffusers, ready to run.
#[derive(Debug)]
pub struct Peer {
    /// The interpreter.
    pub python: PathBuf,
    /// The allocator to preload; without it PyTorch is slower than it could be.
    pub tcmalloc: Option<PathBuf>,
    versions: String,
}

impl Peer {
    /// Versions and allocator, for the report.
    pub fn describe(&self) -> String {
        match &self.tcmalloc {
            Some(path) => format!("{}, tcmalloc ({})", self.versions, path.file_name().unwrap_or_default().display()),
            None => format!("{}, **without tcmalloc**: not PyTorch's best figures", self.versions),
        }
    }
}

/// A script of `xtask/bench`.
pub fn script(name: &str) -> PathBuf {
    root().join("xtask/bench").join(name)
}

/// Opens the environment; makes it and installs what is pinned when that is missing.
pub fn open() -> anyhow::Result<Peer> {
    let folder = folder()?;
    let python = folder.join("bin/python");
    if !python.exists() {
        eprintln!("making a Python environment in {}", folder.display());
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let requirements = script("requirements.txt");
    let mut state = state(&python, &requirements)?;
    if state["differs"] != Value::Array(Vec::new()) {
        eprintln!("installing {}: {}", requirements.display(), state["differs"]);
        succeed(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements))?;
        state = self::state(&python, &requirements)?;
    }
    let versions = state["versions"].as_str().unwrap_or_default().to_owned();
    let tcmalloc = tcmalloc();
    if tcmalloc.is_none() {
        eprintln!(
            "warning: no tcmalloc (Debian and Ubuntu: apt install libtcmalloc-minimal4; elsewhere name the file in {TCMALLOC}). \
             PyTorch will be slower than it could be, and the report says so"
        );
    }
    Ok(Peer { python, tcmalloc, versions })
}

fn folder() -> anyhow::Result<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = named(ENVIRONMENT) {
        return Ok(folder);
    }
    let cache = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    let cache = cache.with_context(|| format!("no home folder: name a folder for Python in {ENVIRONMENT}"))?;
    Ok(cache.join("undiffuse/bench-python"))
}

/// What `versions.py` says: `{"versions": "…", "differs": ["torch"]}`.
fn state(python: &Path, requirements: &Path) -> anyhow::Result<Value> {
    let output = Command::new(python).arg(script("versions.py")).arg(requirements).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {}", python.display()))?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("{} is no working Python", python.display()))
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}

fn tcmalloc() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(TCMALLOC) {
        return Some(path.into()).filter(|path: &PathBuf| path.exists());
    }
    let arch = std::env::consts::ARCH;
    let folders =
        [format!("/usr/lib/{arch}-linux-gnu"), "/usr/lib64".into(), "/usr/lib".into(), "/usr/local/lib".into()];
    let names = ["libtcmalloc_minimal.so.4", "libtcmalloc.so.4", "libtcmalloc_minimal.so", "libtcmalloc.so"];
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| Path::new(folder).join(name)))
        .find(|path| path.exists())
}
