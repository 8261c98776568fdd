//! A model's pictures, of seeds 0, 1, 2, …: made once, kept on disk, never all in memory.

use std::path::Path;

use memmap2::Mmap;
use sha2::{Digest, Sha256};
use undiffuse::Model;
use undiffuse::condition::{Ask, Told};
use undiffuse::files::{at, open};
use undiffuse::model::ModelFolder;
use undiffuse::sample::Noise;
use undiffuse_data::Dataset;
use undiffuse_data::text::hex;
use undiffuse_math::noise;

use crate::pictures::PictureSet;
use crate::shelf::Shelf;
use crate::{EvalError, EvalProgress, EvalStage};

/// The stream of noise that draws classes.
const CLASSES: u64 = u64::MAX;

/// A model to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Generator<'a> {
    /// The model, with the settings to sample it by.
    pub model: &'a Model,
    /// [`identity`] of its folder.
    pub identity: &'a str,
    /// Where it runs, as `--device` has it: other devices round otherwise.
    pub device: &'a str,
    /// The data whose shares of classes its pictures are to have.
    pub data: &'a Dataset,
    /// Pictures made at a time; results do not depend on it.
    pub batch: usize,
}

/// SHA-256 (hexadecimal) of what a model is made of, with the weights of a variant or the usual ones: its network, weights,
/// scheduler and card.
///
/// # Errors
/// Files that cannot be read.
pub fn identity(folder: &ModelFolder, variant: Option<&str>) -> Result<String, EvalError> {
    let mut hash = Sha256::new();
    for path in folder.files(variant).into_iter().filter(|path| path.is_file()) {
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        std::io::copy(&mut open(&path)?, &mut hash).map_err(at("read", &path))?;
    }
    Ok(hex(&hash.finalize()))
}

/// What tells this build of the program from others: a solver that was mended makes other pictures.
fn program() -> String {
    let bytes = std::env::current_exe().and_then(std::fs::read);
    bytes.map_or_else(|_| env!("CARGO_PKG_VERSION").to_owned(), |bytes| hex(&Sha256::digest(bytes)))
}

impl Generator<'_> {
    /// How what a picture is to show is chosen, in words; `None` for models that can't be asked for anything.
    pub fn choice(&self) -> Option<&'static str> {
        self.model.conditioner.all().first()?;
        let drawn = (0..self.data.len()).any(|i| self.model.conditioner.ask(self.data, i, 0) != Ask::None);
        Some(match (drawn, self.has_turns()) {
            (true, _) => "drawn with the data's shares",
            (false, true) => "in turn",
            (false, false) => "nothing in particular",
        })
    }

    /// Whether there is anything to take turns where nothing is drawn; models of words have no list of what they know.
    fn has_turns(&self) -> bool {
        let conditioner = &self.model.conditioner;
        conditioner.all() != [conditioner.nothing()]
    }

    /// What the data tell the model of their pictures.
    pub fn told(&self) -> Told {
        self.model.conditioner.told_by(self.data)
    }

    /// What there is to say of pictures for which nothing can be drawn from the data.
    pub fn note(&self) -> Option<String> {
        let lacking = self.told().lacking?;
        Some(match self.has_turns() {
            true => format!("{lacking}. What the model knows takes the place of what is not said, in turn"),
            false => lacking,
        })
    }

    /// The picture of the data that the picture of a seed is to be like, drawn by the seed alone.
    fn drawn(&self, seed: u64) -> Option<usize> {
        let drawn = noise::below(seed, CLASSES, 0, self.data.len() as u64) as usize;
        (self.model.conditioner.ask(self.data, drawn, 0) != Ask::None).then_some(drawn)
    }

    /// What the picture of a seed is to show; `None` for models that can't be asked for anything.
    pub fn ask(&self, seed: u64) -> Option<Ask> {
        if let Some(i) = self.drawn(seed) {
            return Some(self.model.conditioner.ask(self.data, i, 0));
        }
        let all = self.model.conditioner.all();
        all.get((seed % all.len().max(1) as u64) as usize).cloned()
    }

    /// The words by which the picture of a seed is asked for, of a model that takes words.
    pub fn words(&self, seed: u64) -> Option<String> {
        match self.ask(seed)? {
            Ask::Text(prompt) => Some(prompt.words.to_string()),
            Ask::None | Ask::Class(_) | Ask::Vector(_) | Ask::Small(_) => None,
        }
    }

    /// The data's label of what the picture of a seed is to show, when it was drawn from there.
    pub fn data_label(&self, seed: u64) -> Option<u32> {
        self.data.label(self.drawn(seed)?)
    }

    /// SHA-256 of all that a picture depends on besides its seed.
    fn fingerprint(&self) -> String {
        let settings = serde_json::to_string(&self.model.sample_defaults()).unwrap_or_default();
        let data = if self.choice().is_some() { self.data.fingerprint() } else { "" };
        let told = self.told().fingerprint;
        let shape = format!("{:?}", self.model.picture_shape());
        let program = program();
        let parts = [self.identity, &settings, &shape, self.device, data, &told, &program];
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(format!("{}:{part}", part.len())));
        hex(&hash.finalize())
    }

    /// The pictures of seeds `0..n`, from the folder of caches as far as they are there.
    ///
    /// # Errors
    /// Settings without a plan, files that cannot be written, or an interruption: finished batches are kept.
    pub fn generate(
        &self,
        n: usize,
        folder: &Path,
        progress: &mut dyn FnMut(EvalProgress) -> bool,
    ) -> Result<Generated, EvalError> {
        let model = self.model;
        let [channels, height, width] = model.picture_shape();
        let fingerprint = self.fingerprint();
        let record = channels * height * width;
        let mut shelf = Shelf::open(&folder.join(format!("{}.u8", &fingerprint[..24])), record)?;
        let plan = model.plan().map_err(|e| EvalError::Plan(e.to_string()))?;
        let denoiser = model.denoiser(&model.sample_defaults());
        let (began, clock) = (shelf.len(), std::time::Instant::now());
        while shelf.len() < n {
            let (from, to) = (shelf.len() as u64, n.min(shelf.len() + self.batch) as u64);
            let cond = (from..to).map_while(|seed| self.ask(seed)).collect();
            let mut walk = model.sample(&*denoiser, &plan, Noise::Seeds((from..to).collect()), &cond);
            for step in walk.by_ref() {
                let done = (from as usize - began) * plan.rows.len() + step.row * (to - from) as usize;
                let total = (n - began) * plan.rows.len();
                if !progress(EvalProgress { stage: EvalStage::Generating { rows: plan.rows.len() }, done, total }) {
                    return Err(EvalError::Interrupted);
                }
            }
            for image in model.images(walk.finish()?) {
                shelf.push(&image.pixels)?;
            }
        }
        let speed = (n > began).then(|| (n - began) as f64 / clock.elapsed().as_secs_f64());
        let made = n.saturating_sub(began);
        Ok(Generated { map: shelf.map()?, n, shape: model.picture_shape(), fingerprint, speed, made })
    }
}

/// Pictures on disk.
#[derive(Debug)]
pub struct Generated {
    map: Mmap,
    n: usize,
    shape: [usize; 3],
    fingerprint: String,
    /// Pictures a second, when any had to be made.
    pub speed: Option<f64>,
    /// How many had to be made.
    pub made: usize,
}

impl PictureSet for Generated {
    fn len(&self) -> usize {
        self.n
    }

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn pixels(&self, i: usize) -> &[u8] {
        let stride = self.shape.iter().product::<usize>();
        &self.map[i * stride..(i + 1) * stride]
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}
