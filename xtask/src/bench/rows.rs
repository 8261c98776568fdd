//! What is measured, and how much faster and smaller we want to be: one line a row, in the order of the goals.

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    /// Its name, which `--rows` looks into.
    pub name: &'static str,
    /// What is run.
    pub work: Work,
    /// The goal: their time over ours.
    pub faster: f64,
    /// The goal for peak memory, ours over theirs.
    pub memory: Option<f64>,
}

/// What a row runs.
#[derive(Debug)]
pub enum Work {
    /// A whole network, ours beside PyTorch's.
    Network(Task),
    /// A picture from the command line, ours beside diffusers'.
    Sample,
    /// The same from words, by Stable Diffusion.
    Words,
    /// Our own network on one thread beside itself on two.
    Threads(Task),
}

/// One network at one batch size.
#[derive(Debug)]
pub struct Task {
    /// A file of `xtask/bench/networks`, without its ending; or a folder of [`PIPELINE`], as `stable-diffusion/unet`.
    pub network: &'static str,
    /// `step` (forward, backward, AdamW), `forward`, or `decode` of an autoencoder.
    pub what: &'static str,
    /// Pictures at a time.
    pub batch: usize,
}

const fn network(
    name: &'static str,
    network: &'static str,
    what: &'static str,
    batch: usize,
    faster: f64,
    memory: Option<f64>,
) -> Row {
    Row { name, work: Work::Network(Task { network, what, batch }), faster, memory }
}

const fn threads(name: &'static str, what: &'static str) -> Row {
    Row { name, work: Work::Threads(Task { network: "reference", what, batch: 32 }), faster: 1.9, memory: None }
}

/// Threads of every program, other than in the rows about threads.
pub const THREADS: usize = 2;
/// Network evaluations of the sampling row.
pub const STEPS: usize = 20;
/// The same of the row from words, each with and without them.
pub const STEPS_OF_WORDS: usize = 4;
/// The pipeline as large as Stable Diffusion 1.5, with random weights, that `xtask/bench/stable_diffusion.py` makes.
pub const PIPELINE: &str = "stable-diffusion";

/// The goals: the reference network is 32×32×3 with channels (64, 128, 128), `grey28` is 28×28×1 (levels 28, 14, 7),
/// `colour64` 64×64×3 with channels (64, 128, 256), `dit` a transformer of 12 blocks 384 wide on patches of 2×2 of 16×16×12.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    network("reference: step, batch 32",    "reference", "step",    32, 2.0, Some(0.55)),
    network("reference: forward, batch 32", "reference", "forward", 32, 2.2, None),
    network("reference: forward, batch 16", "reference", "forward", 16, 2.2, None),
    network("reference: forward, batch 1",  "reference", "forward",  1, 2.0, None),
    network("grey28: step, batch 32",       "grey28",    "step",    32, 1.7, None),
    network("grey28: forward, batch 32",    "grey28",    "forward", 32, 1.7, None),
    network("grey28: forward, batch 16",    "grey28",    "forward", 16, 1.7, None),
    network("grey28: forward, batch 1",     "grey28",    "forward",  1, 1.7, None),
    network("colour64: step, batch 32",     "colour64",  "step",    32, 1.7, None),
    network("colour64: forward, batch 32",  "colour64",  "forward", 32, 1.7, None),
    network("colour64: forward, batch 16",  "colour64",  "forward", 16, 1.7, None),
    network("colour64: forward, batch 1",   "colour64",  "forward",  1, 1.7, None),
    network("dit: step, batch 32",          "dit",       "step",    32, 1.3, Some(0.6)),
    Row { name: "sample: process start to PNG, 1 picture, 20 evaluations", work: Work::Sample, faster: 10.0, memory: None },
    threads("threads 1 to 2: reference step, batch 32", "step"),
    threads("threads 1 to 2: reference forward, batch 32", "forward"),
];

/// The goals for models that people have on disk: Stable Diffusion 1.5's networks for pictures of 512×512, one at a time.
#[rustfmt::skip]
pub const PIPELINES: &[Row] = &[
    network("stable diffusion: U-Net, 512×512", "stable-diffusion/unet", "forward", 1, 1.25, None),
    network("stable diffusion: VAE decode, 512×512", "stable-diffusion/vae", "decode", 1, 1.8, Some(0.4)),
    Row { name: "stable diffusion: process start to PNG, 4 steps", work: Work::Words, faster: 1.6, memory: Some(0.9) },
];
