//! What several commands share: exit codes, devices, threads, interruption.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use undiffuse::burn::tensor::Device;

/// Exit codes: what went wrong, for scripts.
pub const FAILED: u8 = 1;
/// The command line or a configuration was wrong.
pub const USAGE: u8 = 2;
/// Interrupted by Ctrl-C, with the state saved.
pub const INTERRUPTED: u8 = 130;

/// An error that lies in what was asked for, not in doing it.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A usage error as an `anyhow` error.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(message.into()))
}

/// The exit code that belongs to an error.
pub fn exit_code(e: &anyhow::Error) -> u8 {
    use undiffuse::device::DeviceError;
    use undiffuse::memory::TooLarge;
    use undiffuse::train::{self, TrainError};
    use undiffuse_serve::ServeError;
    let wrong_request = e.is::<Usage>()
        || e.is::<DeviceError>()
        || e.is::<TooLarge>()
        || e.is::<train::ConfigError>()
        || matches!(
            e.downcast_ref::<TrainError>(),
            Some(
                TrainError::Config(_)
                    | TrainError::Exists(_)
                    | TrainError::NoRun(_)
                    | TrainError::Remains(_)
                    | TrainError::AmongPictures(_)
                    | TrainError::TooLarge(_)
            )
        )
        || matches!(e.downcast_ref::<ServeError>(), Some(ServeError::Open(_) | ServeError::Token(_)));
    if wrong_request { USAGE } else { FAILED }
}

/// An error and its causes in one line; a cause that a message already tells is not told again.
pub fn message(e: &anyhow::Error) -> String {
    e.chain().map(ToString::to_string).fold(String::new(), |told, cause| {
        if told.is_empty() {
            cause
        } else if told.contains(&cause) {
            told
        } else {
            format!("{told}: {cause}")
        }
    })
}

/// Starting thousands of threads takes longer than most of what they could do.
const THREADS_MAX: usize = 512;

/// `--device` and `--threads`.
#[derive(clap::Args, Clone, Debug)]
pub struct Machine {
    /// Where to compute: cpu, or cuda:0, vulkan:0, … when built with that feature
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// CPU threads; all cores when not given. Results do not depend on it
    #[arg(long)]
    pub threads: Option<usize>,
}

impl Machine {
    /// Opens the device and sets the number of threads for the whole program.
    pub fn open(&self) -> anyhow::Result<Device> {
        if let Some(threads) = self.threads {
            if !(1..=THREADS_MAX).contains(&threads) {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                return Err(usage(format!(
                    "--threads {threads}: from 1 to {THREADS_MAX}; more than this machine's {cores} cores make nothing faster"
                )));
            }
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
            pool.context("cannot start the threads")?;
        }
        Ok(undiffuse::device::open(&self.device)?)
    }
}

/// `--variant`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Weights {
    /// Which of a diffusers folder's weights: fp16 is diffusion_pytorch_model.fp16.safetensors; the usual ones when not given
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
}

static STOP: AtomicBool = AtomicBool::new(false);
/// Not the same as a signal: the first one that comes after it is no reason to end at once.
static UNTIED: AtomicBool = AtomicBool::new(false);

/// Turns Ctrl-C and a polite kill into a flag; a second one ends the program at once.
pub fn catch_interrupt() -> anyhow::Result<()> {
    ctrlc::set_handler(interrupt).context("cannot listen for Ctrl-C")
}

/// Asks the program to stop; the second time it ends at once.
pub fn interrupt() {
    if STOP.swap(true, Ordering::SeqCst) {
        crate::terminal::leave();
        std::process::exit(i32::from(INTERRUPTED));
    }
}

/// Asks the program to stop, as a first Ctrl-C does, when its standard input ends: so it does not outlive who started it.
pub fn stop_with_stdin() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        UNTIED.store(true, Ordering::SeqCst);
    });
}

/// Whether an interruption was asked for.
pub fn interrupted() -> bool {
    STOP.load(Ordering::SeqCst) || UNTIED.load(Ordering::SeqCst)
}
