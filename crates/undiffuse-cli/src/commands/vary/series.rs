//! Pictures of a decoder in a series: what `vary` and `blend` share.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Map, Value};
use undiffuse::Model;
use undiffuse::burn::tensor::Tensor;
use undiffuse::clip::Vectors;
use undiffuse::condition::{Ask, Conditioner, Field, Member, Pictures};
use undiffuse::data::{Image, Options, gif, grid, sheet_mark};
use undiffuse::denoise::Cond;
use undiffuse::files;
use undiffuse::memory;
use undiffuse::model::SampleDefaults;
use undiffuse::nn::weights::{self, Named};
use undiffuse::request::{self, fit, picture};
use undiffuse::sample::Noise;
use undiffuse_serve::parameters::texts;

use crate::commands::sample::outputs::{Outputs, Places, write_png};
use crate::common::{self, INTERRUPTED, Machine, usage};
use crate::output::{remark, show};
use crate::sampling::{Sampling, refused};
use crate::ui::bars::Bar;

/// Steps of a walk from the noise that was found for a picture, and of finding it.
const STEPS: usize = 50;
/// Milliseconds of a frame.
const FRAME: u32 = 120;

/// The decoder, and how it is asked.
#[derive(clap::Args)]
pub struct Decoding {
    /// A decoder: a run of `undiffuse train --preset decoder`, or its model folder
    #[arg(long = "run", value_name = "DECODER")]
    pub model: PathBuf,
    #[command(flatten)]
    pub sampling: Sampling,
    /// Pictures computed at a time; results do not depend on it
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    /// Folder for the pictures, new or empty; samples/<model name> when not given, with a number when that is taken
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Replace what is there: pictures of this program in --out, which are removed first, and what lies beside it
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub machine: Machine,
}

/// A model that is asked with pictures.
pub struct Decoder {
    pub model: Model,
    settings: SampleDefaults,
}

impl Decoder {
    /// Loads it. Where a walk begins at the noise of a picture, `keep` is the eta of its DDIM.
    ///
    /// # Errors
    /// Models that are asked otherwise, settings that they or the walk do not have.
    pub fn load(decoding: &Decoding, keep: Option<f64>) -> anyhow::Result<Self> {
        let device = decoding.machine.open()?;
        common::catch_interrupt()?;
        if decoding.batch == 0 {
            return Err(usage("--batch must be at least 1"));
        }
        let model = Model::load(&decoding.model, &device)?;
        if !matches!(model.conditioner, Conditioner::Picture(_)) {
            let (folder, Field { without, .. }) = (decoding.model.display(), Pictures::FIELD);
            return Err(usage(format!(
                "--run {folder}: {without}; `undiffuse train --preset decoder` makes one that is"
            )));
        }
        let mut sampling = decoding.sampling.clone();
        if let Some(eta) = keep {
            if sampling.solver.is_some() || sampling.eta.is_some() {
                return Err(usage(
                    "a walk from a picture's own noise is ddim's, with the eta of --keep: no --solver, no --eta",
                ));
            }
            sampling.solver = Some(format!("ddim:eta={eta}").parse().map_err(|e| usage(format!("--keep {eta}: {e}")))?);
            sampling.steps.get_or_insert(STEPS);
        }
        let settings = sampling.settings(&model)?;
        let model = model.with(settings.clone());
        model.plan().map_err(|e| usage(e.to_string()))?;
        Ok(Self { model, settings })
    }

    /// What reads the pictures.
    pub fn pictures(&self) -> &Pictures {
        match &self.model.conditioner {
            Conditioner::Picture(pictures) => pictures,
            _ => unreachable!("loading refuses others"),
        }
    }

    /// A picture, and its vector at length 1.
    ///
    /// # Errors
    /// A file that is no picture.
    pub fn seen(&self, path: &Path) -> anyhow::Result<(Image, Vec<f32>)> {
        let image = Image::open(path, &Options::default())?;
        match self.pictures().like(&image).map_err(refused)? {
            Ask::Vector(vector) => Ok((image, Vectors::of(vector.len(), vector.to_vec()).unit().row(0).to_vec())),
            _ => unreachable!("a picture is seen as a vector"),
        }
    }

    /// The noise that DDIM finds for a picture under its own vector.
    ///
    /// # Errors
    /// A walk that leaves the numbers.
    pub fn inverted(&self, image: &Image, vector: &[f32]) -> anyhow::Result<Tensor<4>> {
        let cond: Cond = [Ask::Vector(vector.into())].into_iter().collect();
        Ok(self.model.inverted(picture(&self.model, image), &cond)?)
    }

    /// A picture at the size of the decoder's, to stand beside them.
    pub fn beside(&self, image: &Image) -> Image {
        let [channels, height, width] = self.model.picture_shape();
        fit(&image.clone().flatten(Options::default().background).to_channels(channels), width, height)
    }
}

/// Where the walks of a series begin.
pub enum Start {
    /// At the noise of these seeds, one a picture.
    Seeds(Vec<u64>),
    /// At this noise `[N, C, H, W]`; what comes after it is of these seeds.
    Found(Box<Tensor<4>>, Vec<u64>),
}

/// Pictures to be made.
pub struct Series<'a> {
    pub decoder: &'a Decoder,
    pub decoding: &'a Decoding,
    /// The files that are read.
    pub inputs: Vec<&'a Path>,
    /// What each picture is asked by.
    pub vectors: Vec<Vec<f32>>,
    pub start: Start,
    /// Pictures that stand before them in the grid.
    pub before: Vec<Image>,
    /// Whether they follow one another, as a film.
    pub film: bool,
    /// What each says of itself besides.
    pub facts: Vec<Map<String, Value>>,
}

impl Series<'_> {
    /// Makes the pictures and writes them.
    ///
    /// # Errors
    /// What is in the way of the files, more pictures than there is memory for.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Decoding { model, out, overwrite, .. } = self.decoding;
        let n = self.vectors.len();
        let values = self.decoder.model.picture_shape().iter().product::<usize>() as u64;
        memory::afford(&format!("{n} pictures"), values.saturating_mul(4 * n as u64))
            .map_err(|e| usage(e.to_string()))?;
        let (out, inputs) = (out.as_deref(), self.inputs.clone());
        let outputs = Outputs::open(&Places { out, model, raw: None, inputs, overwrite: *overwrite })?;
        let found = matches!(self.start, Start::Found(..));
        let noise = found.then(|| outputs.beside("-noise.safetensors", *overwrite)).transpose()?;
        let film = self.film.then(|| outputs.beside(".gif", *overwrite)).transpose()?;
        let cond: Cond = self.vectors.iter().map(|vector| Ask::Vector(vector.as_slice().into())).collect();
        self.decoder.pictures().clip().release();
        let Some(images) = self.walk(&cond)? else {
            remark("interrupted: no pictures are written");
            return Ok(ExitCode::from(INTERRUPTED));
        };
        for (k, image) in images.iter().enumerate() {
            let facts = self.told(&cond, k, noise.as_deref());
            outputs.write(&format!("{k:06}"), None, image, &texts(&facts, (image.width, image.height)))?;
        }
        if let Some((path, Start::Found(noise, _))) = noise.as_ref().zip(Some(&self.start)) {
            write_noise(path, noise)?;
        }
        if let Some(path) = &film {
            files::write(path, &gif(&images, FRAME)?)?;
        }
        let shown: Vec<Image> = self.before.iter().chain(&images).cloned().collect();
        // A film in one row, others about square.
        let columns = if self.film { shown.len() } else { (shown.len() as f64).sqrt().ceil() as usize };
        write_png(&outputs.sheet, &grid(&shown, columns, 2), &[sheet_mark("grid")])?;
        let (folder, sheet) = (outputs.folder.display(), outputs.sheet.display());
        let moving = film.map(|path| format!(", moving in {}", path.display())).unwrap_or_default();
        show(&format!("{n} pictures in {folder}, all of them in {sheet}{moving}\n"))?;
        Ok(ExitCode::SUCCESS)
    }

    /// The pictures; `None` when interrupted.
    fn walk(&self, cond: &Cond) -> anyhow::Result<Option<Vec<Image>>> {
        let Decoder { model, settings } = self.decoder;
        let n = cond.len();
        let plan = model.plan()?;
        let denoiser = model.denoiser(settings);
        let batch = model.at_once(self.decoding.batch.min(n))?;
        let mut bar = Bar::new(n.saturating_mul(plan.rows.len()), "sampling").rows_per_image(plan.rows.len());
        let mut images = Vec::with_capacity(n);
        for from in (0..n).step_by(batch) {
            let some = from..n.min(from + batch);
            let noise = match &self.start {
                Start::Seeds(seeds) => Noise::Seeds(seeds[some.clone()].to_vec()),
                Start::Found(noise, seeds) => Noise::Begun(
                    Box::new(Tensor::clone(noise).narrow(0, from, some.len())),
                    seeds[some.clone()].to_vec(),
                ),
            };
            let cond = cond.select(some.clone());
            let mut walk = model.sample(&*denoiser, &plan, noise, &cond);
            for _ in walk.by_ref() {
                bar.step(some.len());
                if common::interrupted() {
                    return Ok(None);
                }
            }
            images.extend(model.images(walk.finish()?));
        }
        bar.finish();
        Ok(Some(images))
    }

    /// What picture `k` says of itself: as of `undiffuse sample`, which makes it again.
    fn told(&self, cond: &Cond, k: usize, noise: Option<&Path>) -> Map<String, Value> {
        let Decoder { model, settings } = self.decoder;
        let name = self.decoding.model.display().to_string();
        let (Start::Seeds(seeds) | Start::Found(_, seeds)) = &self.start;
        let mut facts = request::facts(model, &name, settings, seeds[k], cond, k);
        if let Some(noise) = noise {
            facts.remove("seed");
            // Noise that a walk takes on its way is not in the file.
            let path = if fresh(settings) { Value::Bool(true) } else { noise.display().to_string().into() };
            facts.extend([("init_noise".into(), path), ("init_index".into(), k.into())]);
        }
        let device = &self.decoding.machine.device;
        facts.extend((device != "cpu").then(|| ("device".to_owned(), device.as_str().into())));
        facts.extend(self.facts.get(k).cloned().unwrap_or_default());
        facts
    }
}

/// Whether a walk takes noise on its way.
fn fresh(settings: &SampleDefaults) -> bool {
    settings.solver.options().get("eta").and_then(Value::as_f64).is_some_and(|eta| eta > 0.0)
}

/// As `--init-noise` of `undiffuse sample` reads it.
fn write_noise(path: &Path, noise: &Tensor<4>) -> anyhow::Result<()> {
    let (shape, values) = (noise.dims(), noise.clone().into_data().try_into_vec_as::<f32>());
    let tensor =
        Named { name: "init_noise".into(), shape: shape.to_vec(), values: values.context("cannot read the noise")? };
    Ok(files::write(path, &weights::to_bytes(&[tensor], None))?)
}

/// The places of `n` things on the way from 0 to 1; the end of the way where there is one.
pub fn way(n: usize) -> impl Iterator<Item = f64> {
    (0..n).map(move |k| if n > 1 { k as f64 / (n - 1) as f64 } else { 1.0 })
}
