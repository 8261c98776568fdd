//! What the service is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use undiffuse::burn::tensor::Device;

/// Everything that `undiffuse serve` can be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Model folders, run folders, and folders of either.
    pub paths: Vec<PathBuf>,
    /// Folders of evaluation reports.
    pub reports: PathBuf,
    /// Folder of the store: jobs, their results.
    pub store: PathBuf,
    /// Where to listen.
    pub addr: SocketAddr,
    /// What clients must show; none is needed without.
    pub token: Option<String>,
    /// Listen beyond loopback without a token.
    pub insecure: bool,
    /// Names that clients may call this machine by, besides `localhost` and addresses.
    pub hosts: Vec<String>,
    /// Whether runs may be started, stopped and resumed, and how.
    pub training: Option<Training>,
    /// Where to compute.
    pub device: Device,
    /// The device by name.
    pub device_name: String,
    /// What one request may ask.
    pub limits: Limits,
    /// Bytes that loaded models and their work may take together; what the machine has to spare when `None`.
    pub memory: Option<u64>,
    /// Which of the models' weights are read; the usual ones when `None`.
    pub variant: Option<String>,
    /// Finished jobs are kept this long.
    pub keep: Duration,
    /// All results together are kept below this, the oldest going first.
    pub keep_bytes: u64,
}

impl Options {
    /// Where models and runs lie: the paths, and where new runs are made.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.paths.iter().chain(self.training.iter().map(|training| &training.runs)).cloned().collect()
    }
}

/// How runs are started.
#[derive(Clone, Debug)]
pub struct Training {
    /// The program: `PROGRAM train …`.
    pub program: PathBuf,
    /// The folder whose entries may be trained on.
    pub datasets: PathBuf,
    /// Where runs are made.
    pub runs: PathBuf,
}

/// What one request may ask, and how much of everything there is at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Limits {
    /// Jobs that wait.
    pub queue: usize,
    /// Pictures in one evaluation of a network.
    pub batch: usize,
    /// Pictures in a job.
    pub n: usize,
    /// Steps of a solver.
    pub steps: usize,
    /// Pixels of one picture.
    pub pixels: usize,
    /// Bytes of a request's body.
    pub body: usize,
    /// Seconds of computing for one job.
    pub seconds: u64,
    /// Connections at a time.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 256,
            batch: 32,
            n: 1024,
            steps: 1000,
            pixels: 1 << 20,
            body: 16 << 20,
            seconds: 600,
            connections: 512,
        }
    }
}
