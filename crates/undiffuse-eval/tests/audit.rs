//! The audit on pictures whose origin is known.

use undiffuse::burn::tensor::Tensor;
use undiffuse::data::{Cache, Dataset, Image, Options};
use undiffuse::denoise::{Cond, Mixture};
use undiffuse::math::noise;
use undiffuse::math::prelude::*;
use undiffuse::math::schedule::Cosine;
use undiffuse::math::solver::Dpmpp2m;
use undiffuse::math::spacing::LogSnr;
use undiffuse::sample::{Noise, sample};
use undiffuse_eval::audit::{Audit, AuditError, AuditSettings, Side, Sides, Space, audit, figure, pairs};
use undiffuse_metrics::Rows;

const DIMS: usize = 28 * 28;

/// Bundled pictures `first…` as numbers in [−1, 1].
fn pictures(first: usize, n: usize) -> Vec<f32> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/fashion-mnist");
    let dataset = Dataset::open(path.as_ref(), &Options { cache: Cache::Off, ..Options::default() }).unwrap();
    let indices: Vec<usize> = (first..first + n).collect();
    let mut values = Vec::new();
    dataset.batch(&indices, &vec![false; n], &mut values);
    values
}

/// What a model that has learnt `training` by heart draws: samples of the exact denoiser of just these pictures, in 8 bits.
fn memorised(training: &[f32], n: u64) -> Vec<f32> {
    let device = undiffuse::device::open("cpu").unwrap();
    let components: Vec<_> = training.chunks(DIMS).map(|picture| (1.0, picture.to_vec(), 0.0)).collect();
    let oracle = Mixture::new(&components, &device);
    let plan = Grid::new(&Cosine::default(), &LogSnr {}, 20, Last::Clean).unwrap().plan(&Dpmpp2m::default()).unwrap();
    let seeds: Vec<u64> = (0..n).collect();
    let draw = |seeds: &[u64]| {
        let x: Tensor<4> =
            sample(&oracle, &plan, Noise::Seeds(seeds.to_vec()), [1, 28, 28], &Cond::default()).finish().unwrap();
        x.into_data().try_to_vec::<f32>().unwrap()
    };
    to_8_bits(&seeds.chunks(25).flat_map(draw).collect::<Vec<_>>())
}

fn to_8_bits(values: &[f32]) -> Vec<f32> {
    let pixels = values.chunks(DIMS).flat_map(|chw| Image::from_chw(28, 28, 1, chw).pixels);
    pixels.map(|p| p as f32 / 127.5 - 1.0).collect()
}

fn noisy(values: &[f32], strength: f32, seed: u64) -> Vec<f32> {
    let mut eps = vec![0.0; values.len()];
    noise::normal(seed, 0, 0, &mut eps);
    to_8_bits(&values.iter().zip(eps).map(|(x, e)| x + strength * e).collect::<Vec<_>>())
}

fn by_pixels(training: &[f32], held_out: Option<&[f32]>, generated: &[f32]) -> Audit {
    let rows = |values| Rows::new(values, DIMS);
    let pixels = Side { training: rows(training), held_out: held_out.map(rows), generated: rows(generated) };
    audit(&Sides { pixels, features: None }, &AuditSettings::default()).unwrap()
}

#[test]
fn a_model_that_knows_its_data_by_heart_is_found_out() {
    let (training, held_out) = (pictures(0, 400), pictures(400, 1000));
    let drawn = memorised(&training, 100);
    for held_out in [Some(&held_out[..]), None] {
        let audit = by_pixels(&training, held_out, &drawn);
        assert!(audit.copies.share >= 0.99, "{audit:?}");
        assert!(audit.false_alarms.share <= 0.01, "{:?}", audit.false_alarms);
        assert_eq!(audit.left_out, held_out.is_none());
        assert!(audit.tests[0].z < -10.0, "{}", audit.tests[0].z);
        // Every offender is shown beside the picture that it is.
        for offender in &audit.worst {
            let nearest = offender.evidence[0].nearest[0];
            let (copy, original) = (&drawn[offender.index * DIMS..], &training[nearest.index * DIMS..]);
            let off = copy.iter().zip(&original[..DIMS]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(offender.copy && off < 0.2, "{offender:?} is off by {off}");
        }
    }
}

#[test]
fn real_pictures_are_no_copies() {
    let (training, held_out, fresh) = (pictures(0, 2000), pictures(2000, 1500), pictures(3500, 1500));
    let audit = by_pixels(&training, Some(&held_out), &fresh);
    assert!(audit.copies.share <= 0.01, "{:?}", audit.copies);
    assert!(audit.copies.interval[0] <= 0.005, "{:?}", audit.copies);
    assert!(audit.tests[0].z.abs() < 3.5, "{}", audit.tests[0].z);
}

#[test]
fn copies_are_counted_among_others() {
    let (training, held_out, mut generated) = (pictures(0, 1000), pictures(1000, 1000), pictures(2000, 450));
    generated.extend(noisy(&training[..50 * DIMS], 0.05, 1));
    let audit = by_pixels(&training, Some(&held_out), &generated);
    assert!(audit.copies.interval[0] <= 0.1 && audit.copies.interval[1] >= 0.1, "{:?}", audit.copies);
    let right = audit.worst.iter().all(|o| o.index >= 450 && o.evidence[0].nearest[0].index == o.index - 450);
    assert!(right, "{:?}", audit.worst);
}

#[test]
fn repeated_training_pictures_hide_no_copy() {
    let (mut training, held_out) = (pictures(0, 500), pictures(500, 1000));
    let copies = noisy(&training[..50 * DIMS], 0.02, 2);
    // The same fifty pictures three times more exactly, and eight times with a little noise.
    let again = training[..50 * DIMS].to_vec();
    (0..3).for_each(|_| training.extend(&again));
    (0..8).for_each(|k| training.extend(noisy(&again, 0.03, 10 + k)));
    let audit = by_pixels(&training, Some(&held_out), &copies);
    assert_eq!((audit.training, audit.repeated), (900, 150));
    assert!(audit.copies.share >= 0.99, "{:?} {:?}", audit.copies, audit.tests[0].threshold);
}

#[test]
fn held_out_pictures_that_were_trained_on_are_set_aside() {
    let (training, mut held_out, fresh) = (pictures(0, 500), pictures(500, 400), pictures(900, 400));
    held_out.extend(&training[..100 * DIMS]);
    let audit = by_pixels(&training, Some(&held_out), &fresh);
    assert_eq!((audit.leaked, audit.tests[0].calibrated_on, audit.false_alarms.of), (100, 400, 400));
    assert!(audit.tests[0].threshold > 0.1, "{}", audit.tests[0].threshold);
}

#[test]
fn either_test_may_find_a_copy() {
    let (training, held_out) = (pictures(0, 400), pictures(400, 600));
    let mirror = |of: &[f32]| -> Vec<f32> { of.chunks(28).flat_map(|row| row.iter().rev().copied()).collect() };
    let drawn = mirror(&training[..100 * DIMS]);
    // Features that do not know left from right.
    let features = |of: &[f32]| -> Vec<f32> {
        of.chunks(28).flat_map(|row| (0..14).map(|x| row[x] + row[27 - x]).collect::<Vec<_>>()).collect()
    };
    let side = |training, held_out, generated, dims| Side {
        training: Rows::new(training, dims),
        held_out: Some(Rows::new(held_out, dims)),
        generated: Rows::new(generated, dims),
    };
    let pixels = side(&training, &held_out, &drawn, DIMS);
    let [a, b, c] = [&training, &held_out, &drawn].map(|of| features(of));
    let sides = Sides { pixels, features: Some(side(&a, &b, &c, DIMS / 2)) };
    let alone = audit(&Sides { features: None, ..sides }, &AuditSettings::default()).unwrap();
    let both = audit(&sides, &AuditSettings::default()).unwrap();
    assert!(alone.copies.share < 0.5 && both.copies.share >= 0.99, "{:?} {:?}", alone.copies, both.copies);
    assert!(both.false_alarms.share <= 0.01, "{:?}", both.false_alarms);
    assert_eq!(both.tests.iter().map(|test| test.space).collect::<Vec<_>>(), [Space::Pixels, Space::Features]);

    // What is drawn has a place for all of it.
    let image = |of: &[f32], i: usize| Image::from_chw(28, 28, 1, &of[i * DIMS..(i + 1) * DIMS]);
    let sheet = pairs(&both, |i| image(&drawn, i), |i| image(&training, i));
    assert!(
        sheet.width > 4 * 3 * 96 && sheet.height > 4 * 96 && sheet.channels == 3,
        "{}×{}",
        sheet.width,
        sheet.height
    );
    assert!(figure(&both).width > figure(&alone).width);
    let json = serde_json::to_string(&both).unwrap();
    assert_eq!(serde_json::from_str::<Audit>(&json).unwrap(), both);
    assert!(json.len() < 60_000, "{} bytes", json.len());
}

#[test]
fn what_cannot_be_audited_is_refused_by_name() {
    let values = pictures(0, 10);
    let rows = |n: usize| Rows::new(&values[..n * DIMS], DIMS);
    let side = Side { training: rows(10), held_out: None, generated: rows(2) };
    let refused = |pixels: Side, features: Option<Side>, settings: AuditSettings| {
        audit(&Sides { pixels, features }, &settings).unwrap_err().to_string()
    };
    let plain = AuditSettings::default;
    let twice = [&values[..DIMS], &values[..DIMS], &values[..DIMS], &values[DIMS..2 * DIMS]].concat();
    let broken = [&values[..DIMS], &[f32::NAN][..], &values[1..DIMS]].concat();
    for (message, expected) in [
        (
            refused(Side { training: rows(2), ..side }, None, plain()),
            "at least 3 different training images; there are 2",
        ),
        (refused(Side { training: Rows::new(&twice, DIMS), ..side }, None, plain()), "there are 2"),
        (refused(Side { generated: rows(0), ..side }, None, plain()), "no generated images"),
        (
            refused(Side { generated: Rows::new(&values, 28), ..side }, None, plain()),
            "generated images are rows of 28 numbers, those of training images of 784",
        ),
        (
            refused(Side { generated: Rows::new(&broken, DIMS), ..side }, None, plain()),
            "generated image 1 are not finite",
        ),
        (refused(side, Some(Side { training: rows(9), ..side }), plain()), "9 feature vectors for 10 training images"),
        (refused(side, None, AuditSettings { bound: 0.0, ..plain() }), "`bound` is 0"),
        (refused(side, None, AuditSettings { allowed: 1.0, ..plain() }), "`allowed` is 1"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
    let nothing = audit(&Sides { pixels: Side { generated: rows(0), ..side }, features: None }, &plain());
    assert_eq!(nothing, Err(AuditError::NothingGenerated));
    // Few, but enough.
    assert_eq!(audit(&Sides { pixels: side, features: None }, &plain()).unwrap().copies.count, 2);
}
