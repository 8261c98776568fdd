//! A picture that `plotters` draws on, with words in the bitmap font of [`text`](crate::text).

use std::convert::Infallible;

use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind};

use crate::Image;
use crate::label::{GLYPH, draw_text, text_width};

/// The font's size in `plotters` that is one pixel of the bitmap font for each of its pixels.
pub const UNIT: f64 = GLYPH as f64;

/// Draws on a picture of three channels.
pub struct Canvas<'a>(pub &'a mut Image);

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl DrawingBackend for Canvas<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.0.width as u32, self.0.height as u32)
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return Ok(()) };
        if x < self.0.width && y < self.0.height {
            let at = (y * self.0.width + x) * self.0.channels;
            let (r, g, b) = color.rgb;
            for (old, new) in self.0.pixels[at..at + 3].iter_mut().zip([r, g, b]) {
                *old = (f64::from(*old) + (f64::from(new) - f64::from(*old)) * color.alpha).round() as u8;
            }
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): BackendCoord) -> Drawn {
        let scale = scale(style);
        let (width, height) = (text_width(text, scale) as i32, (GLYPH * scale) as i32);
        let anchor = style.anchor();
        let left = match anchor.h_pos {
            HPos::Left => x,
            HPos::Center => x - width / 2,
            HPos::Right => x - width,
        };
        let top = match anchor.v_pos {
            VPos::Top => y,
            VPos::Center => y - height / 2,
            VPos::Bottom => y - height,
        };
        let (r, g, b) = style.color().rgb;
        draw_text(self.0, left.max(0) as usize, top.max(0) as usize, text, scale, &[r, g, b]);
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        Ok((text_width(text, scale(style)) as u32, (GLYPH * scale(style)) as u32))
    }

    /// `plotters` cuts thick paths at sharp corners; short pieces with round joints have none.
    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        let width = style.stroke_width() as i32;
        let points: Vec<BackendCoord> = path.into_iter().collect();
        for pair in points.windows(2) {
            for shift in (1 - width).div_euclid(2)..=width / 2 {
                let steep = (pair[1].0 - pair[0].0).abs() < (pair[1].1 - pair[0].1).abs();
                let moved = |(x, y): BackendCoord| if steep { (x + shift, y) } else { (x, y + shift) };
                self.draw_line(moved(pair[0]), moved(pair[1]), &style.color())?;
            }
        }
        Ok(())
    }
}

fn scale<S: BackendTextStyle>(style: &S) -> usize {
    ((style.size() / UNIT).round() as usize).max(1)
}
