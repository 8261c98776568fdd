//! Labels on pictures, in the public-domain 8×8 bitmap font.

use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};

use crate::Image;

/// Width and height of a character at scale 1, in pixels.
pub const GLYPH: usize = 8;

/// Width of `text` in pixels at `scale`.
pub fn text_width(text: &str, scale: usize) -> usize {
    text.chars().count() * GLYPH * scale.max(1)
}

/// Draws one line with its top left corner at `(x, y)`, each font pixel `scale` pixels wide.
/// Basic Latin, Latin-1 and Greek have glyphs; anything else becomes `?`. What falls outside is cut off.
///
/// # Panics
/// If `color` has fewer values than the picture has channels.
pub fn draw_text(image: &mut Image, x: usize, y: usize, text: &str, scale: usize, color: &[u8]) {
    let scale = scale.max(1);
    let (channels, color) = (image.channels, &color[..image.channels]);
    for (i, character) in text.chars().enumerate() {
        for (row, bits) in glyph(character).into_iter().enumerate() {
            for column in (0..GLYPH).filter(|column| bits >> column & 1 == 1) {
                let left = x + (i * GLYPH + column) * scale;
                let top = y + row * scale;
                for py in top..(top + scale).min(image.height) {
                    for px in left..(left + scale).min(image.width) {
                        let at = (py * image.width + px) * channels;
                        image.pixels[at..at + channels].copy_from_slice(color);
                    }
                }
            }
        }
    }
}

/// Draws a line centred in the columns `x .. x + width`, cut at the end (with `..`) when it does not fit.
pub fn draw_centered(image: &mut Image, x: usize, y: usize, width: usize, text: &str, scale: usize, color: &[u8]) {
    let text = fit(text, width, scale);
    let left = x + (width - text_width(&text, scale).min(width)) / 2;
    draw_text(image, left, y, &text, scale, color);
}

/// `text`, shortened so that it fits into `width` pixels.
pub fn fit(text: &str, width: usize, scale: usize) -> String {
    let room = width / (GLYPH * scale.max(1));
    match text.chars().count() {
        n if n <= room => text.to_string(),
        _ if room <= 2 => text.chars().take(room).collect(),
        _ => text.chars().take(room - 2).chain("..".chars()).collect(),
    }
}

fn glyph(character: char) -> [u8; 8] {
    let found =
        BASIC_FONTS.get(character).or_else(|| LATIN_FONTS.get(character)).or_else(|| GREEK_FONTS.get(character));
    found.or_else(|| BASIC_FONTS.get('?')).unwrap_or([0; 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ink(text: &str, scale: usize) -> usize {
        let mut image = Image::filled(40, 16, &[255]);
        draw_text(&mut image, 0, 0, text, scale, &[0]);
        image.pixels.iter().filter(|&&v| v == 0).count()
    }

    #[test]
    fn letters_leave_ink_and_scale() {
        assert_eq!(ink(" ", 1), 0);
        assert!(ink("A", 1) > 10);
        assert_eq!(ink("A", 2), 4 * ink("A", 1));
        assert!(ink("σ", 1) > 5 && ink("σ", 1) != ink("?", 1));
        assert_eq!(ink("猫", 1), ink("?", 1));
    }

    #[test]
    fn an_upright_l_stands_on_the_left() {
        let mut image = Image::filled(8, 8, &[0]);
        draw_text(&mut image, 0, 0, "L", 1, &[1]);
        let left: u32 = (0..8).map(|y| image.pixel(1, y)[0] as u32 + image.pixel(2, y)[0] as u32).sum();
        let right: u32 = (0..5).map(|y| image.pixel(5, y)[0] as u32 + image.pixel(6, y)[0] as u32).sum();
        assert!(left > right, "the glyph is mirrored");
    }

    #[test]
    fn text_is_cut_at_the_edge_and_shortened() {
        let mut image = Image::filled(5, 5, &[0, 0, 0]);
        draw_text(&mut image, 3, 3, "WWW", 3, &[1, 2, 3]);
        assert_eq!(fit("Ankle boot", 48, 1), "Ankl..");
        assert_eq!(fit("Bag", 24, 1), "Bag");
        assert_eq!(fit("Bag", 8, 1), "B");
    }
}
