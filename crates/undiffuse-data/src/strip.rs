//! Film strips: rows of pictures that belong together column by column, with words beside them.

use crate::Image;
use crate::label::{GLYPH, draw_centered, draw_text, fit};

/// Almost black, for words.
pub(crate) const INK: [u8; 3] = [38, 42, 51];
/// For secondary words and lines.
pub(crate) const FAINT: [u8; 3] = [122, 130, 144];
/// For what should catch the eye.
pub(crate) const ACCENT: [u8; 3] = [32, 108, 196];
/// For the empty part of a gauge.
pub(crate) const TROUGH: [u8; 3] = [226, 230, 236];
const PAPER: [u8; 3] = [255; 3];

const SCALE: usize = 2;
const LINE: usize = GLYPH * SCALE;
/// Around the strip, between rows, and between columns.
const MARGIN: usize = 20;
const GAP: usize = 10;
/// Between lines of one group.
const LEADING: usize = 7;
const GAUGE: usize = 6;
/// Columns are at least as wide as ten characters, so that captions fit.
const COLUMN: usize = 10 * GLYPH * SCALE;

/// A row of a [`strip`].
#[derive(Clone, Debug)]
pub struct Band {
    /// What the row shows; drawn above it.
    pub label: String,
    /// The pictures, left to right.
    pub cells: Vec<Image>,
    /// Words under each picture; may be empty.
    pub captions: Vec<Caption>,
}

/// Words under a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Caption {
    /// Between 0 and 1: how far the gauge over the words is filled.
    pub share: f64,
    /// Lines, about ten characters each; what is longer is cut.
    pub lines: Vec<String>,
}

/// All rows under a title, on white, as an RGB picture. Cells are centred in columns as wide as the widest.
pub fn strip(title: &str, bands: &[Band]) -> Image {
    let cells = || bands.iter().flat_map(|band| &band.cells);
    let column = cells().map(|cell| cell.width).max().unwrap_or(0).max(COLUMN);
    let columns = bands.iter().map(|band| band.cells.len()).max().unwrap_or(0);
    let inner = columns * (column + GAP) - GAP.min(columns * GAP);
    let width = inner + 2 * MARGIN;
    let height = 2 * MARGIN + LINE + bands.iter().map(|band| MARGIN + band_height(band)).sum::<usize>();
    let mut sheet = Image::filled(width, height, &PAPER);
    draw_text(&mut sheet, MARGIN, MARGIN, &fit(title, inner, SCALE), SCALE, &INK);
    let mut y = MARGIN + LINE;
    for band in bands {
        y += MARGIN;
        draw_band(&mut sheet, band, y, column);
        y += band_height(band);
    }
    sheet
}

/// A picture with its caption below, as a strip's column has it: one frame of an animation. Grey pictures stay grey.
pub fn captioned(picture: &Image, caption: &Caption) -> Image {
    let width = picture.width.max(COLUMN);
    let height = picture.height + caption_height(caption) + LEADING;
    let grey = |color: [u8; 3]| Image::filled(1, 1, &color).to_channels(picture.channels).pixels;
    let mut frame = Image::filled(width, height, &PAPER[..picture.channels]);
    frame.paste(picture, (width - picture.width) / 2, 0);
    draw_caption(&mut frame, caption, (0, picture.height), width, &grey(ACCENT), &grey(TROUGH), &grey(INK));
    frame
}

fn cells_height(band: &Band) -> usize {
    band.cells.iter().map(|cell| cell.height).max().unwrap_or(0)
}

fn band_height(band: &Band) -> usize {
    let captions = band.captions.iter().map(caption_height).max().unwrap_or(0);
    LINE + LEADING + cells_height(band) + captions
}

fn caption_height(caption: &Caption) -> usize {
    LEADING + GAUGE + caption.lines.len() * (LEADING + LINE)
}

fn draw_band(sheet: &mut Image, band: &Band, top: usize, column: usize) {
    draw_text(sheet, MARGIN, top, &fit(&band.label, sheet.width - 2 * MARGIN, SCALE), SCALE, &FAINT);
    let (top, height) = (top + LINE + LEADING, cells_height(band));
    for (k, cell) in band.cells.iter().enumerate() {
        let left = MARGIN + k * (column + GAP);
        sheet.paste(&cell.clone().flatten(PAPER).to_rgb(), left + (column - cell.width) / 2, top);
        if let Some(caption) = band.captions.get(k) {
            draw_caption(sheet, caption, (left, top + height), column, &ACCENT, &TROUGH, &INK);
        }
    }
}

fn draw_caption(
    sheet: &mut Image,
    caption: &Caption,
    (left, top): (usize, usize),
    width: usize,
    full: &[u8],
    empty: &[u8],
    ink: &[u8],
) {
    let top = top + LEADING;
    let filled = (caption.share.clamp(0.0, 1.0) * width as f64).round() as usize;
    sheet.paste(&Image::filled(width, GAUGE, empty), left, top);
    sheet.paste(&Image::filled(filled, GAUGE, full), left, top);
    for (i, line) in caption.lines.iter().enumerate() {
        let y = top + GAUGE + LEADING + i * (LINE + LEADING);
        draw_centered(sheet, left, y, width, line, SCALE, ink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn band(captions: Vec<Caption>) -> Band {
        Band {
            label: "x".into(),
            cells: vec![Image::filled(200, 50, &[9]), Image::filled(200, 50, &[9, 8, 7])],
            captions,
        }
    }

    #[test]
    fn cells_lie_side_by_side_below_their_label() {
        let sheet = strip("", &[band(Vec::new())]);
        assert_eq!((sheet.width, sheet.channels), (2 * 200 + GAP + 2 * MARGIN, 3));
        let y = 2 * MARGIN + 2 * LINE + LEADING;
        assert_eq!(sheet.pixel(MARGIN, y), [9; 3]);
        assert_eq!(sheet.pixel(MARGIN + 200, y), PAPER);
        assert_eq!(sheet.pixel(MARGIN + 200 + GAP, y + 49), [9, 8, 7]);
        assert_eq!(sheet.height, y + 50 + MARGIN);
    }

    #[test]
    fn the_gauge_is_filled_by_the_share() {
        let caption = Caption { share: 0.25, lines: Vec::new() };
        let frame = captioned(&Image::filled(200, 50, &[9, 8, 7]), &caption);
        let bar: Vec<_> = (0..200).filter(|&x| frame.pixel(x, 50 + LEADING) == ACCENT).collect();
        assert_eq!(bar, (0..50).collect::<Vec<_>>());
        let grey = captioned(&Image::filled(200, 50, &[9]), &caption);
        assert_eq!((grey.channels, grey.width, grey.height), (1, frame.width, frame.height));
    }

    #[test]
    fn nothing_is_an_empty_strip() {
        assert!(strip("title", &[]).width >= 2 * MARGIN);
    }
}
