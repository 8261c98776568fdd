//! Networks on [Burn](burn): the U-Net of the field's checkpoints, the operations it is written in,
//! and its weights in diffusers' format.
//!
//! A network here is the bare function `F(x, t) → y`; what its output *means* (noise, image,
//! velocity…) is a parameterisation, and lives in `undiffuse-math`.

pub mod init;
pub mod layers;
pub mod ops;
pub mod params;
pub mod unet;
pub mod weights;

pub use unet::{Labels, UNet2DConfig, UNet2DModel};
