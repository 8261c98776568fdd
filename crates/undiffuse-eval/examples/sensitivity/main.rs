//! What moves which measure: real pictures, changed in known ways, in one table.
//!
//! `cargo run --release -p undiffuse-eval --example sensitivity -- [N] [FEATURES[=WEIGHTS]…]` writes `docs/sensitivity.md`:
//! a table for each feature network (`pixels` without a word) of `N` changed pictures (1000) against `2 N` others of the
//! bundled Fashion-MNIST; `5 N` pictures are needed.

mod changes;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use changes::{CHANGES, Cell, Parts, measure};
use undiffuse_data::{Dataset, Options};
use undiffuse_features as features;
use undiffuse_metrics::MetricOptions;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let n = match arguments.first().map(|word| word.parse()) {
        Some(Ok(n)) => {
            arguments.remove(0);
            n
        }
        _ => 1000,
    };
    if arguments.is_empty() {
        arguments.push("pixels".into());
    }
    let data = Dataset::open(&Path::new(ROOT).join("data/fashion-mnist"), &Options::default())?;
    if 5 * n > data.len() || n < 20 {
        return Err(format!("N is {n}; from 20 to {} can be had of {} pictures", data.len() / 5, data.len()).into());
    }
    let parts = Parts::new(&data, n);
    let mut text = TEXT.replace("{n}", &n.to_string()).replace("{2n}", &(2 * n).to_string());
    for word in &arguments {
        let (spec, weights) = word.split_once('=').map_or((word.as_str(), None), |(spec, path)| (spec, Some(path)));
        let features = features::open(spec, weights.map(Path::new), &data)?;
        let columns =
            measure(&parts, &*features, n, &MetricOptions::default(), &mut |what| eprintln!("{spec}: {what}"))?;
        writeln!(text, "\n## Features: {}\n\n{}", features.name(), table(&columns))?;
    }
    let path = Path::new(ROOT).join("docs/sensitivity.md");
    std::fs::write(&path, text)?;
    println!("{}", path.display());
    Ok(())
}

const TEXT: &str = "# What moves which measure

Written by `cargo run --release -p undiffuse-eval --example sensitivity`: {n} pictures of Fashion-MNIST, changed in known ways, against
{2n} others, the training set. **Bold**: the interval (95 %) does not meet that of the column `none`, which is real pictures, unchanged. Noise is
Gaussian, its deviation on the scale of [−1, 1]; so is blur, its deviation in pixels. `a tenth copied` has a tenth of its pictures
from the training set, all later columns have all of them.

How to read it:

- **Noise and blur** move the Fréchet distance, KID and CMMD by a network's features; principal components of pixels hardly see noise.
- **Missing classes** move recall and coverage and leave precision alone; even by a network's features the distances are late to see
  one of ten gone. The class shares name what is gone.
- **Copies** move nothing for the worse but the audit: by every other measure a model that gives back its training pictures is better than
  new real ones. The statistic z is not enough by itself, since blurred pictures are near to everything.
- **Copies in disguise**: noise hides none. Blur, a shift by a pixel, or mirroring hides most from a test that takes hardly a real
  picture for a copy, by pixels and by features, but not that there are many: taken together they lie far too near to
  the training set (z of −38 by MobileNetV2 when shifted or mirrored, of −37 by pixels when blurred).
";

/// Measures down, changes across.
fn table(columns: &[Vec<Cell>]) -> String {
    let heads: Vec<&str> = CHANGES.iter().map(|change| change.name).collect();
    let mut text = format!("| measure | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for (row, first) in columns[0].iter().enumerate() {
        let cells: Vec<String> = columns.iter().map(|column| shown(&column[row], first)).collect();
        text += &format!("| {} | {} |\n", first.name, cells.join(" | "));
    }
    text
}

fn shown(cell: &Cell, none: &Cell) -> String {
    let apart = |[a, b]: [f64; 2], [c, d]: [f64; 2]| a > d || b < c;
    let digits = 2 - cell.value.abs().max(1e-9).log10().floor() as i32;
    let number = format!("{:.*}", digits.clamp(0, 4) as usize, cell.value);
    match cell.interval.zip(none.interval) {
        Some((interval, of_none)) if apart(interval, of_none) => format!("**{number}**"),
        _ => number,
    }
}
