//! What holds for every line of METRICS.

use undiffuse_math::noise;
use undiffuse_metrics::{METRICS, MetricError, MetricOptions, Rows, Sets};

const DIMS: usize = 12;

fn sample(seed: u64, n: usize) -> Vec<f32> {
    let mut values = vec![0.0; n * DIMS];
    noise::normal(seed, 0, 0, &mut values);
    values
}

fn sets<'a>(real: &'a [f32], generated: &'a [f32]) -> Sets<'a> {
    Sets { real: Rows::new(real, DIMS), generated: Rows::new(generated, DIMS) }
}

fn settings() -> MetricOptions {
    MetricOptions { resamples: 100, extrapolate: true, ..MetricOptions::default() }
}

/// Values with intervals around them (an extrapolation's excepted), from many images, few images, copies and constants.
#[test]
fn figures_are_finite() {
    let (many, few) = (sample(1, 80), sample(2, 7));
    let two = sample(3, 2);
    let copies = few[..DIMS].repeat(9);
    let zeros = vec![0.0; 5 * DIMS];
    let all = [&many, &few, &two, &copies, &zeros];
    for metric in METRICS {
        for (real, generated) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
            let figures = (metric.measure)(&sets(real, generated), &settings()).unwrap();
            assert!(!figures.is_empty());
            for figure in figures {
                let [low, high] = figure.interval.unwrap();
                assert!(figure.value.is_finite() && low.is_finite() && high.is_finite(), "{figure:?}");
                assert!(low <= figure.value + 1e-9 && figure.value <= high + 1e-9, "{figure:?}");
            }
        }
    }
}

/// Distances of a set to itself vanish, and everything of it is covered.
#[test]
fn a_set_beside_itself() {
    let values = sample(1, 150);
    for metric in METRICS {
        let figures = (metric.measure)(&sets(&values, &values), &settings()).unwrap();
        let tags: Vec<&str> = figures.iter().map(|figure| figure.tag.as_str()).collect();
        assert_eq!(tags, metric.itself.iter().map(|(tag, _)| *tag).collect::<Vec<_>>());
        for (figure, (_, value)) in figures.iter().zip(metric.itself) {
            assert!(value.is_none_or(|value| (figure.value - value).abs() <= 1e-6), "{figure:?}");
        }
    }
}

/// The same bits for any number of threads.
#[test]
fn threads_do_not_show() {
    let (real, generated) = (sample(1, 300), sample(2, 200));
    for metric in METRICS {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| (metric.measure)(&sets(&real, &generated), &settings()).unwrap())
        };
        assert_eq!(on(1), on(3), "{}", metric.tag);
    }
}

#[test]
fn bad_sets_are_refused() {
    let values = sample(1, 20);
    for metric in METRICS {
        let refused = |sets: &Sets| (metric.measure)(sets, &settings()).unwrap_err();
        for n in [0, 1] {
            let error = refused(&sets(&values, &values[..n * DIMS]));
            assert!(matches!(error, MetricError::TooFew { real: 20, generated, .. } if generated == n), "{error}");
        }
        for bad in [f32::NAN, f32::INFINITY] {
            let mut broken = values.clone();
            broken[3 * DIMS + 1] = bad;
            let error = refused(&sets(&values, &broken));
            assert_eq!(error, MetricError::NotFinite { which: "generated", index: 3 });
        }
        let other = Sets { real: Rows::new(&values, DIMS), generated: Rows::new(&values, 10) };
        assert_eq!(refused(&other), MetricError::Dimensions { real: DIMS, generated: 10 });
    }
}
