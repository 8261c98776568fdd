//! Centre-crop and resize: any picture → the square that a network sees.

use fast_image_resize as fir;
use fir::images::{TypedImage, TypedImageRef};

use crate::Image;

/// What a pixel of a resized picture is made of; each filter is widened by the reduction factor, as Pillow's of that name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A windowed sinc over three pixels to either side.
    Lanczos,
    /// A triangle over one.
    Bilinear,
    /// Keys' cubic with a = -1/2 over two.
    Bicubic,
}

impl From<Filter> for fir::FilterType {
    fn from(filter: Filter) -> Self {
        match filter {
            Filter::Lanczos => Self::Lanczos3,
            Filter::Bilinear => Self::Bilinear,
            Filter::Bicubic => Self::CatmullRom,
        }
    }
}

/// The largest centred square of the picture: `(left, top, side)`; an odd remainder is cut at the right or bottom.
pub fn center_square(width: usize, height: usize) -> (usize, usize, usize) {
    let side = width.min(height);
    ((width - side) / 2, (height - side) / 2, side)
}

/// Centre-crops to a square and resizes to `size`×`size`.
///
/// The filter is Lanczos3 with its support widened by the reduction factor, so that shrinking does not alias
/// (Pillow's `LANCZOS`; plain bilinear sampling is what makes scores irreproducible [Parmar22, "On Aliased Resizing"]).
/// Fixed-point arithmetic makes the result the same on every CPU. Pixels are filtered as stored (gamma-encoded sRGB).
/// A square picture of the right size is returned untouched.
///
/// # Panics
/// If the picture has no pixels, or `size` is 0.
pub fn square(image: &Image, size: usize) -> Image {
    let (left, top, side) = center_square(image.width, image.height);
    // Cut out first: a filter that looked beyond the edge of the crop would let its surroundings shine in.
    resize(&image.crop(left, top, side, side), size, size)
}

/// Resizes the whole picture to `width`×`height` without regard to its proportions; the filter is that of [`square`].
///
/// # Panics
/// If the picture has no pixels, or `width` or `height` is 0.
pub fn resize(image: &Image, width: usize, height: usize) -> Image {
    resize_by(Filter::Lanczos, image, width, height)
}

/// The same by another filter.
///
/// # Panics
/// As [`resize`].
pub fn resize_by(filter: Filter, image: &Image, width: usize, height: usize) -> Image {
    assert!(!image.pixels.is_empty() && width > 0 && height > 0, "resizing needs pixels on both sides");
    if (image.width, image.height) == (width, height) {
        return image.clone();
    }
    let pixels = match image.channels {
        4 => filtered(filter, &image.pixels, (image.width, image.height), (width, height), true),
        channels => filtered(filter, &widened(image), (image.width, image.height), (width, height), false)
            .chunks_exact(4)
            .flat_map(|pixel| &pixel[..channels])
            .copied()
            .collect(),
    };
    Image { width, height, channels: image.channels, pixels }
}

/// Each pixel as four bytes. All pictures are resized as one type of pixel: the library compiles dozens of filters for every further type.
fn widened(image: &Image) -> Vec<u8> {
    let mut pixels = vec![0; image.width * image.height * 4];
    for (wide, pixel) in pixels.chunks_exact_mut(4).zip(image.pixels.chunks_exact(image.channels)) {
        wide[..image.channels].copy_from_slice(pixel);
    }
    pixels
}

/// Resizes pixels of four channels; with `alpha` the fourth says how much the others count.
fn filtered(by: Filter, pixels: &[u8], from: (usize, usize), to: (usize, usize), alpha: bool) -> Vec<u8> {
    let mut resized = vec![0; to.0 * to.1 * 4];
    let input = TypedImageRef::<fir::pixels::U8x4>::from_buffer(from.0 as u32, from.1 as u32, pixels)
        .expect("four bytes a pixel");
    let mut output = TypedImage::from_buffer(to.0 as u32, to.1 as u32, &mut resized).expect("as many as it needs");
    let options = fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(by.into())).use_alpha(alpha);
    fir::Resizer::new().resize_typed(&input, &mut output, &options).expect("the whole picture is taken");
    resized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_square_is_centred() {
        assert_eq!(center_square(7, 4), (1, 0, 4));
        assert_eq!(center_square(4, 7), (0, 1, 4));
        assert_eq!(center_square(5, 5), (0, 0, 5));
    }

    #[test]
    fn right_size_is_untouched_and_a_crop_copies() {
        let image = Image::new(4, 4, 1, (0..16).map(|v| v * 16).collect());
        assert_eq!(square(&image, 4), image);
        let wide = Image::new(4, 2, 1, (0..8).collect());
        assert_eq!(square(&wide, 2).pixels, [1, 2, 5, 6]);
    }

    #[test]
    fn shrinking_averages_a_fine_checkerboard() {
        // Every second pixel is white: the mean is 127.5 everywhere, and an aliasing filter would give 0 or 255.
        let board = Image::new(64, 64, 1, (0..64 * 64).map(|i| if (i / 64 + i) % 2 == 0 { 255 } else { 0 }).collect());
        let small = square(&board, 8);
        assert!(small.pixels.iter().all(|&v| (124..=131).contains(&v)), "{:?}", small.pixels);
    }

    #[test]
    fn alpha_and_colour_keep_their_channels() {
        for channels in [1, 3, 4] {
            let image = Image::filled(9, 5, &[200, 100, 50, 255][..channels]);
            let small = square(&image, 3);
            assert_eq!(small, Image::filled(3, 3, &[200, 100, 50, 255][..channels]));
        }
    }
}
