//! Which measure moves for which change, on few pictures: `docs/sensitivity.md` has more of them.

#[path = "../examples/sensitivity/changes.rs"]
mod changes;

use changes::{CHANGES, Cell, Parts, measure};
use undiffuse_data::{Cache, Dataset, Options};
use undiffuse_features as features;
use undiffuse_metrics::MetricOptions;

/// Whether `tag` says something else of a change than of unchanged pictures, and in which direction: intervals apart.
fn moved(columns: &[Vec<Cell>], change: &str, tag: &str) -> (i32, String) {
    let at = |name: &str| {
        let k = CHANGES.iter().position(|change| change.name == name).unwrap_or_else(|| panic!("no change {name}"));
        columns[k].iter().find(|cell| cell.tag == tag).unwrap_or_else(|| panic!("no measure {tag}"))
    };
    let ends = |cell: &Cell| cell.interval.unwrap_or([cell.value; 2]);
    let ([low, high], [none_low, none_high]) = (ends(at(change)), ends(at("none")));
    let of = at("none");
    let told = format!("{} is {:.4} for {change}, {:.4} without", of.name, at(change).value, of.value);
    (i32::from(low > none_high) - i32::from(high < none_low), told)
}

#[test]
fn every_change_moves_the_measure_that_should_move() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/fashion-mnist");
    let data = Dataset::open(path.as_ref(), &Options { cache: Cache::Off, ..Options::default() }).unwrap();
    let features = features::open("pixels", None, &data).unwrap();
    let settings = MetricOptions { resamples: 200, ..MetricOptions::default() };
    let columns = measure(&Parts::new(&data, 300), &*features, 300, &settings, &mut |_| ()).unwrap();
    // 1: grows; −1: falls; 0: no news.
    for (change, tag, expected) in [
        ("noise 0.3", "kid", 1),
        ("noise 0.3", "density", -1),
        ("noise 0.3", "coverage", -1),
        ("blur 0.7", "recall", -1),
        ("blur 1.5", "fid", 1),
        ("blur 1.5", "kid", 1),
        ("blur 1.5", "recall", -1),
        ("blur 1.5", "sliced", 1),
        // A missing mode costs recall and coverage, not precision.
        ("5 classes gone", "fid", 1),
        ("5 classes gone", "kid", 1),
        ("5 classes gone", "recall", -1),
        ("5 classes gone", "coverage", -1),
        ("5 classes gone", "precision", 0),
        ("5 classes gone", "class_divergence", 1),
        // Only the audit minds copies: to all else they are the best pictures there are.
        ("a tenth copied", "fid", 0),
        ("a tenth copied", "precision", 0),
        ("a tenth copied", "copies", 1),
        ("all copied", "copies", 1),
        ("all copied", "z_pixels", -1),
        ("all copied", "fid", -1),
        ("all copied", "recall", 1),
        ("noise 0.3", "copies", 0),
        ("blur 1.5", "copies", 0),
        ("5 classes gone", "copies", 0),
    ] {
        let (found, told) = moved(&columns, change, tag);
        assert_eq!(found, expected, "{told}");
    }
    let share = |k: usize| columns[k].iter().find(|cell| cell.tag == "copies").unwrap().value;
    assert!(
        share(0) <= 0.01 && (share(7) - 0.1).abs() <= 0.01 && share(8) == 1.0,
        "{} {} {}",
        share(0),
        share(7),
        share(8)
    );
}
