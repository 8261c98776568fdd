//! The picture type that the whole project passes around, and simple arrangements of pictures.

/// An 8-bit picture: rows from the top, pixels from the left, channels innermost (HWC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// 1 (grey), 3 (RGB) or 4 (RGBA, before it is flattened).
    pub channels: usize,
    /// `height * width * channels` values.
    pub pixels: Vec<u8>,
}

impl Image {
    /// A picture of one colour; `color` has one value for each channel.
    ///
    /// # Panics
    /// If `color` does not have 1, 3 or 4 values.
    pub fn filled(width: usize, height: usize, color: &[u8]) -> Image {
        assert!(matches!(color.len(), 1 | 3 | 4), "a colour has 1, 3 or 4 channels, not {}", color.len());
        Image { width, height, channels: color.len(), pixels: color.repeat(width * height) }
    }

    /// A picture from its pixels (HWC).
    ///
    /// # Panics
    /// If `pixels.len() != width * height * channels`.
    pub fn new(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Image {
        assert_eq!(pixels.len(), width * height * channels, "{width}x{height}x{channels} pixels");
        Image { width, height, channels, pixels }
    }

    /// A picture from one sample of a batch: `chw` is `[channels, height, width]` in [−1, 1], which
    /// becomes `round((x + 1) · 127.5)`; values outside are clamped, NaN becomes 0.
    ///
    /// # Panics
    /// If `chw.len() != width * height * channels`.
    pub fn from_chw(width: usize, height: usize, channels: usize, chw: &[f32]) -> Image {
        let plane = width * height;
        assert_eq!(chw.len(), plane * channels, "{width}x{height}x{channels} values");
        let byte = |x: f32| ((x + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
        let pixels = (0..plane).flat_map(|i| (0..channels).map(move |c| byte(chw[c * plane + i]))).collect();
        Image { width, height, channels, pixels }
    }

    /// The channel values of one pixel.
    pub fn pixel(&self, x: usize, y: usize) -> &[u8] {
        let at = (y * self.width + x) * self.channels;
        &self.pixels[at..at + self.channels]
    }

    /// Whether every pixel has equal red, green and blue (and no transparency).
    pub fn is_grey(&self) -> bool {
        match self.channels {
            1 => true,
            3 => self.pixels.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]),
            _ => self.pixels.chunks_exact(4).all(|p| p[0] == p[1] && p[1] == p[2] && p[3] == 255),
        }
    }

    /// One channel: luma by ITU-R BT.601, `(19595 R + 38470 G + 7471 B + 32768) / 65536` as in Pillow's
    /// `convert("L")`. Equal red, green and blue keep their value. Alpha is dropped.
    pub fn to_grey(&self) -> Image {
        let luma = |p: &[u8]| ((19595 * p[0] as u32 + 38470 * p[1] as u32 + 7471 * p[2] as u32 + 32768) >> 16) as u8;
        let pixels = match self.channels {
            1 => self.pixels.clone(),
            n => self.pixels.chunks_exact(n).map(luma).collect(),
        };
        Image { channels: 1, pixels, ..*self }
    }

    /// Three channels: grey is repeated, alpha is dropped.
    pub fn to_rgb(&self) -> Image {
        let pixels = match self.channels {
            1 => self.pixels.iter().flat_map(|&v| [v; 3]).collect(),
            3 => self.pixels.clone(),
            n => self.pixels.chunks_exact(n).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        };
        Image { channels: 3, pixels, ..*self }
    }

    /// 1 or 3 channels: [`to_grey`](Self::to_grey) or [`to_rgb`](Self::to_rgb).
    pub fn to_channels(&self, channels: usize) -> Image {
        if channels == 1 { self.to_grey() } else { self.to_rgb() }
    }

    /// Blends RGBA onto a colour, `round(α·c + (1 − α)·background)`. Pictures without alpha are returned as they are.
    pub fn flatten(self, background: [u8; 3]) -> Image {
        if self.channels != 4 {
            return self;
        }
        let blend = |c: u8, b: u8, a: u32| ((c as u32 * a + b as u32 * (255 - a) + 127) / 255) as u8;
        let over = |p: &[u8]| [0, 1, 2].map(|c| blend(p[c], background[c], p[3] as u32));
        let pixels = self.pixels.chunks_exact(4).flat_map(over).collect();
        Image { channels: 3, pixels, ..self }
    }

    /// Mirrored left to right.
    pub fn flip(&self) -> Image {
        let row = self.width * self.channels;
        let mirrored = |r: &[u8]| r.chunks_exact(self.channels).rev().flatten().copied().collect::<Vec<_>>();
        let pixels = self.pixels.chunks_exact(row.max(1)).flat_map(mirrored).collect();
        Image { pixels, ..*self }
    }

    /// The part of the picture that begins at `(left, top)`.
    ///
    /// # Panics
    /// If the part reaches beyond the picture.
    pub fn crop(&self, left: usize, top: usize, width: usize, height: usize) -> Image {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let row = |y: usize| {
            let at = (y * self.width + left) * self.channels;
            &self.pixels[at..at + width * self.channels]
        };
        let pixels = (top..top + height).flat_map(row).copied().collect();
        Image { width, height, channels: self.channels, pixels }
    }

    /// Every pixel repeated `factor` times in both directions (nearest neighbour).
    pub fn upscale(&self, factor: usize) -> Image {
        let factor = factor.max(1);
        let mut pixels = Vec::with_capacity(self.pixels.len() * factor * factor);
        for row in self.pixels.chunks_exact((self.width * self.channels).max(1)) {
            let wide: Vec<u8> = row.chunks_exact(self.channels).flat_map(|p| p.repeat(factor)).collect();
            for _ in 0..factor {
                pixels.extend_from_slice(&wide);
            }
        }
        Image { width: self.width * factor, height: self.height * factor, channels: self.channels, pixels }
    }

    /// Copies `other` into this picture with its top left corner at `(x, y)`; what falls outside is cut off.
    ///
    /// # Panics
    /// If the two have different numbers of channels.
    pub fn paste(&mut self, other: &Image, x: usize, y: usize) {
        assert_eq!(self.channels, other.channels, "pasting needs equal channels");
        let columns = other.width.min(self.width.saturating_sub(x));
        for row in 0..other.height.min(self.height.saturating_sub(y)) {
            let from = row * other.width * other.channels;
            let to = ((y + row) * self.width + x) * self.channels;
            let length = columns * self.channels;
            self.pixels[to..to + length].copy_from_slice(&other.pixels[from..from + length]);
        }
    }
}

/// Pictures in rows of `columns`, with `pad` white pixels between and around them (no border for `pad` = 0).
/// Cells have the size of the largest picture. The grid is grey only if every picture has one channel;
/// otherwise it is RGB, with RGBA flattened on white. No pictures give a picture of 0×0.
pub fn grid(images: &[Image], columns: usize, pad: usize) -> Image {
    let channels = if images.iter().all(|i| i.channels == 1) { 1 } else { 3 };
    let columns = columns.clamp(1, images.len().max(1));
    let rows = images.len().div_ceil(columns);
    let width = images.iter().map(|i| i.width).max().unwrap_or(0);
    let height = images.iter().map(|i| i.height).max().unwrap_or(0);
    if images.is_empty() {
        return Image { width: 0, height: 0, channels, pixels: Vec::new() };
    }
    let mut sheet =
        Image::filled(columns * (width + pad) + pad, rows * (height + pad) + pad, &[255, 255, 255][..channels]);
    for (i, image) in images.iter().enumerate() {
        let (column, row) = (i % columns, i / columns);
        let cell = image.clone().flatten([255; 3]).to_channels(channels);
        sheet.paste(&cell, pad + column * (width + pad), pad + row * (height + pad));
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_places_pictures_in_reading_order() {
        let cells: Vec<_> = (0..5).map(|v| Image::filled(2, 2, &[v])).collect();
        let sheet = grid(&cells, 3, 1);
        assert_eq!((sheet.width, sheet.height, sheet.channels), (10, 7, 1));
        assert_eq!(sheet.pixel(0, 0), [255]);
        assert_eq!(sheet.pixel(1, 1), [0]);
        assert_eq!(sheet.pixel(4, 1), [1]);
        assert_eq!(sheet.pixel(8, 2), [2]);
        assert_eq!(sheet.pixel(3, 1), [255]);
        assert_eq!(sheet.pixel(5, 5), [4]);
        assert_eq!(sheet.pixel(8, 5), [255]);
        assert_eq!(grid(&[], 3, 1).width, 0);
    }

    #[test]
    fn one_coloured_cell_makes_the_grid_coloured() {
        let sheet = grid(&[Image::filled(1, 1, &[7]), Image::filled(1, 1, &[1, 2, 3])], 2, 0);
        assert_eq!(sheet.pixels, [7, 7, 7, 1, 2, 3]);
    }

    #[test]
    fn upscale_and_flip_move_whole_pixels() {
        let image = Image::new(2, 1, 3, vec![1, 2, 3, 4, 5, 6]);
        assert_eq!(image.upscale(2).pixels, [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6].repeat(2));
        assert_eq!(image.flip().pixels, [4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn paste_is_clipped() {
        let mut canvas = Image::filled(3, 3, &[0]);
        canvas.paste(&Image::filled(2, 2, &[9]), 2, 2);
        canvas.paste(&Image::filled(2, 2, &[9]), 5, 5);
        assert_eq!(canvas.pixels, [0, 0, 0, 0, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn chw_round_trip_and_clamp() {
        let chw = [-1.0, 1.0, 0.0, 7.0, -7.0, f32::NAN];
        assert_eq!(Image::from_chw(2, 1, 3, &chw).pixels, [0, 128, 0, 255, 255, 0]);
    }

    #[test]
    fn flatten_blends_and_rounds() {
        let rgba = Image::new(3, 1, 4, vec![255, 0, 0, 255, 255, 0, 0, 0, 100, 0, 0, 128]);
        let flat = rgba.flatten([0, 255, 10]);
        // 100·128/255 = 50.196; 255·127/255 = 127; 10·127/255 = 4.98
        assert_eq!(flat.pixels, [255, 0, 0, 0, 255, 10, 50, 127, 5]);
    }
}
