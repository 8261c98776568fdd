//! The checker of scenes on scenes themselves: its own error, and what it says of pictures with the wrong captions.

use std::fs;
use std::path::Path;

use undiffuse_data::scenes::{Making, make};
use undiffuse_data::{Image, encode_png};
use undiffuse_eval::scenes::{GroupScores, Pictures, ScenesReport, Score, look};

const N: usize = 1000;

fn report(folder: &Path, sigma: f32) -> ScenesReport {
    let Pictures { shown, others, skipped } = look(folder, sigma).unwrap();
    assert_eq!((shown.len(), others.len(), skipped.len()), (N, 0, 0));
    ScenesReport::new(&shown)
}

fn score<'a>(group: &'a GroupScores, measure: &str) -> &'a Score {
    group.scores.iter().find(|score| score.measure == measure).unwrap()
}

#[test]
fn the_checkers_own_error_is_small() {
    let place = tempfile::tempdir().unwrap();
    for held_out in [false, true] {
        let folder = place.path().join(held_out.to_string());
        make(&folder, &Making { n: N, seed: 1, side: 32, held_out }).unwrap();
        for (sigma, most) in [(0.0, 0.005), (0.1, 0.02)] {
            let report = report(&folder, sigma);
            let words: Vec<&str> = report.groups.iter().map(|group| group.group.as_str()).collect();
            let expected: &[&str] = if held_out { &["held out", "new pair", "new combination"] } else { &["seen"] };
            assert_eq!(words, expected);
            for Score { measure, right, .. } in &report.groups[0].scores {
                assert!(1.0 - right.share <= most, "{measure} with noise of {sigma}: {right:?}");
            }
        }
    }
}

/// What chance must be: of the scenes of two objects, which are three in four, a pair has the colours of another pair
/// with a probability that is known.
#[test]
fn chance_is_what_others_captions_reach() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("scenes");
    make(&folder, &Making { n: N, seed: 2, side: 32, held_out: false }).unwrap();
    let report = report(&folder, 0.0);
    let seen = &report.groups[0];
    let pairs = score(seen, "and relation").right.of;
    assert!(pairs.abs_diff(3 * N / 4) < 60, "{pairs}");
    // One object each: 1/8; two each: 2/64 less the pairs of one colour, 1/64 · 1/8.
    let colours = score(seen, "colour").chance.unwrap();
    let expected = 1.0 / 16.0 / 8.0 + 9.0 / 16.0 * (2.0 / 64.0 - 1.0 / 512.0);
    assert!((colours / expected - 1.0).abs() < 0.15, "{colours} {expected}");
    let relation = score(seen, "relation where both are right").chance.unwrap();
    assert!((0.1..0.4).contains(&relation), "{relation}");
    assert!(score(seen, "everything").chance.unwrap() < 0.002);
}

#[test]
fn captions_come_from_pictures_too_and_other_pictures_are_told() {
    let place = tempfile::tempdir().unwrap();
    make(&place.path().join("scenes"), &Making { n: 3, seed: 2, side: 32, held_out: false }).unwrap();
    let prompts = fs::read_to_string(place.path().join("scenes/prompts.txt")).unwrap();
    let made = place.path().join("made");
    fs::create_dir(&made).unwrap();
    for (k, prompt) in prompts.lines().enumerate() {
        let png = fs::read(place.path().join(format!("scenes/{k:05}.png"))).unwrap();
        let image = undiffuse_data::decode::decode(&png, &Default::default()).unwrap().image;
        let facts = format!("{{\"prompt\": \"{prompt}\", \"seed\": {k}}}");
        fs::write(made.join(format!("{k}.png")), encode_png(&image, &[("undiffuse".into(), facts)]).unwrap()).unwrap();
    }
    let other = Image::filled(32, 32, &[3]);
    fs::write(made.join("x.png"), encode_png(&other, &[("Title".into(), "a cat".into())]).unwrap()).unwrap();
    fs::write(made.join("y.png"), encode_png(&other, &[]).unwrap()).unwrap();
    fs::write(made.join("z.png"), b"no picture").unwrap();
    let Pictures { shown, others, skipped } = look(&made, 0.0).unwrap();
    assert_eq!((shown.len(), others.len(), skipped.len()), (3, 2, 1));
    assert_eq!(others[0].reason, "its caption `a cat` tells of no scene");
    assert_eq!(others[1].reason, "it has no caption");
    let report = ScenesReport::new(&shown);
    assert!(report.groups[0].scores.iter().all(|score| score.right.share == 1.0), "{report}");
    assert!(report.to_string().contains("shape and colour"), "{report}");
}
