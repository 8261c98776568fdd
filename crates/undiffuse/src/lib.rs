//! Diffusion models: train, sample, keep.
pub mod denoise;
pub mod device;
pub mod files;
pub mod forward;
pub mod image;
pub mod model;
pub mod sample;
pub mod train;

pub use burn;
pub use files::FileError;
pub use model::Model;
pub use undiffuse_data as data;
pub use undiffuse_math as math;
pub use undiffuse_nn as nn;
