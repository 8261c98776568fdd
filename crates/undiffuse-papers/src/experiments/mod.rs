//! One file an experiment; this table is all that the rest of the world knows of them.

pub mod heartbeat;
pub mod modes;
pub mod modes_images;
pub mod scores;
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
    Experiment {
        name: "scores",
        doc: "sliced and denoising score matching beside exact scores, and Langevin dynamics plain and annealed",
        paper: "Song19, Figures 2 and 3; Song19b",
        run: scores::run,
    },
    Experiment {
        name: "modes",
        doc: "25 Gaussians, learned by a diffusion model and by a GAN in the same minute: modes found, shares",
        paper: "Lin18, Table 1 (2D-grid)",
        run: modes::run,
    },
    Experiment {
        name: "modes-images",
        doc: "ten classes of pictures, learned by a diffusion model and by a GAN in the same time: classes found, shares",
        paper: "none: the claim on pictures",
        run: modes_images::run,
    },
];
