//! One evaluation, from pictures to a report.

use std::path::Path;

use sha2::{Digest, Sha256};
use undiffuse::burn::tensor::Device;
use undiffuse::likelihood::Estimate;
use undiffuse::likelihood::measure::{LikelihoodSettings, LikelihoodStage, MeasureError, Measured, measure};
use undiffuse_data::text::hex;
use undiffuse_data::{Dataset, names};
use undiffuse_features::Features;
use undiffuse_math::noise;
use undiffuse_metrics::{Better, Figure, METRICS, MetricOptions, Over, Rows, Sets};

use crate::audit::{self, Audit, AuditError, AuditSettings, Side, Sides};
use crate::generate::{Generated, Generator};
use crate::judge::{self, Judge, Told};
use crate::pictures::PictureSet;
use crate::protocol::{AuditFacts, DataFacts, FeatureFacts, GeneratedFacts, LikelihoodFacts, Protocol, VERSION};
use crate::report::{FORMAT, Illustration, Report, Speed, SubjectFacts};
use crate::vectors::{Gathered, Vectors, gather, pixel_rows, vectors};
use crate::{EvalError, EvalProgress, EvalStage, classes, illustrate};

/// The stream of noise that draws subsets.
const SUBSETS: u64 = u64::MAX - 1;

/// What is judged.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A model, which makes its pictures here.
    Model(Generator<'a>),
    /// Pictures from anywhere.
    Pictures(&'a dyn PictureSet),
}

/// Some of a dataset's pictures.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// The dataset.
    pub data: &'a Dataset,
    /// Which of its pictures.
    pub indices: Vec<usize>,
}

impl Known<'_> {
    /// SHA-256 (hexadecimal) of the dataset, and of which of its pictures are meant.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new().chain_update(self.data.fingerprint());
        self.indices.iter().for_each(|&i| hash.update((i as u64).to_le_bytes()));
        hex(&hash.finalize())
    }
}

/// Whose likelihood is measured, and on what.
pub struct Likelihood<'a> {
    /// The model's folder or run.
    pub model: &'a Path,
    /// Which of its weights, where it has several.
    pub variant: Option<&'a str>,
    /// Pictures that it has not seen; those that its run held out when not given.
    pub data: Option<&'a Path>,
    /// How.
    pub settings: LikelihoodSettings,
    /// Where.
    pub device: &'a Device,
}

/// What an evaluation is asked to do.
pub struct EvalRequest<'a> {
    /// What is judged.
    pub subject: Subject<'a>,
    /// Its name, for the reader.
    pub name: String,
    /// How many of its pictures.
    pub n: usize,
    /// What they are compared with.
    pub data: &'a Dataset,
    /// What pictures from a folder were before they came to the size of the data's, for the protocol.
    pub original: Option<String>,
    /// What the model was trained on, to look for copies of it; without it there is no audit.
    pub training: Option<Known<'a>>,
    /// Pictures of the same kind that it has not seen, to tell copies from likeness.
    pub held_out: Option<Known<'a>>,
    /// Likelihoods to be measured.
    pub likelihood: Option<Likelihood<'a>>,
    /// The CLIP that judges whether pictures show what was asked for.
    pub judge: Option<&'a Judge>,
    /// The feature network.
    pub features: &'a dyn Features,
    /// How the measures are computed.
    pub settings: MetricOptions,
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

/// Hears of every step, and stops everything by answering `false`.
pub type Listener<'a> = dyn FnMut(EvalProgress) -> bool + 'a;

/// Judges pictures.
///
/// # Errors
/// Sets that cannot be compared, files that cannot be written, an interruption. What was computed is kept in
/// [`EvalRequest::cache`], and the same request goes on from there.
pub fn evaluate(request: &EvalRequest, progress: &mut Listener) -> Result<Evaluation, EvalError> {
    let EvalRequest { data, features, settings, cache, .. } = request;
    let made: Generated;
    let (pictures, generator): (&dyn PictureSet, _) = match &request.subject {
        Subject::Pictures(pictures) => (*pictures, None),
        Subject::Model(generator) => {
            check(data, generator.model.picture_shape(), request.n)?;
            made = generator.generate(request.n, cache, progress)?;
            (&made, Some((generator, &made)))
        }
    };
    let n = request.n.min(pictures.len());
    check(data, pictures.shape(), n)?;
    let real = vectors(*data, data.len(), *features, cache, EvalStage::RealVectors, progress)?;
    let all = vectors(pictures, pictures.len(), *features, cache, EvalStage::GeneratedVectors, progress)?;
    let compared = Compared::new((*data, &real), (pictures, &all), n, settings.seed);

    let mut figures = compared.figures(settings, progress)?;
    hear(progress, EvalStage::Measuring("classes"))?;
    let label = |generator: &Generator| compared.judged.iter().map(|&i| generator.data_label(i as u64)).collect();
    let wanted = generator.and_then(|(generator, _)| label(generator));
    let classes = classes::judge(data, real.rows(), compared.vectors.rows(), wanted, settings)?;
    let classes = classes.map(|judged| {
        figures.extend(judged.figures);
        judged.classes
    });
    let mut illustrations = compared.illustrations(data, pictures);

    let mut notes = data.warnings();
    let words = |i: usize| match generator {
        Some((generator, _)) => generator.words(i as u64),
        None => pictures.caption(i),
    };
    let (shown, note) = shown(request, &compared, &Told::new(pictures, &compared.judged, words), progress)?;
    figures.extend(shown);
    notes.extend(note);
    notes.extend(generator.and_then(|(generator, _)| generator.note()));
    let (likelihood, note) = likelihood(request, progress)?;
    notes.extend(note);
    figures.extend(likelihood.iter().flat_map(bits));
    let audit = match copies(request, &compared, progress) {
        Err(EvalError::Audit(e @ AuditError::TooFewTraining { .. })) => {
            notes.push(format!("not looked for copies: {e}"));
            None
        }
        other => other?,
    };
    if let (Some(audit), Some(training)) = (&audit, &request.training) {
        figures.push(share(audit));
        illustrations.push(illustrate::ratios(audit));
        illustrations.push(illustrate::offenders(audit, |i| pictures.image(i), |i| training.data.image(i)));
        notes.extend(audit.notes.iter().cloned());
    }
    notes.extend(remarks(&figures));

    let generated = generator.map(|(generator, _)| generator);
    let protocol = protocol(request, generated, n, likelihood.as_ref(), audit.is_some());
    let report = Report {
        format: FORMAT,
        program: concat!("undiffuse ", env!("CARGO_PKG_VERSION")).into(),
        subject: SubjectFacts {
            name: request.name.clone(),
            kind: if generator.is_some() { "model" } else { "pictures" }.into(),
            fingerprint: generated.map_or(pictures.fingerprint(), |generator| generator.identity).into(),
        },
        data: names::of(data.path()),
        fingerprint: protocol.fingerprint(),
        protocol,
        figures,
        classes,
        audit,
        speed: generator.and_then(|(generator, made)| speed(generator, made)),
        peak_memory: undiffuse::memory::resident().map(|(_, most)| most),
        notes,
    };
    Ok(Evaluation { report, illustrations })
}

/// Real and judged pictures as the measures see them.
struct Compared<'a> {
    /// Places of the real pictures in measures that look at pairs.
    chosen: Vec<usize>,
    /// Places of the judged pictures.
    judged: Vec<usize>,
    /// Vectors of all real pictures.
    real: Rows<'a>,
    /// Vectors of the chosen ones.
    real_some: Gathered<'a>,
    /// Vectors of the judged pictures.
    vectors: Gathered<'a>,
    /// Pixels of the chosen real pictures.
    real_pixels: Gathered<'static>,
    /// Pixels of the judged pictures.
    pixels: Gathered<'static>,
}

impl<'a> Compared<'a> {
    /// `n` pictures of those that are judged, and as many real ones where pairs are looked at.
    fn new(
        (data, real): (&Dataset, &'a Vectors),
        (pictures, all): (&dyn PictureSet, &'a Vectors),
        n: usize,
        seed: u64,
    ) -> Self {
        let (chosen, judged) = (subset(data.len(), n.min(data.len()), seed), subset(pictures.len(), n, seed));
        Self {
            real: real.rows(),
            real_some: gather(real.rows(), &chosen),
            vectors: gather(all.rows(), &judged),
            real_pixels: pixel_rows(data, &chosen),
            pixels: pixel_rows(pictures, &judged),
            chosen,
            judged,
        }
    }

    /// Every metric's figures.
    fn figures(&self, settings: &MetricOptions, progress: &mut Listener) -> Result<Vec<Figure>, EvalError> {
        let mut figures = Vec::new();
        for metric in METRICS {
            hear(progress, EvalStage::Measuring(metric.tag))?;
            let sets = match metric.over {
                Over::Features if metric.pairs => Sets { real: self.real_some.rows(), generated: self.vectors.rows() },
                Over::Features => Sets { real: self.real, generated: self.vectors.rows() },
                Over::Pixels => Sets { real: self.real_pixels.rows(), generated: self.pixels.rows() },
            };
            figures.extend((metric.measure)(&sets, settings)?);
        }
        Ok(figures)
    }

    /// Both sides beside each other, and on one map.
    fn illustrations(&self, data: &Dataset, pictures: &dyn PictureSet) -> Vec<Illustration> {
        vec![
            illustrate::side_by_side((pictures, &self.judged), (data, &self.chosen)),
            illustrate::map(self.real_some.rows(), self.vectors.rows()),
        ]
    }
}

/// All that the figures depend on.
fn protocol(
    request: &EvalRequest,
    generator: Option<&Generator>,
    n: usize,
    likelihood: Option<&Measured>,
    audited: bool,
) -> Protocol {
    let EvalRequest { data, features, settings, .. } = request;
    let pictures = || GeneratedFacts { images: n, original: request.original.clone(), ..GeneratedFacts::default() };
    let likelihood = likelihood.map(|measured| LikelihoodFacts {
        data: Some(measured.data_fingerprint.clone()),
        told: Some(measured.told.fingerprint.clone()).filter(|told| !told.is_empty()),
        images: Some(measured.images),
        steps: Some(measured.steps),
        settings: serde_json::to_string(&measured.settings).ok(),
    });
    let audit = request.training.as_ref().filter(|_| audited).map(|training| AuditFacts {
        training: Some(training.fingerprint()),
        images: Some(training.indices.len()),
        held_out: request.held_out.as_ref().map(Known::fingerprint),
        held_out_images: request.held_out.as_ref().map(|known| known.indices.len()),
    });
    Protocol {
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
        generated: generator.map_or_else(pictures, |generator| facts(generator, n)),
        pairs: n.min(data.len()),
        seed: settings.seed,
        resamples: settings.resamples,
        likelihood: likelihood.unwrap_or_default(),
        audit: audit.unwrap_or_default(),
        judge: request.judge.map(Judge::facts).unwrap_or_default(),
    }
}

/// How fast pictures were made, where some were.
fn speed(generator: &Generator, made: &Generated) -> Option<Speed> {
    Some(Speed {
        images_per_second: made.speed?,
        images: made.made,
        device: generator.device.into(),
        threads: rayon::current_num_threads(),
    })
}

/// What figures have to say of themselves, each remark once.
fn remarks(figures: &[Figure]) -> Vec<String> {
    let mut remarks: Vec<(&str, Vec<&str>)> = Vec::new();
    for figure in figures {
        let Some(note) = &figure.note else { continue };
        match remarks.iter_mut().find(|(said, _)| said == note) {
            Some((_, names)) => names.push(&figure.name),
            None => remarks.push((note, vec![&figure.name])),
        }
    }
    remarks.into_iter().map(|(note, names)| format!("{}: {note}", names.join(", "))).collect()
}

/// Says that a stage begins.
fn hear(progress: &mut Listener, stage: EvalStage) -> Result<(), EvalError> {
    match progress(EvalProgress { stage, done: 0, total: 1 }) {
        true => Ok(()),
        false => Err(EvalError::Interrupted),
    }
}

/// Refuses what has no meaning, before any work is done.
fn check(data: &Dataset, judged: [usize; 3], n: usize) -> Result<(), EvalError> {
    for (what, n) in [("what is judged", n), ("the data", data.len())] {
        if n < 2 {
            return Err(EvalError::TooFew { what, n });
        }
    }
    let real = PictureSet::shape(data);
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
        original: None,
        seeds: Some([0, n as u64 - 1]),
        conditions: generator.choice().map(Into::into),
        told: Some(generator.told().fingerprint).filter(|told| !told.is_empty()),
        solver: Some(settings.solver.to_string()),
        spacing: Some(settings.spacing.to_string()),
        steps: Some(settings.steps),
        guidance: generator.model.conditioner.guides().then_some(settings.guidance),
    }
}

/// `count` of `0..n`, in ascending order.
fn subset(n: usize, count: usize, seed: u64) -> Vec<usize> {
    let shuffled = noise::shuffled(seed, SUBSETS, n as u32);
    let mut chosen: Vec<usize> = shuffled.into_iter().take(count).map(|i| i as usize).collect();
    chosen.sort_unstable();
    chosen
}

/// Whether pictures show what was asked for, and the real ones what is said of them, if there is a judge; or why that is not known.
fn shown(
    request: &EvalRequest,
    compared: &Compared,
    told: &Told,
    progress: &mut Listener,
) -> Result<(Vec<Figure>, Option<String>), EvalError> {
    let EvalRequest { judge: Some(judge), data, settings, cache, .. } = request else { return Ok((Vec::new(), None)) };
    let judged = judge::figures(judge, told, false, settings, cache, progress)?;
    let note = "no CLIP score: the judged pictures have no prompts and no captions";
    let note = judged.is_empty().then(|| note.to_owned());
    let real = Told::new(*data, &compared.chosen, |i| data.caption(i));
    Ok(([judged, judge::figures(judge, &real, true, settings, cache, progress)?].concat(), note))
}

/// The likelihood, or why there is none.
fn likelihood(request: &EvalRequest, progress: &mut Listener) -> Result<(Option<Measured>, Option<String>), EvalError> {
    let Some(Likelihood { model, variant, data, settings, device }) = &request.likelihood else {
        return Ok((None, None));
    };
    let measured = measure(model, *variant, *data, settings, device, &mut |step| {
        // Bound and ODE are a half each.
        let half = step.done as f64 / step.total.max(1) as f64 / 2.0;
        let done = if step.stage == LikelihoodStage::Ode { 0.5 + half } else { half };
        let (done, total) = ((done * settings.images as f64) as usize, settings.images);
        progress(EvalProgress { stage: EvalStage::Likelihood, done, total })
    });
    match measured {
        Ok(measured) => {
            let note =
                measured.told.lacking.as_ref().map(|lacking| format!("likelihoods of {}: {lacking}", measured.data));
            Ok((Some(measured), note))
        }
        Err(MeasureError::Interrupted) => Err(EvalError::Interrupted),
        Err(e) => Ok((None, Some(format!("no likelihood: {e}")))),
    }
}

/// Likelihoods as figures; their intervals are normal ones, as the errors of a mean over pictures.
fn bits(measured: &Measured) -> Vec<Figure> {
    let figure = |tag: &str, name: &str, Estimate { mean, standard_error }: Estimate| Figure {
        tag: tag.into(),
        name: name.into(),
        value: mean,
        interval: Some([mean - 1.96 * standard_error, mean + 1.96 * standard_error]),
        better: Better::Lower,
        note: None,
    };
    let bound = measured.bound.as_ref().map(|b| figure("bound", "Variational bound, bits/dim", b.bits_per_dim));
    let ode = measured.ode.as_ref().map(|ode| figure("ode", "ODE likelihood, bits/dim", ode.bits_per_dim));
    bound.into_iter().chain(ode).collect()
}

/// Vectors of the whole dataset that some known pictures are of.
fn known(known: &Known, request: &EvalRequest, progress: &mut Listener) -> Result<Vectors, EvalError> {
    let data = known.data;
    vectors(data, data.len(), request.features, request.cache, EvalStage::TrainingVectors, progress)
}

/// Vectors and pixels of pictures that are known, in their order.
fn some<'a>(known: &Known, all: &'a Vectors) -> (Gathered<'a>, Gathered<'static>) {
    (gather(all.rows(), &known.indices), pixel_rows(known.data, &known.indices))
}

/// The audit, if it is known what there is to copy. Places in it are those of seeds, and of pictures in the training data.
fn copies(request: &EvalRequest, compared: &Compared, progress: &mut Listener) -> Result<Option<Audit>, EvalError> {
    let Some(training) = &request.training else { return Ok(None) };
    let training_all = known(training, request, progress)?;
    let held_out_all = request.held_out.as_ref().map(|held_out| known(held_out, request, progress)).transpose()?;
    let (training_vectors, training_pixels) = some(training, &training_all);
    let held_out = request.held_out.as_ref().zip(held_out_all.as_ref()).map(|(known, all)| some(known, all));
    hear(progress, EvalStage::Audit)?;
    let sides = Sides {
        pixels: Side {
            training: training_pixels.rows(),
            held_out: held_out.as_ref().map(|(_, pixels)| pixels.rows()),
            generated: compared.pixels.rows(),
        },
        features: Some(Side {
            training: training_vectors.rows(),
            held_out: held_out.as_ref().map(|(vectors, _)| vectors.rows()),
            generated: compared.vectors.rows(),
        }),
    };
    let settings = AuditSettings { seed: request.settings.seed, ..AuditSettings::default() };
    let mut audit = audit::audit(&sides, &settings)?;
    for offender in &mut audit.worst {
        offender.index = compared.judged[offender.index];
        let nearest = offender.evidence.iter_mut().flat_map(|evidence| &mut evidence.nearest);
        nearest.for_each(|neighbour| neighbour.index = training.indices[neighbour.index]);
    }
    Ok(Some(audit))
}

/// The share of copies as a figure.
fn share(audit: &Audit) -> Figure {
    Figure {
        tag: "copies".into(),
        name: "Copies of training pictures, share".into(),
        value: audit.copies.share,
        interval: Some(audit.copies.interval),
        better: Better::Lower,
        note: None,
    }
}
