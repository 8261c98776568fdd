//! What the audit found, drawn.

use undiffuse_data::figure::{self, Layer, Panel};
use undiffuse_data::label::{GLYPH, draw_text, fit};
use undiffuse_data::{Image, grid};

use super::{Audit, Offender, Test};

/// Pictures are enlarged to at least this many pixels a side, by whole factors.
const SIDE: usize = 96;
/// Offenders side by side.
const COLUMNS: usize = 4;
const PAD: usize = 4;
const LINE: usize = GLYPH + 2;
/// Lines under a picture.
const LINES: usize = 3;
const INK: [u8; 3] = [38, 42, 51];
const ALARM: [u8; 3] = [190, 30, 30];
const PANEL: (usize, usize) = (560, 400);

/// How ratios are distributed, a panel for each test: generated and real pictures, and the threshold.
pub fn figure(audit: &Audit) -> Image {
    let panels: Vec<Panel> = audit.tests.iter().map(panel).collect();
    figure::figure("Ratio of the nearest training image's distance to its neighbours'", panels.len(), PANEL, &panels)
}

fn panel(test: &Test) -> Panel {
    let steps = |points: &[[f64; 2]]| -> Vec<(f64, f64)> {
        let before = std::iter::once(0.0).chain(points.iter().map(|p| p[1]));
        points.iter().zip(before).flat_map(|(&[ratio, share], before)| [(ratio, before), (ratio, share)]).collect()
    };
    let least = test.generated.iter().chain(&test.real).map(|p| p[1]).fold(1.0, f64::min);
    let threshold = vec![(test.threshold, least), (test.threshold, 1.0)];
    let real = Layer::Line { name: "real, unseen".into(), points: steps(&test.real), color: Some(figure::COLORS[2]) };
    let generated =
        Layer::Line { name: "generated".into(), points: steps(&test.generated), color: Some(figure::COLORS[1]) };
    let limit = Layer::Line { name: "threshold".into(), points: threshold, color: Some(INK) };
    let most = test.generated.iter().chain(&test.real).map(|p| p[0]).fold(1.0, f64::max);
    Panel {
        log_y: true,
        x: Some(0.0..most * 1.02),
        ..Panel::new(&format!("by {}", test.space.name()), vec![limit, real, generated])
            .labels("ratio", "share of images at or below")
    }
}

/// The worst offenders: each beside its nearest training picture by every test. `generated` and `training` give a picture by its place.
pub fn pairs(audit: &Audit, generated: impl Fn(usize) -> Image, training: impl Fn(usize) -> Image) -> Image {
    let cells: Vec<Image> = audit.worst.iter().map(|offender| cell(audit, offender, &generated, &training)).collect();
    grid(&cells, COLUMNS, 2 * PAD)
}

fn cell(
    audit: &Audit,
    offender: &Offender,
    generated: &dyn Fn(usize) -> Image,
    training: &dyn Fn(usize) -> Image,
) -> Image {
    let verdict = if offender.copy { "a copy" } else { "" };
    let mut columns =
        vec![(generated(offender.index), [format!("image {}", offender.index), verdict.into(), String::new()])];
    for (evidence, test) in offender.evidence.iter().zip(&audit.tests) {
        let nearest = evidence.nearest[0];
        let sign = if evidence.ratio < test.threshold { '<' } else { '>' };
        let words = [
            format!("data {}", nearest.index),
            format!("by {}", evidence.space.name()),
            format!("{:.2} {sign} {:.2}", evidence.ratio, test.threshold),
        ];
        columns.push((training(nearest.index), words));
    }
    let mut pictures: Vec<Image> = columns
        .iter()
        .map(|(picture, _)| picture.to_rgb().upscale(SIDE.div_ceil(picture.width.max(1)).max(1)))
        .collect();
    // Beside each other they are compared; a grid joins them without a border.
    let width = pictures.iter().map(|picture| picture.width).max().unwrap_or(0);
    let height = pictures.iter().map(|picture| picture.height).max().unwrap_or(0);
    let mut cell = Image::filled(columns.len() * (width + PAD) - PAD, height + PAD + LINES * LINE, &[255; 3]);
    for (k, (picture, (_, words))) in pictures.drain(..).zip(&columns).enumerate() {
        let left = k * (width + PAD);
        cell.paste(&picture, left, 0);
        for (line, words) in words.iter().enumerate() {
            let color = if offender.copy && k == 0 { &ALARM } else { &INK };
            draw_text(&mut cell, left, height + PAD + line * LINE, &fit(words, width, 1), 1, color);
        }
    }
    cell
}
