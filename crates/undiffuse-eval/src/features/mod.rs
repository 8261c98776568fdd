//! Feature networks: pictures in, vectors out.

use undiffuse_data::Image;

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
