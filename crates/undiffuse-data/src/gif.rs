//! Animated GIF writing.

use crate::{DataError, Image};

/// An endlessly looping GIF; each frame is shown for `delay_ms` (GIF counts in hundredths of a second,
/// and viewers slow down below 20 ms). Grey frames keep 256 exact levels; colour frames are
/// reduced to 256 colours of their own by NeuQuant.
///
/// # Errors
/// [`DataError::Encode`] without frames, or when their sizes differ or exceed 65,535 pixels a side.
pub fn gif(frames: &[Image], delay_ms: u32) -> Result<Vec<u8>, DataError> {
    let fail = |reason: String| DataError::Encode { what: "GIF", reason };
    let first = frames.first().ok_or_else(|| fail("there are no frames".into()))?;
    let side = |v: usize| u16::try_from(v).map_err(|_| fail(format!("{v} pixels a side is more than 65,535")));
    let (width, height) = (side(first.width)?, side(first.height)?);
    let mut bytes = Vec::new();
    let mut encoder = gif::Encoder::new(&mut bytes, width, height, &[]).map_err(|e| fail(e.to_string()))?;
    encoder.set_repeat(gif::Repeat::Infinite).map_err(|e| fail(e.to_string()))?;
    // Datasets leave it out: its frames are no pictures of their own.
    let comment = encoder.write_raw_extension(gif::Extension::Comment.into(), &[crate::maker::gif_comment()]);
    comment.map_err(|e| fail(e.to_string()))?;
    for (i, image) in frames.iter().enumerate() {
        if (image.width, image.height) != (first.width, first.height) {
            let (w, h) = (image.width, image.height);
            return Err(fail(format!("frame {i} is {w}x{h}, the first is {}x{}", first.width, first.height)));
        }
        let mut frame = match image.is_grey() {
            true => {
                let palette: Vec<u8> = (0..=255).flat_map(|v| [v; 3]).collect();
                gif::Frame::from_palette_pixels(width, height, image.to_grey().pixels, palette, None)
            }
            false => gif::Frame::from_rgb_speed(width, height, &image.clone().flatten([255; 3]).pixels, 5),
        };
        frame.delay = (delay_ms / 10).min(u16::MAX as u32) as u16;
        encoder.write_frame(&frame).map_err(|e| fail(e.to_string()))?;
    }
    drop(encoder);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use ::image::AnimationDecoder;

    use super::*;

    #[test]
    fn frames_delay_and_pixels_are_read_back() {
        let frames: Vec<_> = (0..3u8).map(|v| Image::filled(4, 3, &[v * 60])).collect();
        let bytes = gif(&frames, 80).unwrap();
        let decoder = ::image::codecs::gif::GifDecoder::new(std::io::Cursor::new(bytes)).unwrap();
        let back = decoder.into_frames().collect_frames().unwrap();
        assert_eq!(back.len(), 3);
        assert_eq!(back[2].delay().numer_denom_ms(), (80, 1));
        assert_eq!(back[2].buffer().get_pixel(1, 1).0, [120, 120, 120, 255]);
    }

    #[test]
    fn few_colours_are_exact() {
        let frame = Image::new(2, 1, 3, vec![200, 10, 30, 5, 250, 90]);
        let bytes = gif(std::slice::from_ref(&frame), 100).unwrap();
        let back = ::image::load_from_memory(&bytes).unwrap().to_rgb8();
        assert_eq!(back.as_raw(), &frame.pixels);
    }

    #[test]
    fn refusals() {
        assert!(gif(&[], 100).is_err());
        assert!(gif(&[Image::filled(2, 2, &[0]), Image::filled(3, 2, &[0])], 100).is_err());
    }
}
