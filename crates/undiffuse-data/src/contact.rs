//! A sheet of sample pictures: the first look at a dataset.

use crate::label::{GLYPH, draw_text, fit};
use crate::{Dataset, Image, grid};

/// Pictures side by side.
const COLUMNS: usize = 10;
/// Most rows.
const ROWS: usize = 20;
/// Pictures are enlarged to about this many pixels a side, by whole factors.
const CELL: usize = 64;
const PAD: usize = 2;
/// Width of the column with the class names.
const NAME: usize = 13 * GLYPH;

/// A sample of the dataset on one sheet. With classes: a row for each (the first 20), its name on the left; otherwise
/// a hundred pictures. The pictures are spread evenly over their class or the dataset, always the same ones.
pub fn contact_sheet(dataset: &Dataset) -> Image {
    if dataset.classes().is_empty() {
        let all: Vec<usize> = (0..dataset.len()).collect();
        return grid(&cells(dataset, &spread(&all, COLUMNS * COLUMNS)), COLUMNS, PAD);
    }
    let members = |class: usize| -> Vec<usize> {
        (0..dataset.len()).filter(|&i| dataset.label(i) == Some(class as u32)).collect()
    };
    let classes = dataset.classes().iter().take(ROWS).enumerate();
    let rows: Vec<_> = classes.map(|(class, name)| row(dataset, name, &spread(&members(class), COLUMNS))).collect();
    grid(&rows, 1, PAD)
}

/// A class: its name, then its pictures.
fn row(dataset: &Dataset, name: &str, members: &[usize]) -> Image {
    let side = dataset.width() * factor(dataset);
    let mut row = Image::filled(NAME + COLUMNS * (side + PAD), side, &[255; 3][..dataset.channels()]);
    let y = side.saturating_sub(GLYPH) / 2;
    draw_text(&mut row, 0, y, &fit(name, NAME - GLYPH, 1), 1, &[0; 3]);
    for (k, cell) in cells(dataset, members).iter().enumerate() {
        row.paste(cell, NAME + k * (side + PAD), 0);
    }
    row
}

fn cells(dataset: &Dataset, members: &[usize]) -> Vec<Image> {
    members.iter().map(|&i| dataset.image(i).upscale(factor(dataset))).collect()
}

fn factor(dataset: &Dataset) -> usize {
    (CELL / dataset.width()).max(1)
}

/// At most `most` of the members, evenly spread.
fn spread(members: &[usize], most: usize) -> Vec<usize> {
    let n = members.len().min(most);
    (0..n).map(|k| members[k * members.len() / n]).collect()
}
