//! What several networks are made of, with diffusers' tensor names.

pub mod attention;
pub mod middle;
pub mod resnet;
pub mod sampler;
pub mod signal;
pub mod told;
pub mod transformer;
pub mod unet;
