//! One file an experiment; this table is all that the rest of the world knows of them.

pub mod heartbeat;
pub mod swiss_roll;

use crate::Experiment;

/// Every experiment.
pub static EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "heartbeat",
        doc: "binomial diffusion on binary pulses: the bound K against the true entropy log2 5, and the bits themselves",
        paper: "Sohl15, Table 1 and Figure 2",
        run: heartbeat::run,
    },
    Experiment {
        name: "swiss-roll",
        doc: "Gaussian diffusion on a swiss roll, its rates, reverse mean and covariance learned",
        paper: "Sohl15, Table 1 and Figure 1",
        run: swiss_roll::run,
    },
    Experiment {
        name: "swiss-roll-posterior",
        doc: "the swiss roll's model times a second distribution: denoising and inpainting beside the exact posterior",
        paper: "Sohl15, section 2.5",
        run: swiss_roll::posterior::run,
    },
];
