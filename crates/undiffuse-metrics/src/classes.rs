//! Which classes a set of images shows: their counts, whether they are the ones asked for, how sure and how varied they are.
//!
//! Everything here is a function of class probabilities, such as a [`Probe`](crate::probe::Probe)'s. They are that
//! classifier's opinion: read them beside its accuracy on real images that it has not learnt from.

use crate::probe::most_probable;
use crate::{Better, Figure, MetricError, MetricOptions, bootstrap};

/// What is known besides the probabilities.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The class that each image was asked to show.
    pub wanted: Option<&'a [u32]>,
    /// Images of each class in the data.
    pub data_counts: Option<&'a [usize]>,
    /// The classifier's right answers on held-out real images, and how many those were.
    pub held_out: Option<[usize; 2]>,
}

/// How many images show a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassShare {
    /// Images whose most probable class it is.
    pub count: usize,
    /// Their share.
    pub share: f64,
    /// The share's interval \[Wilson27\].
    pub interval: [f64; 2],
}

/// The images of each class: `probabilities` are `[images, classes]`.
pub fn counts(probabilities: &[f64], classes: usize, confidence: f64) -> Vec<ClassShare> {
    let mut counts = vec![0; classes];
    probabilities.chunks(classes.max(1)).for_each(|p| counts[most_probable(p) as usize] += 1);
    let n: usize = counts.iter().sum();
    let of = |count: usize| ClassShare {
        count,
        share: count as f64 / n.max(1) as f64,
        interval: bootstrap::wilson(count, n, confidence),
    };
    counts.into_iter().map(of).collect()
}

/// The figures of a set of images from their probabilities, `[images, classes]`:
///
/// - `class_accuracy`: the share that shows the wanted class, where one was wanted;
/// - `class_entropy`: `E H(p)`, how undecided single images are, in nats;
/// - `class_variety`: `H(E p)`, how varied all are together, at most `ln classes`;
/// - `class_score`: `exp(H(E p) − E H(p))`, the form of the inception score \[Salimans16\] with another classifier;
/// - `class_divergence`: `KL(shares ‖ data)` of the shares of most probable classes, where the data's are known. A class that
///   the data lack counts there as half an image.
///
/// # Errors
/// Probabilities that are no rows of so many classes, or none; wanted classes of another number of images; counts of
/// another number of classes.
pub fn figures(
    probabilities: &[f64],
    classes: usize,
    context: &Context,
    settings: &MetricOptions,
) -> Result<Vec<Figure>, MetricError> {
    check(probabilities, classes, context)?;
    let note = context.held_out.filter(|[_, of]| *of > 0).map(|[right, of]| {
        format!(
            "judged by a classifier that is right on {:.1} % of {of} held-out real images",
            100.0 * right as f64 / of as f64
        )
    });
    let figure = |(tag, name, value, interval, better): Finding| Figure {
        tag: tag.to_owned(),
        name: name.to_owned(),
        value,
        interval: Some(interval),
        better,
        note: note.clone(),
    };
    let accuracy = context.wanted.map(|wanted| accuracy(probabilities, classes, wanted, settings));
    let divergence = context.data_counts.map(|data| divergence(probabilities, classes, data, settings));
    let entropies = entropies(probabilities, classes, settings);
    Ok(accuracy.into_iter().chain(entropies).chain(divergence).map(figure).collect())
}

/// Tag, name, value, interval and the good way of a figure.
type Finding = (&'static str, &'static str, f64, [f64; 2], Better);

fn accuracy(probabilities: &[f64], classes: usize, wanted: &[u32], settings: &MetricOptions) -> Finding {
    let right = probabilities.chunks(classes).zip(wanted).filter(|(p, wanted)| most_probable(p) == **wanted).count();
    let interval = bootstrap::wilson(right, wanted.len(), settings.confidence);
    ("class_accuracy", "Class accuracy", right as f64 / wanted.len() as f64, interval, Better::Higher)
}

/// How undecided single images are, how varied all are together, and the score that both make.
fn entropies(probabilities: &[f64], classes: usize, settings: &MetricOptions) -> [Finding; 3] {
    let rows = || probabilities.chunks(classes);
    let single: Vec<f64> = rows().map(entropy).collect();
    let undecided = bootstrap::mean(&single);
    let mean: Vec<f64> =
        (0..classes).map(|class| rows().map(|p| p[class]).sum::<f64>() / single.len() as f64).collect();
    let variety = entropy(&mean);
    // d H(E p) by an image's weight: its cross-entropy.
    let cross: Vec<f64> = rows().map(|p| -p.iter().zip(&mean).map(|(p, mean)| p * log(*mean)).sum::<f64>()).collect();
    let gap: Vec<f64> = cross.iter().zip(&single).map(|(cross, single)| cross - single).collect();
    let score = (variety - undecided).exp();

    let of = |value, influence: &Vec<f64>| bootstrap::interval(value, &[influence], settings);
    let of_single = of(undecided, &single).map(|end| end.max(0.0));
    let of_all = of(variety, &cross).map(|end| end.clamp(0.0, (classes as f64).ln()));
    let of_score = of(variety - undecided, &gap).map(|end| end.max(0.0).exp());
    [
        ("class_entropy", "Class entropy of an image", undecided, of_single, Better::Lower),
        ("class_variety", "Class entropy of all", variety, of_all, Better::Higher),
        ("class_score", "Inception-like score of the classes", score, of_score, Better::Higher),
    ]
}

fn divergence(probabilities: &[f64], classes: usize, data: &[usize], settings: &MetricOptions) -> Finding {
    let total = data.iter().sum::<usize>().max(1) as f64;
    let expected = |class: usize| (data[class] as f64).max(0.5) / total;
    let counts = counts(probabilities, classes, settings.confidence);
    let ratio: Vec<f64> = counts.iter().enumerate().map(|(class, it)| log(it.share / expected(class))).collect();
    let divergence: f64 =
        counts.iter().zip(&ratio).filter(|(it, _)| it.count > 0).map(|(it, ratio)| it.share * ratio).sum();
    let single: Vec<f64> = probabilities.chunks(classes).map(|p| ratio[most_probable(p) as usize]).collect();
    let interval = bootstrap::interval(divergence, &[&single], settings).map(|end| end.max(0.0));
    ("class_divergence", "Class shares, KL to the data's", divergence.max(0.0), interval, Better::Lower)
}

/// The logarithm, finite at 0.
fn log(x: f64) -> f64 {
    x.max(f64::MIN_POSITIVE).ln()
}

/// In nats.
fn entropy(p: &[f64]) -> f64 {
    p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum()
}

fn check(probabilities: &[f64], classes: usize, context: &Context) -> Result<(), MetricError> {
    let refuse = |why: String| Err(MetricError::Labels(why));
    if classes == 0 || probabilities.is_empty() || !probabilities.len().is_multiple_of(classes) {
        return refuse(format!("{} probabilities are no rows of {classes} classes", probabilities.len()));
    }
    let images = probabilities.len() / classes;
    match (context.wanted, context.data_counts) {
        (Some(wanted), _) if wanted.len() != images => {
            refuse(format!("{} wanted classes for {images} images: every image needs one", wanted.len()))
        }
        (_, Some(data)) if data.len() != classes => {
            refuse(format!("the data have {} classes, the probabilities {classes}", data.len()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four images of two classes, by hand.
    #[test]
    fn by_hand() {
        let p = [1.0, 0.0, 0.5, 0.5, 1.0, 0.0, 0.25, 0.75];
        let context = Context { wanted: Some(&[0, 0, 1, 1]), data_counts: Some(&[10, 10]), held_out: Some([9, 10]) };
        let found = figures(&p, 2, &context, &MetricOptions::default()).unwrap();
        let of = |tag: &str| found.iter().find(|figure| figure.tag == tag).unwrap();
        let close = |tag: &str, want: f64| assert!((of(tag).value - want).abs() < 1e-12, "{:?} {want}", of(tag));
        close("class_accuracy", 0.75);
        let undecided = (2f64.ln() + 0.25 * 4f64.ln() + 0.75 * (4f64 / 3.0).ln()) / 4.0;
        close("class_entropy", undecided);
        let h = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
        close("class_variety", h(2.75 / 4.0));
        close("class_score", (h(2.75 / 4.0) - undecided).exp());
        close("class_divergence", 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln());
        assert!(of("class_accuracy").note.as_ref().unwrap().contains("90.0 % of 10"));
        assert!(found.iter().all(|it| it.interval.is_some_and(|[low, high]| low <= it.value && it.value <= high)));
        let counts = counts(&p, 2, 0.95);
        assert_eq!([counts[0].count, counts[1].count], [3, 1]);
    }

    /// A class that no image shows, and one that the data lack, make no infinities.
    #[test]
    fn missing_classes() {
        let p = [1.0, 0.0, 1.0, 0.0];
        let finite = |data: &[usize]| {
            let context = Context { data_counts: Some(data), ..Context::default() };
            let found = figures(&p, 2, &context, &MetricOptions::default()).unwrap();
            assert!(found.iter().all(|figure| figure.value.is_finite()));
            found.last().unwrap().value
        };
        assert!((finite(&[5, 5]) - 2f64.ln()).abs() < 1e-12);
        assert_eq!(finite(&[5, 0]), 0.0);
        assert!(finite(&[0, 5]) > 2.0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let context = Context { wanted: Some(&[0]), ..Context::default() };
        let error = figures(&[0.5; 4], 2, &context, &MetricOptions::default()).unwrap_err().to_string();
        assert!(error.contains("1 wanted classes for 2 images"), "{error}");
        assert!(figures(&[], 2, &Context::default(), &MetricOptions::default()).is_err());
    }
}
