//! Feature networks: pictures in, vectors out.
//!
//! A network is a line of [`FEATURES`]; [`open`] finds it by name.

mod error;
mod pixels;

use std::path::Path;

use undiffuse_data::{Dataset, Image};

pub use error::FeatureError;
pub use pixels::Pixels;

/// A network (or none) that turns pictures into vectors whose distances mean something.
pub trait Features: Sync {
    /// Its name in reports, such as `mobilenet-v2`.
    fn name(&self) -> &str;

    /// SHA-256 (hexadecimal) of everything its vectors depend on: weights, layers, resize filter, normalisation.
    fn fingerprint(&self) -> &str;

    /// What a report says of how pictures enter it, such as `224×224, bicubic as Pillow's, ImageNet mean and deviation`.
    fn input(&self) -> String;

    /// Numbers in a vector.
    fn dims(&self) -> usize;

    /// Appends the vectors of pictures to `out`: `[images.len(), dims]`. The vector of a picture does not depend on its batch.
    /// Pictures are 8-bit, grey or RGB, of any size.
    fn extract(&self, images: &[Image], out: &mut Vec<f32>);
}

/// A way to features: a line of [`FEATURES`].
pub struct Kind {
    /// Its word on command lines and in reports.
    pub tag: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    open: fn(weights: Option<&Path>, real: &Dataset) -> Result<Box<dyn Features>, FeatureError>,
}

/// All of them, the default first.
pub const FEATURES: &[Kind] = &[Kind {
    tag: "pixels",
    about: "principal components of the real data's pixels, at most 32×32: no network, always there",
    open: |_, real| Ok(Box::new(Pixels::fit(real)?)),
}];

/// Opens what `spec` names: a tag of [`FEATURES`], or the path of a `.safetensors` file with a network of the user's own.
///
/// `weights` is the file of weights of a network that needs one; `None` looks for it where
/// networks are installed. `real` is the data that generated pictures will be compared with.
///
/// # Errors
/// An unknown name, missing or broken weights.
pub fn open(spec: &str, weights: Option<&Path>, real: &Dataset) -> Result<Box<dyn Features>, FeatureError> {
    if let Some(kind) = FEATURES.iter().find(|kind| kind.tag == spec) {
        return (kind.open)(weights, real);
    }
    let known = FEATURES.iter().map(|kind| kind.tag).collect::<Vec<_>>().join(", ");
    Err(FeatureError::Unknown { spec: spec.to_owned(), known })
}
