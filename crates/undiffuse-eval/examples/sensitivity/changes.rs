//! Real pictures, changed in known ways, and what every measure says of them.

use undiffuse_data::{Dataset, Image};
use undiffuse_eval::audit::{AuditSettings as Audit, Side, Sides, audit};
use undiffuse_features::Features;
use undiffuse_math::noise;
use undiffuse_metrics::classes::{self, Context};
use undiffuse_metrics::probe::Probe;
use undiffuse_metrics::{METRICS, MetricError, MetricOptions, Over, Rows, Sets};

/// Pictures in the order of their classes' numbers.
type Pictures = Vec<(Image, u32)>;

/// A way to change pictures.
pub struct Change {
    /// Its heading in the table.
    pub name: &'static str,
    make: fn(&Parts, usize) -> Pictures,
}

/// All changes; the first is none.
pub const CHANGES: &[Change] = &[
    Change { name: "none", make: |parts, n| parts.unseen[..n].to_vec() },
    Change { name: "noise 0.1", make: |parts, n| each(&parts.unseen[..n], |image, i| noisy(image, 0.1, i)) },
    Change { name: "noise 0.3", make: |parts, n| each(&parts.unseen[..n], |image, i| noisy(image, 0.3, i)) },
    Change { name: "blur 0.7", make: |parts, n| each(&parts.unseen[..n], |image, _| blurred(image, 0.7)) },
    Change { name: "blur 1.5", make: |parts, n| each(&parts.unseen[..n], |image, _| blurred(image, 1.5)) },
    Change { name: "1 class gone", make: |parts, n| parts.of_classes(1, n) },
    Change { name: "5 classes gone", make: |parts, n| parts.of_classes(5, n) },
    Change {
        name: "a tenth copied",
        make: |parts, n| [&parts.training[..n / 10], &parts.unseen[..n - n / 10]].concat(),
    },
    Change { name: "all copied", make: |parts, n| parts.training[..n].to_vec() },
    Change { name: "copies, noise 0.1", make: |parts, n| each(&parts.training[..n], |image, i| noisy(image, 0.1, i)) },
    Change { name: "copies, blur 0.7", make: |parts, n| each(&parts.training[..n], |image, _| blurred(image, 0.7)) },
    Change { name: "copies, 1 pixel aside", make: |parts, n| each(&parts.training[..n], |image, _| aside(image)) },
    Change { name: "copies, mirrored", make: |parts, n| each(&parts.training[..n], |image, _| image.flip()) },
];

/// The data in parts that share no picture.
pub struct Parts {
    /// What the pictures are compared with, and what they might be copies of.
    pub training: Pictures,
    /// What the audit sets its thresholds by.
    pub held_out: Pictures,
    /// What is changed.
    pub unseen: Pictures,
    /// How many classes there are.
    pub classes: usize,
}

impl Parts {
    /// The first `5 n` pictures: `2 n` for training, `n` held out, `2 n` unseen.
    pub fn new(data: &Dataset, n: usize) -> Self {
        let some = |first, count| -> Pictures {
            (first..first + count).map(|i| (data.image(i), data.label(i).unwrap_or(0))).collect()
        };
        Self {
            training: some(0, 2 * n),
            held_out: some(2 * n, n),
            unseen: some(3 * n, 2 * n),
            classes: data.classes().len(),
        }
    }

    /// `n` unseen pictures that are of none of the first `gone` classes.
    fn of_classes(&self, gone: u32, n: usize) -> Pictures {
        self.unseen.iter().filter(|(_, class)| *class >= gone).take(n).cloned().collect()
    }
}

fn each(pictures: &[(Image, u32)], change: impl Fn(&Image, usize) -> Image) -> Pictures {
    pictures.iter().enumerate().map(|(i, (image, class))| (change(image, i), *class)).collect()
}

/// Gaussian noise, its deviation on the scale of [−1, 1].
fn noisy(image: &Image, deviation: f32, index: usize) -> Image {
    let mut eps = vec![0.0; image.pixels.len()];
    noise::normal(0, index as u64, 0, &mut eps);
    let pixels = image.pixels.iter().zip(eps).map(|(&p, e)| (p as f32 + 127.5 * deviation * e).round() as u8);
    Image::new(image.width, image.height, image.channels, pixels.collect())
}

/// Gaussian blur of this deviation in pixels; beyond the edge the edge goes on.
fn blurred(image: &Image, deviation: f32) -> Image {
    let reach = (3.0 * deviation).ceil() as isize;
    let kernel: Vec<f32> = (-reach..=reach).map(|x| (-0.5 * (x as f32 / deviation).powi(2)).exp()).collect();
    let total: f32 = kernel.iter().sum();
    let (width, height, channels) = (image.width as isize, image.height as isize, image.channels);
    let values: Vec<f32> = image.pixels.iter().map(|&p| p as f32).collect();
    let along = |from: &[f32], (dx, dy): (isize, isize)| -> Vec<f32> {
        let at = |x: isize, y: isize, c| {
            let (x, y) = (x.clamp(0, width - 1), y.clamp(0, height - 1));
            from[(y * width + x) as usize * channels + c]
        };
        let sum = |x, y, c| {
            let terms = kernel.iter().zip(-reach..).map(|(weight, k)| weight * at(x + k * dx, y + k * dy, c));
            terms.sum::<f32>() / total
        };
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        pixels.flat_map(|(x, y)| (0..channels).map(move |c| (x, y, c))).map(|(x, y, c)| sum(x, y, c)).collect()
    };
    let pixels = along(&along(&values, (1, 0)), (0, 1)).into_iter().map(|p| p.round() as u8).collect();
    Image::new(image.width, image.height, channels, pixels)
}

/// One pixel to the right, the first column twice.
fn aside(image: &Image) -> Image {
    let mut moved = image.clone();
    moved.paste(&image.crop(0, 0, image.width - 1, image.height), 1, 0);
    moved
}

/// A number of a table: its tag, value, and interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Which measure.
    pub tag: String,
    /// What the measure is called.
    pub name: String,
    /// What it says.
    pub value: f64,
    /// Between what the truth lies.
    pub interval: Option<[f64; 2]>,
}

/// Pictures as rows of pixels and of features.
struct Described {
    pixels: (Vec<f32>, usize),
    features: (Vec<f32>, usize),
}

impl Described {
    fn new(pictures: &[(Image, u32)], features: &dyn Features) -> Self {
        let images: Vec<Image> = pictures.iter().map(|(image, _)| image.clone()).collect();
        let mut vectors = Vec::new();
        images.chunks(32).for_each(|batch| features.extract(batch, &mut vectors));
        let pixels = images.iter().flat_map(|image| image.pixels.iter().map(|&p| p as f32 / 127.5 - 1.0)).collect();
        Self { pixels: (pixels, images[0].pixels.len()), features: (vectors, features.dims()) }
    }

    fn pixels(&self) -> Rows<'_> {
        Rows::new(&self.pixels.0, self.pixels.1)
    }

    fn features(&self) -> Rows<'_> {
        Rows::new(&self.features.0, self.features.1)
    }
}

/// All measures of all changes of `n` pictures, in the order of [`CHANGES`]. `tell` hears the name of each change.
///
/// # Errors
/// Sets that a metric refuses.
pub fn measure(
    parts: &Parts,
    features: &dyn Features,
    n: usize,
    settings: &MetricOptions,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<Vec<Cell>>, MetricError> {
    tell("real pictures");
    let [training, held_out] = [&parts.training, &parts.held_out].map(|part| Described::new(part, features));
    let labels: Vec<u32> = parts.training.iter().map(|(_, class)| *class).collect();
    let probe = Probe::fit(training.features(), &labels, parts.classes, settings.seed)?;
    let mut data_counts = vec![0; parts.classes];
    labels.iter().for_each(|&class| data_counts[class as usize] += 1);
    let column = |change: &Change| {
        tell(change.name);
        let pictures = (change.make)(parts, n);
        let generated = Described::new(&pictures, features);
        let mut figures = Vec::new();
        for metric in METRICS {
            let sets = match metric.over {
                Over::Features => Sets { real: training.features(), generated: generated.features() },
                Over::Pixels => Sets { real: training.pixels(), generated: generated.pixels() },
            };
            figures.extend((metric.measure)(&sets, settings)?);
        }
        let wanted: Vec<u32> = pictures.iter().map(|(_, class)| *class).collect();
        let context =
            Context { wanted: Some(&wanted), data_counts: Some(&data_counts), held_out: Some(probe.held_out) };
        figures.extend(classes::figures(
            &probe.probabilities(generated.features()),
            parts.classes,
            &context,
            settings,
        )?);
        let mut cells: Vec<Cell> = figures
            .into_iter()
            .map(|f| Cell { tag: f.tag, name: f.name, value: f.value, interval: f.interval })
            .collect();
        cells.extend(audited([&training, &held_out, &generated]));
        Ok(cells)
    };
    CHANGES.iter().map(column).collect()
}

/// The audit's figures.
fn audited([training, held_out, generated]: [&Described; 3]) -> Vec<Cell> {
    let side = |of: fn(&Described) -> Rows| Side {
        training: of(training),
        held_out: Some(of(held_out)),
        generated: of(generated),
    };
    let sides = Sides { pixels: side(Described::pixels), features: Some(side(Described::features)) };
    let Ok(audit) = audit(&sides, &Audit::default()) else { return Vec::new() };
    let share = Cell {
        tag: "copies".into(),
        name: "copies of training images".into(),
        value: audit.copies.share,
        interval: Some(audit.copies.interval),
    };
    let alone = audit.tests.iter().map(|test| Cell {
        tag: format!("copies_{}", test.space.name()),
        name: format!("copies by {} alone", test.space.name()),
        value: test.copies as f64 / generated.pixels().len() as f64,
        interval: None,
    });
    let z = audit.tests.iter().map(|test| Cell {
        tag: format!("z_{}", test.space.name()),
        name: format!("nearness to training images by {}, z", test.space.name()),
        value: test.z,
        // A standard deviation of a z is 1.
        interval: Some([test.z - 1.96, test.z + 1.96]),
    });
    std::iter::once(share).chain(alone).chain(z).collect()
}
