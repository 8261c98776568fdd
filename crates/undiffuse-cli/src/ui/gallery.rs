//! Sample pictures in the terminal: two pixels a character, by the upper half block `▀`.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use undiffuse::data::Image;

/// White pixels between the pictures of a sample grid.
const PAD: usize = 2;
/// Pixels between pictures on the screen.
const GAP: usize = 1;

/// How colours reach the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    /// 24 bits.
    True,
    /// The 256-colour palette.
    Indexed,
    /// None: brightness by shaded blocks.
    Shades,
}

impl Colors {
    /// What the environment says of this terminal.
    pub fn detect() -> Colors {
        let var = |name| std::env::var(name).unwrap_or_default();
        if !var("NO_COLOR").is_empty() {
            Colors::Shades
        } else if ["truecolor", "24bit"].contains(&var("COLORTERM").as_str()) || var("TERM").ends_with("-direct") {
            Colors::True
        } else {
            Colors::Indexed
        }
    }

    pub fn color(self, [r, g, b]: [u8; 3]) -> Color {
        match self {
            Colors::True => Color::Rgb(r, g, b),
            // xterm's palette: 16..=231 is a 6×6×6 cube, 232..=255 are greys 8, 18, … 238.
            _ if r == g && g == b => match r {
                0..=3 => Color::Indexed(16),
                244.. => Color::Indexed(231),
                _ => Color::Indexed(232 + ((r - 3) / 10).min(23)),
            },
            _ => {
                // The cube's steps are 0, 95, 135, 175, 215, 255.
                let step = |v: u8| {
                    if v < 48 {
                        0
                    } else if v < 115 {
                        1
                    } else {
                        (v - 35) / 40
                    }
                };
                Color::Indexed(16 + 36 * step(r) + 6 * step(g) + step(b))
            }
        }
    }
}

/// The pictures of a sample grid, to be laid out again for the room that there is.
pub struct Gallery {
    /// Pictures seen when they were made.
    pub nimg: u64,
    tiles: Vec<Image>,
    /// The last sheet and the pixels and number of tiles that it was made for.
    sheet: Option<([usize; 3], Image)>,
}

impl Gallery {
    /// Takes a grid of pictures of `side` pixels apart; a grid of another shape is one picture.
    pub fn new(nimg: u64, grid: &Image, side: usize) -> Gallery {
        let cell = side + PAD;
        let regular =
            side > 0 && [grid.width, grid.height].iter().all(|&n| n >= cell + PAD && (n - PAD).is_multiple_of(cell));
        let tiles = if regular {
            let (columns, rows) = ((grid.width - PAD) / cell, (grid.height - PAD) / cell);
            (0..columns * rows).map(|i| cut(grid, PAD + i % columns * cell, PAD + i / columns * cell, side)).collect()
        } else {
            vec![grid.clone()]
        };
        Gallery { nimg, tiles, sheet: None }
    }

    /// At least `wanted` pictures, as large as they can be, in `width × height` pixels.
    pub fn sheet(&mut self, width: usize, height: usize, wanted: usize) -> &Image {
        let key = [width, height, wanted];
        if self.sheet.as_ref().is_none_or(|(made_for, _)| *made_for != key) {
            self.sheet = Some((key, self.compose(width, height, wanted)));
        }
        &self.sheet.as_ref().expect("made above").1
    }

    fn compose(&self, width: usize, height: usize, wanted: usize) -> Image {
        let first = &self.tiles[0];
        let Fit { tile: [w, h], columns, rows } =
            fit([first.width, first.height], [width, height], wanted.min(self.tiles.len()));
        let shown = &self.tiles[..self.tiles.len().min(columns * rows)];
        let (columns, rows) = (columns.min(shown.len()), shown.len().div_ceil(columns));
        let size = [(w + GAP) * columns - GAP, (h + GAP) * rows - GAP];
        let mut sheet = Image::filled(size[0], size[1], &vec![0; first.channels]);
        for (i, tile) in shown.iter().enumerate() {
            sheet.paste(&shrink(tile, w, h), i % columns * (w + GAP), i / columns * (h + GAP));
        }
        sheet
    }

    /// Draws into `area`, in the middle.
    pub fn draw(&mut self, buffer: &mut Buffer, area: Rect, wanted: usize, colors: Colors) {
        let area = area.intersection(buffer.area);
        if area.is_empty() {
            return;
        }
        let sheet = self.sheet(area.width as usize, area.height as usize * 2, wanted);
        let (columns, rows) =
            (sheet.width.min(area.width as usize), sheet.height.div_ceil(2).min(area.height as usize));
        let left = area.x + (area.width - columns as u16) / 2;
        let top = area.y + (area.height - rows as u16) / 2;
        for row in 0..rows {
            for column in 0..columns {
                let [upper, lower] = [2 * row, 2 * row + 1].map(|y| pixel(sheet, column, y));
                let cell = &mut buffer[(left + column as u16, top + row as u16)];
                match colors {
                    Colors::Shades => cell.set_symbol(shade(upper, lower)),
                    _ => cell.set_symbol("▀").set_style(Style::new().fg(colors.color(upper)).bg(colors.color(lower))),
                };
            }
        }
    }

    /// The pictures as lines of text with escape codes, for the scrollback.
    pub fn lines(&mut self, columns: usize, rows: usize, wanted: usize, colors: Colors) -> Vec<String> {
        let code = |base: u8, rgb: [u8; 3]| match colors.color(rgb) {
            Color::Rgb(r, g, b) => format!("\x1b[{base};2;{r};{g};{b}m"),
            Color::Indexed(i) => format!("\x1b[{base};5;{i}m"),
            _ => String::new(),
        };
        let sheet = self.sheet(columns, rows * 2, wanted);
        let cell = |x: usize, y: usize| match [pixel(sheet, x, y), pixel(sheet, x, y + 1)] {
            [upper, lower] if colors == Colors::Shades => shade(upper, lower).to_owned(),
            [upper, lower] => format!("{}{}▀", code(38, upper), code(48, lower)),
        };
        let end = if colors == Colors::Shades { "" } else { "\x1b[0m" };
        let row = |y: usize| (0..sheet.width.min(columns)).map(|x| cell(x, y)).chain([end.to_owned()]).collect();
        (0..sheet.height.min(rows * 2)).step_by(2).map(row).collect()
    }
}

fn cut(grid: &Image, x: usize, y: usize, side: usize) -> Image {
    let row = |y: usize| &grid.pixels[(y * grid.width + x) * grid.channels..][..side * grid.channels];
    Image::new(side, side, grid.channels, (y..y + side).flat_map(row).copied().collect())
}

/// How tiles lie on a sheet.
#[derive(Debug, PartialEq)]
struct Fit {
    tile: [usize; 2],
    columns: usize,
    rows: usize,
}

/// The largest tiles, not above their own size, of which `wanted` fit into the room.
fn fit(tile: [usize; 2], room: [usize; 2], wanted: usize) -> Fit {
    let longest = tile[0].max(tile[1]).max(1);
    let at = |side: usize| {
        let tile = tile.map(|n| ((n * side + longest / 2) / longest).max(1));
        let count = |axis: usize| (room[axis] + GAP) / (tile[axis] + GAP);
        Fit { tile, columns: count(0), rows: count(1) }
    };
    let enough = |f: &Fit| f.columns * f.rows >= wanted.max(1);
    (1..=longest).rev().map(at).find(enough).unwrap_or(Fit { tile: [1, 1], columns: 1, rows: 1 })
}

/// The mean of the picture under each of `width × height` pixels, none larger than its own.
fn shrink(image: &Image, width: usize, height: usize) -> Image {
    if (width, height) == (image.width, image.height) {
        return image.clone();
    }
    let (columns, rows) = (shares(image.width, width), shares(image.height, height));
    let mean = |i: usize| {
        let (channel, x, y) = (i % image.channels, i / image.channels % width, i / image.channels / width);
        let row = |&(y, share): &(usize, f32)| {
            let value = |&(x, share): &(usize, f32)| share * f32::from(image.pixel(x, y)[channel]);
            share * columns[x].iter().map(value).sum::<f32>()
        };
        rows[y].iter().map(row).sum::<f32>().round() as u8
    };
    Image::new(width, height, image.channels, (0..width * height * image.channels).map(mean).collect())
}

/// Which of `from` pixels lie under each of `to`, and with what share of it.
fn shares(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    // In units of 1/to of a pixel, where every border is whole.
    let under = |i: usize| {
        let (begin, end) = (i * from, (i + 1) * from);
        let overlap = move |p: usize| end.min((p + 1) * to) - begin.max(p * to);
        (begin / to..end.div_ceil(to)).map(|p| (p, overlap(p) as f32 / from as f32)).collect()
    };
    (0..to).map(under).collect()
}

/// A pixel as RGB; black outside.
fn pixel(image: &Image, x: usize, y: usize) -> [u8; 3] {
    if x >= image.width || y >= image.height {
        return [0; 3];
    }
    match *image.pixel(x, y) {
        [v] => [v; 3],
        [r, g, b, ..] => [r, g, b],
        _ => [0; 3],
    }
}

fn shade(upper: [u8; 3], lower: [u8; 3]) -> &'static str {
    let sum: usize = upper.iter().chain(&lower).map(|&v| usize::from(v)).sum();
    [" ", "░", "▒", "▓", "█"][sum * 5 / (6 * 255 + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use undiffuse::data::grid;

    fn numbered(count: usize, side: usize, columns: usize) -> Image {
        let tiles: Vec<_> = (0..count).map(|i| Image::filled(side, side, &[i as u8])).collect();
        grid(&tiles, columns, PAD)
    }

    #[test]
    fn a_grid_comes_apart_into_its_pictures() {
        let gallery = Gallery::new(0, &numbered(60, 28, 10), 28);
        let values: Vec<_> = gallery.tiles.iter().map(|t| t.pixels[0]).collect();
        assert_eq!(values, (0..60).collect::<Vec<u8>>());
        assert!(gallery.tiles.iter().all(|t| t.pixels.iter().all(|&v| v == t.pixels[0])));
        assert_eq!(Gallery::new(0, &Image::filled(100, 37, &[1]), 28).tiles.len(), 1);
    }

    #[test]
    fn pictures_are_as_large_as_the_room_allows() {
        let fit = |tile, room, wanted| {
            let Fit { tile, columns, rows } = fit(tile, room, wanted);
            (tile, columns, rows)
        };
        assert_eq!(fit([28, 28], [290, 180], 60), ([28, 28], 10, 6));
        assert_eq!(fit([28, 28], [39, 26], 6), ([12, 12], 3, 2));
        assert_eq!(fit([40, 20], [41, 21], 4), ([20, 10], 2, 2));
        assert_eq!(fit([28, 28], [0, 0], 1), ([1, 1], 1, 1));
    }

    #[test]
    fn shrinking_averages() {
        let image = Image::new(4, 2, 1, vec![0, 100, 7, 9, 200, 100, 9, 7]);
        assert_eq!(shrink(&image, 2, 1), Image::new(2, 1, 1, vec![100, 8]));
        // Each of two pixels covers one and a half of three.
        assert_eq!(shrink(&Image::new(3, 1, 1, vec![30, 90, 210]), 2, 1), Image::new(2, 1, 1, vec![50, 170]));
        assert!(shrink(&Image::filled(28, 28, &[255, 7, 0]), 11, 13).pixels.chunks(3).all(|p| p == [255, 7, 0]));
    }

    #[test]
    fn half_blocks_show_two_pixels_a_character() {
        let mut gallery = Gallery::new(0, &Image::new(1, 2, 3, vec![10, 20, 30, 40, 50, 60]), 0);
        let mut buffer = Buffer::empty(Rect::new(0, 0, 1, 1));
        gallery.draw(&mut buffer, Rect::new(0, 0, 1, 1), 1, Colors::True);
        let cell = &buffer[(0, 0)];
        assert_eq!((cell.symbol(), cell.fg, cell.bg), ("▀", Color::Rgb(10, 20, 30), Color::Rgb(40, 50, 60)));
        assert_eq!(gallery.lines(1, 1, 1, Colors::True), ["\x1b[38;2;10;20;30m\x1b[48;2;40;50;60m▀\x1b[0m"]);
    }

    #[test]
    fn indexed_colours_are_xterms() {
        let index = |rgb| Colors::Indexed.color(rgb);
        assert_eq!(index([0, 0, 0]), Color::Indexed(16));
        assert_eq!(index([255, 255, 255]), Color::Indexed(231));
        assert_eq!(index([8, 8, 8]), Color::Indexed(232));
        assert_eq!(index([128, 128, 128]), Color::Indexed(244));
        assert_eq!(index([255, 0, 0]), Color::Indexed(196));
        assert_eq!(index([95, 135, 175]), Color::Indexed(67));
    }
}
