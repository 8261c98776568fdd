//! One evaluation, from pictures to a report.

use std::path::Path;

use undiffuse_data::Dataset;
use undiffuse_math::noise;
use undiffuse_metrics::{METRICS, Over, Sets, Settings};

use crate::features::Features;
use crate::generate::Generator;
use crate::pictures::Pictures;
use crate::protocol::{DataFacts, FeatureFacts, GeneratedFacts, Protocol, VERSION};
use crate::report::{Illustration, Report, Speed, SubjectFacts, peak_memory};
use crate::vectors::{gather, pixel_rows, vectors};
use crate::{EvalError, Progress, Stage, illustrate};

/// The stream of noise that draws subsets.
const SUBSETS: u64 = u64::MAX - 1;

/// What is judged.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A model, which makes its pictures here.
    Model(Generator<'a>),
    /// Pictures from anywhere.
    Pictures(&'a dyn Pictures),
}

/// Some of a dataset's pictures.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// The dataset.
    pub data: &'a Dataset,
    /// Which of its pictures.
    pub indices: Vec<usize>,
}

/// What an evaluation is asked to do.
pub struct Request<'a> {
    /// What is judged.
    pub subject: Subject<'a>,
    /// Its name, for the reader.
    pub name: String,
    /// How many of its pictures.
    pub n: usize,
    /// What they are compared with.
    pub data: &'a Dataset,
    /// The feature network.
    pub features: &'a dyn Features,
    /// How the measures are computed.
    pub settings: Settings,
    /// Folder for what is kept between evaluations.
    pub cache: &'a Path,
}

/// What an evaluation gave.
pub struct Evaluation {
    /// The numbers.
    pub report: Report,
    /// Pictures for the page.
    pub illustrations: Vec<Illustration>,
}

/// Judges pictures; `progress` hears of every step and stops everything by answering `false`.
///
/// # Errors
/// Sets that cannot be compared, files that cannot be written, an interruption. What was computed is kept in
/// [`Request::cache`], and the same request goes on from there.
pub fn evaluate(request: &Request, progress: &mut dyn FnMut(Progress) -> bool) -> Result<Evaluation, EvalError> {
    let Request { data, features, settings, cache, .. } = request;
    let mut notes = data.warnings();
    let real_vectors = vectors(*data, data.len(), *features, cache, Stage::RealVectors, progress)?;
    let made;
    let (pictures, generator): (&dyn Pictures, _) = match &request.subject {
        Subject::Pictures(pictures) => (*pictures, None),
        Subject::Model(generator) => {
            made = generator.generate(request.n, cache, progress)?;
            (&made, Some((generator, &made)))
        }
    };
    let n = request.n.min(pictures.len());
    check(request, pictures, n)?;
    let vectors = vectors(pictures, pictures.len(), *features, cache, Stage::GeneratedVectors, progress)?;

    let pairs = n.min(data.len());
    let (chosen, judged) = (subset(data.len(), pairs, settings.seed), subset(pictures.len(), n, settings.seed));
    let (real_some, judged_some) = (gather(real_vectors.rows(), &chosen), gather(vectors.rows(), &judged));
    let (real_rows, judged_rows) = (real_vectors.rows(), judged_some.rows());
    let (real_pixels, judged_pixels) = (pixel_rows(*data, &chosen), pixel_rows(pictures, &judged));
    let mut figures = Vec::new();
    for metric in METRICS {
        if !progress(Progress { stage: Stage::Measuring(metric.tag), done: 0, total: 1 }) {
            return Err(EvalError::Interrupted);
        }
        let sets = match metric.over {
            Over::Features if metric.pairs => Sets { real: real_some.rows(), generated: judged_rows },
            Over::Features => Sets { real: real_rows, generated: judged_rows },
            Over::Pixels => Sets { real: real_pixels.rows(), generated: judged_pixels.rows() },
        };
        figures.extend((metric.measure)(&sets, settings)?);
    }
    notes.extend(figures.iter().filter_map(|f| Some(format!("{}: {}", f.name, f.note.as_ref()?))));

    let illustrations = vec![
        illustrate::side_by_side((pictures, &judged), (*data, &chosen)),
        illustrate::map(real_some.rows(), judged_rows),
    ];
    let protocol = Protocol {
        version: VERSION,
        features: FeatureFacts {
            network: features.name().into(),
            fingerprint: features.fingerprint().into(),
            input: features.input(),
            dims: features.dims(),
        },
        data: DataFacts {
            fingerprint: data.fingerprint().into(),
            images: data.len(),
            size: data.width(),
            channels: data.channels(),
        },
        generated: generator.map_or_else(
            || GeneratedFacts { images: n, ..GeneratedFacts::default() },
            |(generator, _)| facts(generator, n),
        ),
        pairs,
        seed: settings.seed,
    };
    let report = Report {
        format: crate::report::FORMAT,
        program: concat!("undiffuse ", env!("CARGO_PKG_VERSION")).into(),
        subject: SubjectFacts {
            name: request.name.clone(),
            kind: if generator.is_some() { "model" } else { "pictures" }.into(),
            fingerprint: generator.map_or(pictures.fingerprint(), |(generator, _)| generator.identity).into(),
        },
        data: data.path().display().to_string(),
        fingerprint: protocol.fingerprint(),
        protocol,
        figures,
        speed: generator.and_then(|(generator, made)| {
            Some(Speed {
                images_per_second: made.speed?,
                images: made.made,
                device: generator.device.into(),
                threads: rayon::current_num_threads(),
            })
        }),
        peak_memory: peak_memory(),
        notes,
    };
    Ok(Evaluation { report, illustrations })
}

/// Refuses what has no meaning.
fn check(request: &Request, pictures: &dyn Pictures, n: usize) -> Result<(), EvalError> {
    for (what, n) in [("what is judged", n), ("the data", request.data.len())] {
        if n < 2 {
            return Err(EvalError::TooFew { what, n });
        }
    }
    let (judged, real) = (pictures.shape(), Pictures::shape(request.data));
    if judged != real {
        let shown = |[channels, height, width]: [usize; 3]| {
            format!("{width}×{height} {}", if channels == 1 { "grey" } else { "colour" })
        };
        return Err(EvalError::Shapes(format!(
            "the judged pictures are {}, the data's {}: they must be alike",
            shown(judged),
            shown(real)
        )));
    }
    Ok(())
}

fn facts(generator: &Generator, n: usize) -> GeneratedFacts {
    let settings = generator.model.sample_defaults();
    GeneratedFacts {
        images: n,
        seeds: Some([0, n as u64 - 1]),
        classes: generator.classes().map(Into::into),
        solver: Some(settings.solver.to_string()),
        spacing: Some(settings.spacing.to_string()),
        steps: Some(settings.steps),
        guidance: Some(settings.guidance),
    }
}

/// `count` of `0..n`, in ascending order.
fn subset(n: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut chosen: Vec<usize> =
        noise::shuffled(seed, SUBSETS, n as u32).into_iter().take(count).map(|i| i as usize).collect();
    chosen.sort_unstable();
    chosen
}
