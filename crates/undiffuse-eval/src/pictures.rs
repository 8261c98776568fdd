//! Sets of pictures, wherever they come from.

use undiffuse_data::{Dataset, Image};

/// Pictures of one size that can be read one by one, any number of times.
pub trait PictureSet: Sync {
    /// How many.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels, height, width.
    fn shape(&self) -> [usize; 3];

    /// Picture `i`, `[height, width, channels]`.
    fn pixels(&self, i: usize) -> &[u8];

    /// SHA-256 (hexadecimal) of what all of them depend on: caches go by it.
    fn fingerprint(&self) -> &str;

    /// What is said of picture `i`, where something is.
    fn caption(&self, _i: usize) -> Option<String> {
        None
    }

    /// Picture `i` as an [`Image`] of its own.
    fn image(&self, i: usize) -> Image {
        let [channels, height, width] = self.shape();
        Image::new(width, height, channels, self.pixels(i).to_vec())
    }
}

impl PictureSet for Dataset {
    fn len(&self) -> usize {
        self.len()
    }

    fn shape(&self) -> [usize; 3] {
        [self.channels(), self.height(), self.width()]
    }

    fn pixels(&self, i: usize) -> &[u8] {
        self.pixels(i)
    }

    fn fingerprint(&self) -> &str {
        self.fingerprint()
    }

    fn caption(&self, i: usize) -> Option<String> {
        self.captions(i).next().map(str::to_owned)
    }
}
