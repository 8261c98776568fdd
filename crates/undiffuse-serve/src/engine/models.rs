//! The models there are: found in folders, loaded when asked for, let go when memory is needed.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde_json::Value;
use undiffuse::burn::tensor::Device;
use undiffuse::condition::{Ask, Conditioner};
use undiffuse::model::{Adapter, ModelFolder, Outline};
use undiffuse::nn::weights::Hold;
use undiffuse::run::RunFolder;
use undiffuse::{Model, memory};

use super::{cost, lock};
use crate::folders;
use crate::job::{AskInfo, Defaults, ModelInfo};
use crate::loras::{self, Loras};
use crate::options::{RequestLimits, ServeOptions};
use crate::problem::Problem;

/// Most bytes that a tensor takes beside itself while it is read.
const TENSORS: u64 = 1 << 30;

/// A model in memory. It stays there as long as somebody holds it.
pub struct Loaded {
    /// Its id.
    pub id: String,
    /// The model.
    pub model: Model,
    /// The LoRAs that were added to it.
    pub loras: Loras,
    /// What pictures say of these.
    pub told: Vec<Value>,
    /// Bytes of its weights that stay in memory.
    weights: u64,
    /// Seconds that a picture of its own size took lately, as the bits of an `f64`; 0 before the first.
    pace: AtomicU64,
    stamp: Stamp,
    /// When it was last asked for, on the shelf's clock.
    used: AtomicU64,
}

impl Loaded {
    /// Bytes of its weights in memory, those of a text encoder with them where that is there.
    pub fn bytes(&self) -> u64 {
        self.weights.saturating_add(self.model.conditioner.held())
    }

    /// What a picture costs that the network sees at these sides, in pictures of the model's own.
    pub fn cost(&self, sides: [usize; 2]) -> f64 {
        let [_, height, width] = self.model.latent_shape();
        cost::relative(&self.model.network.config(), [height, width], sides)
    }

    /// Seconds that a picture of its own size takes; 0 before the first.
    pub fn pace(&self) -> f64 {
        f64::from_bits(self.pace.load(Ordering::Relaxed))
    }

    /// Notes how many one took.
    pub fn took(&self, seconds: f64) {
        let old = self.pace();
        let pace = if old == 0.0 { seconds } else { 0.8 * old + 0.2 * seconds };
        self.pace.store(pace.to_bits(), Ordering::Relaxed);
    }
}

/// What changes when a model is rewritten: time and length of its files.
type Stamp = Vec<Option<(SystemTime, u64)>>;

/// A model folder.
#[derive(Clone, Debug)]
struct Place {
    /// Where the model is.
    folder: ModelFolder,
    /// Whether it lies in a training run.
    in_run: bool,
}

/// What is known of a model folder, as long as its files stay as they are.
struct Known {
    stamp: Stamp,
    outline: Result<Arc<Described>, String>,
}

/// A model folder that could be read.
struct Described {
    outline: Outline,
    parameters: u64,
    /// Bytes of the weights of all its parts.
    bytes: u64,
    /// Side of the largest square that it may be asked for.
    max_side: usize,
    /// What sides of other sizes than its own are multiples of; nothing where there are no others.
    side_step: Option<usize>,
}

/// All models.
pub struct Models {
    paths: Vec<PathBuf>,
    /// Where LoRAs are.
    loras: Option<PathBuf>,
    /// Which of their weights are read.
    variant: Option<String>,
    device: Device,
    /// Bytes that models and one evaluation may take together.
    budget: u64,
    limits: RequestLimits,
    known: Mutex<HashMap<PathBuf, Known>>,
    /// By id, and the LoRAs that were added.
    loaded: Mutex<BTreeMap<String, Arc<Loaded>>>,
    /// Held while a model is read from disk, so that two do not take the same memory.
    loading: Mutex<()>,
    clock: AtomicU64,
}

impl Models {
    /// The models that the options name.
    pub fn new(options: &ServeOptions) -> Self {
        Self {
            paths: options.folders(),
            loras: options.loras.clone(),
            variant: options.variant.clone(),
            device: options.device.clone(),
            budget: options.memory.or_else(memory::spare).unwrap_or(u64::MAX),
            limits: options.limits,
            known: Mutex::default(),
            loaded: Mutex::default(),
            loading: Mutex::default(),
            clock: AtomicU64::new(0),
        }
    }

    /// Every model folder under the paths by its id.
    fn places(&self) -> BTreeMap<String, Place> {
        let mut places = BTreeMap::new();
        let mut seen = std::collections::HashSet::new();
        let mut add = |path: &Path| {
            let Ok(folder) = ModelFolder::find(path) else { return };
            let place = folder.path();
            if !seen.insert(place.canonicalize().unwrap_or_else(|_| place.to_owned())) {
                return;
            }
            let in_run = place.parent().is_some_and(|run| RunFolder::new(run).exists());
            folders::insert(&mut places, name(path), Place { folder, in_run });
        };
        for path in &self.paths {
            if ModelFolder::find(path).is_ok() {
                add(path);
                continue;
            }
            let mut inside: Vec<PathBuf> =
                fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
            inside.sort();
            inside.iter().filter(|path| path.is_dir() && !folders::is_left(path)).for_each(|path| add(path));
        }
        places
    }

    /// What can be read of a model without its weights, read again when its files have changed.
    fn describe(&self, place: &Place) -> Result<Arc<Described>, String> {
        let stamp = self.stamp(place, &[]);
        if let Some(known) = lock(&self.known).get(place.folder.path()).filter(|known| known.stamp == stamp) {
            return known.outline.clone();
        }
        let read = || -> Result<Arc<Described>, String> {
            let outline = Outline::read(place.folder.path(), self.variant.as_deref()).map_err(|e| e.to_string())?;
            let parameters = outline.config.parameters().map_err(|e| e.to_string())?;
            let RequestLimits { cost, pixels, .. } = self.limits;
            let max_side = cost::largest_square(&outline.config, &*outline.codec, outline.latent_shape(), cost, pixels);
            let side_step = side_step(&outline);
            let bytes = outline.bytes().map_err(|e| e.to_string())?;
            Ok(Arc::new(Described { outline, parameters, bytes, max_side, side_step }))
        };
        let outline = read();
        lock(&self.known).insert(place.folder.path().to_owned(), Known { stamp, outline: outline.clone() });
        outline
    }

    fn stamp(&self, place: &Place, adapters: &[Adapter]) -> Stamp {
        let of = |file: PathBuf| fs::metadata(file).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
        let added = adapters.iter().map(|adapter| adapter.path.clone());
        place.folder.files(self.variant.as_deref()).into_iter().chain(added).map(of).collect()
    }

    /// The models that can be read, by id.
    pub fn list(&self) -> Vec<ModelInfo> {
        let places = self.places();
        lock(&self.known).retain(|folder, _| places.values().any(|place| place.folder.path() == folder));
        let loaded: Vec<String> = lock(&self.loaded).keys().cloned().collect();
        let info = |(id, place): (String, Place)| {
            let described = self.describe(&place).ok()?;
            let loaded = loaded.contains(&id);
            Some(info(id, &place, &described, loaded))
        };
        places.into_iter().filter_map(info).collect()
    }

    /// The model asked for, or the only one there is, with these LoRAs; loaded if it is not in memory or has been rewritten.
    ///
    /// # Errors
    /// 404 no such model, 422 a model that cannot be read, or one of several must be named, LoRAs that are not there or of
    /// another model; 503 too little memory at this time.
    pub fn acquire(&self, asked: Option<&str>, loras: &Loras) -> Result<Arc<Loaded>, Problem> {
        let (id, place) = choose(self.places(), asked)?;
        let adapters = loras.adapters(self.loras.as_deref())?;
        // With LoRAs it is a model of its own.
        let key = loras.behind(&id);
        let ready = || {
            let now = self.stamp(&place, &adapters);
            let model = lock(&self.loaded).get(&key).filter(|model| model.stamp == now).cloned();
            model.inspect(|model| model.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed))
        };
        if let Some(model) = ready() {
            return Ok(model);
        }
        let _one_at_a_time = lock(&self.loading);
        if let Some(model) = ready() {
            return Ok(model);
        }
        let broken =
            |why: String| match adapters.iter().find(|adapter| why.contains(&adapter.path.display().to_string())) {
                Some(adapter) => {
                    Problem::invalid("prompt", why.replace(&adapter.path.display().to_string(), &loras::file(adapter)))
                }
                None => Problem::invalid("model", format!("the model `{id}` cannot be used: {why}")),
            };
        let described = self.describe(&place).map_err(broken)?;
        if !loras.is_empty() && !matches!(described.outline.conditioner, Conditioner::Text(_)) {
            return Err(Problem::invalid("prompt", format!("the model `{id}` takes no words, and no LoRAs")));
        }
        let bytes = described.bytes;
        // A tensor is there three times for a moment: in the file's bytes, as numbers, and as a parameter.
        let moment = bytes.saturating_mul(2).min(TENSORS);
        let features = described.outline.config.features(described.outline.latent_shape());
        let codec = described.outline.codec.bytes(described.outline.picture_shape);
        self.make_room(&key, bytes.saturating_add(moment).saturating_add(features).saturating_add(codec))?;
        let stamp = self.stamp(&place, &adapters);
        let variant = self.variant.as_deref();
        // The folders are others', who may write into them while it works.
        let model = Model::load_held(place.folder.path(), variant, &adapters, Hold::Copied, &self.device);
        let model = model.map_err(|e| broken(e.to_string()))?;
        let told = loras::facts(&adapters).map_err(|e| Problem::invalid("prompt", format!("its LoRAs: {e}")))?;
        let used = AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed));
        let (pace, loras) = (AtomicU64::new(0), loras.clone());
        let weights = bytes.saturating_sub(model.conditioner.held());
        let loaded = Arc::new(Loaded { id, model, loras, told, weights, pace, stamp, used });
        lock(&self.loaded).insert(key, Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Lets text encoders go, which are soon read again, then models that nobody holds, the longest unused first, until there is
    /// room.
    fn make_room(&self, key: &str, needed: u64) -> Result<(), Problem> {
        let mut loaded = lock(&self.loaded);
        // One that is reloaded is held by its jobs alone from now on.
        loaded.retain(|other, model| other != key || Arc::strong_count(model) > 1);
        loop {
            let taken: u64 = loaded.values().map(|model| model.bytes()).sum();
            if taken.saturating_add(needed) <= self.budget {
                return Ok(());
            }
            let with_words = loaded.values().filter(|model| model.model.conditioner.held() > 0);
            if let Some(model) = with_words.min_by_key(|model| model.used.load(Ordering::Relaxed)) {
                model.model.conditioner.release();
                continue;
            }
            let idle = loaded.iter().filter(|(_, model)| Arc::strong_count(model) == 1);
            let oldest = idle.min_by_key(|(_, model)| model.used.load(Ordering::Relaxed)).map(|(id, _)| id.clone());
            match oldest {
                Some(oldest) => drop(loaded.remove(&oldest)),
                None => {
                    let mb = |bytes: u64| bytes.div_ceil(1 << 20);
                    let detail = format!(
                        "the model `{key}` needs {} MiB, {} of {} are taken by models at work; try again later",
                        mb(needed),
                        mb(taken),
                        mb(self.budget)
                    );
                    return Err(Problem::unavailable("no_memory", detail, 30));
                }
            }
        }
    }

    /// How many pictures of this size, each of which costs `cost` of the model's own, are evaluated at once: as many as fit into
    /// the memory beside what is not [let go](Self::spare) for them, and cost no more than a batch of the model's own.
    ///
    /// # Errors
    /// Not even one fits.
    pub fn pictures(&self, model: &Model, cost: f64) -> Result<usize, Problem> {
        let taken: u64 = lock(&self.loaded).values().map(|model| model.weights).sum();
        match usize::try_from(self.budget.saturating_sub(taken) / work(model)).unwrap_or(usize::MAX) {
            0 => {
                let [_, h, w] = model.picture_shape();
                let detail = format!("a picture of {w}x{h} needs more memory than there is; ask for a smaller one");
                Err(Problem::unavailable("no_memory", detail, 60))
            }
            fit => Ok(fit.min((self.limits.batch as f64 / cost.max(1.0)) as usize).max(1)),
        }
    }

    /// Lets text encoders go where so many pictures of this size would not fit beside them: whoever makes the pictures has read
    /// what they should show.
    pub fn spare(&self, model: &Model, pictures: usize) {
        let loaded = lock(&self.loaded);
        let taken: u64 = loaded.values().map(|model| model.bytes()).sum();
        if taken.saturating_add(work(model).saturating_mul(pictures as u64)) > self.budget {
            loaded.values().for_each(|model| model.model.conditioner.release());
        }
    }

    /// Models in memory, and their bytes.
    pub fn in_memory(&self) -> (usize, u64) {
        let loaded = lock(&self.loaded);
        (loaded.len(), loaded.values().map(|model| model.bytes()).sum())
    }
}

/// Bytes that a picture takes while it is made, beside the weights.
fn work(model: &Model) -> u64 {
    let features = model.network.config().features(model.latent_shape());
    features.saturating_add(model.codec.bytes(model.picture_shape())).max(1)
}

/// The model that is meant.
fn choose(mut places: BTreeMap<String, Place>, asked: Option<&str>) -> Result<(String, Place), Problem> {
    let names = |places: &BTreeMap<String, Place>| places.keys().cloned().collect::<Vec<_>>().join(", ");
    match asked {
        _ if places.is_empty() => Err(Problem::not_found("there is no model here yet: train one")),
        Some(id) => places.remove_entry(id).ok_or_else(|| {
            let short: String = id.chars().take(80).collect();
            Problem::not_found(format!("there is no model `{short}`; there are: {}", names(&places)))
        }),
        None if places.len() > 1 => {
            Err(Problem::invalid("model", format!("there are several models; name one of: {}", names(&places))))
        }
        None => places.pop_first().ok_or_else(|| Problem::not_found("there is no model here yet: train one")),
    }
}

/// What is told of the model in a folder, under this id; `None` where there is none that can be read.
pub fn model_in(id: &str, path: &Path) -> Option<ModelInfo> {
    let place = Place { folder: ModelFolder::find(path).ok()?, in_run: false };
    let outline = Outline::read(place.folder.path(), None).ok()?;
    let (max_side, side_step) = (outline.picture_shape[2], side_step(&outline));
    Some(info(id.to_owned(), &place, &Described { outline, parameters: 0, bytes: 0, max_side, side_step }, false))
}

/// By how much sides can be longer than a model's own.
fn side_step(outline: &Outline) -> Option<usize> {
    let [channels, height, width] = outline.picture_shape;
    let longer = |step: usize| {
        let latent = outline.codec.latent_shape([channels, height + step, width + step]).ok()?;
        outline.config.check_size(latent[1], latent[2]).ok()
    };
    (1..=height.max(width)).find(|&step| longer(step).is_some())
}

fn info(id: String, place: &Place, described: &Described, loaded: bool) -> ModelInfo {
    let Outline { recipe, card, .. } = &described.outline;
    let defaults = described.outline.sample_defaults();
    let conditioner = &described.outline.conditioner;
    let (known, words) = (conditioner.classes(), matches!(conditioner, Conditioner::Text(_)));
    ModelInfo {
        run: place.in_run.then(|| id.clone()),
        id,
        classes: card.classes.clone(),
        class_count: known.labels().len(),
        no_class: known.rows().filter(|_| conditioner.guides()).map(|_| conditioner.print(&Ask::None)),
        guidance: conditioner.guides(),
        ask: conditioner.field().map(|field| AskInfo { field: field.name.into(), schema: conditioner.schema() }),
        conditioner: conditioner.clone(),
        shape: described.outline.picture_shape,
        defaults: Defaults {
            solver: defaults.solver.to_string(),
            spacing: defaults.spacing.to_string(),
            steps: defaults.steps,
            guidance: defaults.guidance,
            guidance_rescale: defaults.guidance_rescale,
            guidance_interval: defaults.guidance_interval,
            clip_skip: words.then_some(defaults.clip_skip),
            emphasis: words.then(|| defaults.emphasis.word().to_owned()),
        },
        schedule: recipe.schedule.to_string(),
        parameters: described.parameters,
        max_side: described.max_side,
        side_step: described.side_step,
        loaded,
        provenance: card.provenance.as_ref().and_then(|p| serde_json::to_value(p).ok()),
    }
}

/// The name of a folder as an id: the run's, where the folder is the model inside one.
fn name(path: &Path) -> String {
    let path = path.canonicalize().ok().filter(|_| path.file_name().is_none()).unwrap_or_else(|| path.to_owned());
    let in_run = path.ends_with("model") && path.parent().is_some_and(|run| RunFolder::new(run).exists());
    let folder = if in_run { path.parent().unwrap_or(&path) } else { &path };
    folders::name(folder, "model")
}
