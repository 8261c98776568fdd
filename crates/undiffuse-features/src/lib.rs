//! Feature networks: pictures in, vectors out.
//!
//! A network is a line of [`FEATURES`]; [`open`] finds it by name. Each is a [`graph`] of layers, run by one interpreter.
//!
//! # Sources
//!
//! | key | work |
//! |---|---|
//! | Heusel17 | Heusel et al., GANs trained by a two time-scale update rule, arXiv:1706.08500 |
//! | Keys81 | Keys, Cubic convolution interpolation for digital image processing |
//! | Parmar22 | Parmar et al., On aliased resizing and surprising subtleties in GAN evaluation, arXiv:2104.11222 |
//! | Pearson01 | Pearson, On lines and planes of closest fit to systems of points in space |
//! | Sandler18 | Sandler et al., MobileNetV2, arXiv:1801.04381 |
//! | Szegedy16 | Szegedy et al., Rethinking the Inception architecture for computer vision, arXiv:1512.00567 |

mod build;
mod error;
pub mod graph;
mod inception;
mod mobilenet;
mod network;
mod pixels;
mod pth;
pub mod resize;
mod run;
mod tensors;
mod weights;

use std::path::Path;

use undiffuse_data::{Dataset, Image};

pub use error::FeatureError;
pub use network::FeatureNetwork;
pub use pixels::Pixels;
pub use tensors::{Tensor, Tensors, Weights};
pub use weights::{built_in, folders, install, installed};

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
    open: Open,
}

/// Opens features, from a file of weights or for real data.
type Open = fn(weights: Option<&Path>, real: &Dataset) -> Result<Box<dyn Features>, FeatureError>;

/// All of them, the default first.
pub const FEATURES: &[Kind] = &[
    Kind {
        tag: "mobilenet-v2",
        about: "MobileNetV2 trained on ImageNet, 1280 numbers, clean-fid's resize: quick on a CPU",
        open: |weights, _| weights::open("mobilenet-v2", weights),
    },
    Kind {
        tag: "inception-v3-fid",
        about: "InceptionV3 as in pytorch-fid, 2048 numbers: for comparison with published Fréchet distances",
        open: |weights, _| weights::open("inception-v3-fid", weights),
    },
    Kind {
        tag: "inception-v3-fid-clean",
        about: "the same network after clean-fid's resize, which does not alias",
        open: |weights, _| weights::open("inception-v3-fid-clean", weights),
    },
    Kind {
        tag: "pixels",
        about: "principal components of the real data's pixels: no network, always there, sees little of what a picture shows",
        open: |_, real| Ok(Box::new(Pixels::fit(real)?)),
    },
];

/// Opens what `spec` names: a tag of [`FEATURES`], or the path of a `.safetensors` file with a network of the user's own
/// (see [`graph`]).
///
/// `weights` is the file of weights of a network that needs one; `None` looks into [`folders`]. `real` is the data that generated pictures
/// will be compared with.
///
/// # Errors
/// An unknown name, missing or broken weights.
pub fn open(spec: &str, weights: Option<&Path>, real: &Dataset) -> Result<Box<dyn Features>, FeatureError> {
    if let Some(kind) = FEATURES.iter().find(|kind| kind.tag == spec) {
        return (kind.open)(weights, real);
    }
    let path = Path::new(spec);
    if path.extension().is_none_or(|ending| ending != "safetensors") {
        return Err(FeatureError::unknown(spec));
    }
    let file = Weights::open(path)?;
    let graph = file.graph.as_deref().ok_or_else(|| {
        let key = graph::METADATA_KEY;
        FeatureError::weights(
            path,
            format!("its metadata has no `{key}` that describes the layers; docs/features.md shows how to write one"),
        )
    })?;
    let graph = serde_json::from_str(graph).map_err(|e| {
        FeatureError::weights(path, format!("its description of the layers cannot be read: {e}. See docs/features.md"))
    })?;
    FeatureNetwork::boxed(&graph, &file.tensors, path)
}
