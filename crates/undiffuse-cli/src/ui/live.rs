//! Pictures in the making, drawn over and over in the lines below the prompt.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use ratatui::crossterm::{
    cursor::MoveUp,
    queue,
    style::{Color, Colors as Pair, Print, ResetColor, SetColors},
    terminal::{self, Clear, ClearType},
};
use undiffuse::data::{Image, grid, transform};

use super::gallery::Colors;

/// Time between two drawings.
const EVERY: Duration = Duration::from_millis(120);
/// Pictures drawn at most: they have to be seen, not counted.
const PICTURES: usize = 8;
/// Rows of characters that a drawing may take.
const ROWS: usize = 16;

/// A drawing that replaces itself.
pub struct Live {
    lines: u16,
    drawn: Option<Instant>,
    colors: Colors,
}

impl Live {
    /// A drawing, where standard output is a terminal with colours.
    pub fn open() -> Option<Live> {
        let colors = Colors::detect();
        let capable = io::stdout().is_terminal() && colors != Colors::Shades && terminal::size().is_ok();
        capable.then_some(Live { lines: 0, drawn: None, colors })
    }

    /// Whether it is time to draw again.
    pub fn due(&self) -> bool {
        self.drawn.is_none_or(|drawn| drawn.elapsed() >= EVERY)
    }

    /// Draws the first pictures and a line of text in the place of the last drawing.
    pub fn show(&mut self, images: &[Image], status: &str) {
        // A terminal that went away is no reason to stop making pictures.
        let _ = self.draw(images, status);
        self.drawn = Some(Instant::now());
    }

    fn draw(&mut self, images: &[Image], status: &str) -> io::Result<()> {
        let columns = terminal::size()?.0 as usize;
        let sheet = grid(&images[..images.len().min(PICTURES)], PICTURES, 1).to_rgb();
        let scale = (columns as f64 / sheet.width as f64).min(2.0 * ROWS as f64 / sheet.height as f64).min(1.0);
        let size = |n: usize| ((n as f64 * scale) as usize).max(2);
        let sheet = match scale < 1.0 {
            true => transform::resize(&sheet, size(sheet.width), size(sheet.height) / 2 * 2),
            false => sheet,
        };
        let mut out = io::stdout().lock();
        if self.lines > 0 {
            queue!(out, MoveUp(self.lines), Print("\r"))?;
        }
        let pixel = |x: usize, y: usize| -> Color {
            let y = y.min(sheet.height - 1);
            let p = sheet.pixel(x, y);
            match self.colors.color([p[0], p[1], p[2]]) {
                ratatui::style::Color::Rgb(r, g, b) => Color::Rgb { r, g, b },
                ratatui::style::Color::Indexed(i) => Color::AnsiValue(i),
                _ => Color::Reset,
            }
        };
        for y in (0..sheet.height).step_by(2) {
            for x in 0..sheet.width.min(columns) {
                queue!(out, SetColors(Pair::new(pixel(x, y), pixel(x, y + 1))), Print('▀'))?;
            }
            queue!(out, ResetColor, Clear(ClearType::UntilNewLine), Print("\n"))?;
        }
        queue!(out, Clear(ClearType::UntilNewLine), Print(status), Print("\n"))?;
        self.lines = (sheet.height.div_ceil(2) + 1) as u16;
        out.flush()
    }
}
