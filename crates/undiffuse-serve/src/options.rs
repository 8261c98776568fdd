//! What the service is told when it starts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use undiffuse::burn::tensor::Device;

/// Everything that `undiffuse serve` can be told.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Model folders, run folders, and folders of either.
    pub paths: Vec<PathBuf>,
    /// Folder of LoRA files, which prompts can name; none can be named without.
    pub loras: Option<PathBuf>,
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
    pub limits: RequestLimits,
    /// Bytes that loaded models and their work may take together; what the machine has to spare when `None`.
    pub memory: Option<u64>,
    /// Which of the models' weights are read; the usual ones when `None`.
    pub variant: Option<String>,
    /// Finished jobs are kept this long.
    pub keep: Duration,
    /// All results together are kept below this, the oldest going first.
    pub keep_bytes: u64,
    /// How long it waits for clients, and for itself.
    pub waits: Waits,
}

impl ServeOptions {
    /// A service of these models for this machine alone, on a free port, that computes on the CPU `device` and keeps what it
    /// makes in `folder`: jobs in `serve`, for a week and up to 1 GB. Reports are read from `eval` there.
    pub fn new(paths: Vec<PathBuf>, folder: &Path, device: Device) -> Self {
        Self {
            paths,
            loras: None,
            reports: folder.join("eval"),
            store: folder.join("serve"),
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: None,
            insecure: false,
            hosts: Vec::new(),
            training: None,
            device,
            device_name: "cpu".into(),
            limits: RequestLimits::default(),
            memory: None,
            variant: None,
            keep: Duration::from_secs(7 * 24 * 3600),
            keep_bytes: 1 << 30,
            waits: Waits::default(),
        }
    }

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
pub struct RequestLimits {
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
    /// Letters of a prompt.
    pub prompt: usize,
    /// What a picture may cost to evaluate, in pictures of the model's own size.
    pub cost: usize,
    /// Bytes of a request's body.
    pub body: usize,
    /// Seconds of computing for one job.
    pub seconds: u64,
    /// Connections at a time.
    pub connections: usize,
    /// Connections of one address at a time; from this machine, where proxies are, all but an eighth.
    pub connections_each: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            queue: 256,
            batch: 32,
            n: 1024,
            steps: 1000,
            pixels: 1 << 20,
            prompt: 4000,
            cost: 32,
            body: 16 << 20,
            seconds: 600,
            connections: 512,
            connections_each: 128,
        }
    }
}

/// How long the service waits, for clients and for itself. Tests wait less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// A request's head has to arrive within this; a connection that is kept open may be silent as long.
    pub head: Duration,
    /// A body may take so long to arrive as a whole…
    pub body: Duration,
    /// …and pause for so long. A small body has no longer as a whole.
    pub pause: Duration,
    /// A peer that takes no byte for so long is gone.
    pub stall: Duration,
    /// Bytes a second that a peer has to take of its answer, on average over `stall`.
    pub rate: u32,
    /// What is being made when the service is asked to end may take so long; the rest is taken up at the next start.
    pub finish: Duration,
    /// The end of all work may take so long, whatever hangs.
    pub end: Duration,
    /// Answers under way when all work has ended may take so long.
    pub last_words: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(120),
            pause: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            rate: 16 << 10,
            finish: Duration::from_secs(10),
            end: Duration::from_secs(20),
            last_words: Duration::from_secs(3),
        }
    }
}
