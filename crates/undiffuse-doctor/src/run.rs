//! All that there is to know of a run, read once.

use std::path::Path;

use undiffuse::Model;
use undiffuse::burn::tensor::Device;
use undiffuse::condition::Conditioner;
use undiffuse::model::{ModelError, ModelFolder};
use undiffuse::nn::params;
use undiffuse::nn::weights::{Hold, WeightsError};
use undiffuse::run::{CONFIG_FILE, RunFolder};
use undiffuse::train::length::Length;
use undiffuse::train::loss::Trivial;
use undiffuse::train::networks::{Learned, Networks};
use undiffuse::train::{Config, TrainError};
use undiffuse_data::{Dataset, Options};

use super::{Checkpoint, Data, DataStatistics, DoctorError, Log, Probe, Reading, Samples, TensorFacts, probe};

/// What a training left behind, or a bare model.
pub struct Run {
    /// The folder.
    pub folder: RunFolder,
    /// Its configuration; nothing for a bare model.
    pub config: Option<Config>,
    /// The planned length.
    pub length: Length,
    /// The log.
    pub log: Log,
    /// The newest checkpoint.
    pub state: Option<Checkpoint>,
    /// The model.
    pub model: Option<Model>,
    /// Numbers in the network.
    pub parameters: usize,
    /// What the model's weights look like.
    pub weights: TensorFacts,
    /// The pictures.
    pub pictures: Option<DataStatistics>,
    /// Losses that need no learning.
    pub trivial: Option<Trivial>,
    /// What every set of weights scores.
    pub probe: Option<Probe>,
    /// The model's errors under its own reading, first, and under every other.
    pub readings: Vec<Reading>,
    /// The newest samples.
    pub samples: Option<Samples>,
    /// Whether a program is training in the folder now.
    pub running: bool,
    /// Files that cannot be read, and why.
    pub damaged: Vec<String>,
    /// Weights that are no numbers, and in which file.
    pub lost: Vec<String>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

impl Run {
    /// Reads a run or a model folder. What lies in it may come from a stranger: no link in it is followed but those of a model.
    ///
    /// # Errors
    /// Folders that are neither; a configuration that cannot be read.
    pub fn read(path: &Path, data: Data, device: &Device) -> Result<Self, DoctorError> {
        let folder = RunFolder::find(path).unwrap_or_else(|| RunFolder::new(path));
        let path = folder.path();
        let config = match folder.config() {
            Ok(config) => Some(config),
            Err(TrainError::NoRun(_)) => None,
            Err(TrainError::Config(source)) => {
                return Err(DoctorError::Config { path: path.join(CONFIG_FILE), source });
            }
            Err(TrainError::File(e)) => return Err(e.into()),
            Err(e) => return Err(DoctorError::NotARun { path: path.to_owned(), missing: e.to_string() }),
        };
        let is_clip = matches!(ModelFolder::find(path), Err(ModelError::IsClip(_)));
        if is_clip || config.as_ref().is_some_and(|config| config.clip.is_some()) {
            return Err(DoctorError::Clip(path.to_owned()));
        }
        if config.is_none() && ModelFolder::find(path).is_err() {
            return Err(not_a_run(path));
        }
        let (mut damaged, mut lost, mut unseen) = (Vec::new(), Vec::new(), Vec::new());
        let length = folder.length().unwrap_or_default();
        let state = config.is_some().then(|| Checkpoint::newest(&folder, &mut damaged, &mut lost)).flatten();
        // A run may go on, or be a stranger's, while it is looked at.
        let model = match Model::load_held(path, None, &[], Hold::Copied, device) {
            Ok(model) => Some(model),
            Err(ModelError::Unfinished(_)) => None,
            Err(ModelError::Weights(e @ WeightsError::NotFinite { .. })) => {
                lost.push(e.to_string());
                None
            }
            Err(e) => {
                damaged.push(format!("the model cannot be loaded: {e}"));
                None
            }
        };
        let mut run = Self {
            pictures: open(&folder, config.as_ref(), model.as_ref(), data, &mut unseen),
            length,
            log: Log::read(&folder),
            parameters: 0,
            weights: model.as_ref().map(|m| TensorFacts::of_network(&m.network)).unwrap_or_default(),
            model,
            state,
            config,
            trivial: None,
            probe: None,
            readings: Vec::new(),
            samples: None,
            running: folder.is_training(),
            damaged,
            lost,
            unseen,
            folder,
        };
        run.look(device);
        Ok(run)
    }

    /// What needs the pictures and the network.
    fn look(&mut self, device: &Device) {
        let own = self.model.as_ref().map(|model| params::count(&model.network));
        self.parameters = own.unwrap_or_default();
        let latent = self.model.as_ref().map(|model| &model.codec).filter(|codec| !codec.is_orthonormal());
        self.unseen.extend(latent.map(|codec| {
            format!("how well the network denoises: it diffuses the latents of its {codec}, and only errors of pixels are compared")
        }));
        let Some(pictures) = &self.pictures else { return };
        if let Some(config) = &self.config {
            self.trivial = Some(config.loss.trivial(&config.noise, &pictures.moments()));
            self.samples = Samples::newest(&self.folder, pictures);
            match blank(config, pictures, device) {
                Ok((networks, conditioner)) => {
                    self.parameters = networks.parameters();
                    if let Some(state) = &self.state {
                        self.probe = Probe::of(&networks, state, config, conditioner, pictures, device);
                    }
                }
                Err(problem) => self.unseen.push(format!("the weights were not asked: {problem}")),
            }
        }
        let data = &pictures.dataset;
        let shape = [data.channels(), data.height(), data.width()];
        match &self.model {
            Some(model) if !model.codec.is_orthonormal() => {}
            Some(model) if model.picture_shape() == shape => self.readings = probe::readings(model, pictures),
            Some(model) => {
                let (own, data) = (model.picture_shape(), shape);
                self.unseen.push(format!(
                    "the network was not asked: its pictures are {own:?} (C, H, W), the data's {data:?}"
                ));
            }
            None => {}
        }
    }

    /// Pictures seen.
    pub fn nimg(&self) -> u64 {
        let saved = self.state.as_ref().map_or(0, |s| s.counters.nimg);
        self.log.steps.last().map_or(saved, |s| s.nimg.max(saved))
    }

    /// Passes over the training pictures.
    pub fn passes(&self) -> Option<f64> {
        let images = self.pictures.as_ref()?.split.train.len();
        Some(self.nimg() as f64 / images as f64)
    }

    /// Whether the planned length is reached.
    pub fn finished(&self) -> bool {
        self.length.until().is_some_and(|until| self.nimg() >= until)
    }

    /// The loss at the end: of validation where there is one, of training otherwise.
    pub fn final_loss(&self) -> Option<f64> {
        self.log.validations.last().map(|(_, loss)| *loss).filter(|l| l.is_finite()).or_else(|| self.log.late_loss())
    }
}

/// The networks that a run trains, their weights blank, and what the denoiser is told of its pictures.
fn blank(config: &Config, pictures: &DataStatistics, device: &Device) -> Result<(Networks, Conditioner), String> {
    let conditioner = config.conditioner_for(&pictures.dataset, &pictures.split.train)?;
    let shape = config.latent_shape().map_err(|e| e.to_string())?;
    Ok((config.networks_for(shape, &conditioner, device)?, conditioner))
}

fn not_a_run(path: &Path) -> DoctorError {
    let missing = match path.is_dir() {
        true => "it has no config.toml (a run) and no unet/config.json or config.json (a model)".to_owned(),
        false if path.exists() => "it is a file".to_owned(),
        false => "there is no such folder".to_owned(),
    };
    DoctorError::NotARun { path: path.to_owned(), missing }
}

/// The pictures of a run, or those given for a bare model.
fn open(
    folder: &RunFolder,
    config: Option<&Config>,
    model: Option<&Model>,
    data: Data,
    unseen: &mut Vec<String>,
) -> Option<DataStatistics> {
    let data = match data {
        Data::Own => None,
        Data::At(path) => Some(path),
        Data::Closed(why) => {
            unseen.push(why.into());
            return None;
        }
    };
    let (path_of_data, options) = match (config, model, data) {
        (Some(config), _, given) => (
            given.map_or_else(|| folder.data_path(config), Path::to_owned),
            Options { strict: false, ..config.data.options() },
        ),
        (None, Some(model), Some(data)) => {
            let [channels, height, _] = model.picture_shape();
            (data.to_owned(), Options { size: Some(height), channels: Some(channels), ..Options::default() })
        }
        (None, _, None) => {
            let why = "a bare model has no pictures of its own: give some with --data for the checks that need them";
            unseen.push(why.into());
            return None;
        }
        (None, None, Some(_)) => return None,
    };
    let dataset = match Dataset::open(&path_of_data, &options) {
        Ok(dataset) => dataset,
        Err(e) => {
            unseen.push(format!(
                "the data cannot be opened, so nothing that needs them was looked at: {e} (--data names another place)"
            ));
            return None;
        }
    };
    let before = folder.fingerprint().filter(|before| !before.is_empty());
    if config.is_some() && before.is_some_and(|before| before != dataset.fingerprint()) {
        unseen.push(format!(
            "the data at `{}` are not what the run began with: nothing that needs them was looked at",
            path_of_data.display()
        ));
        return None;
    }
    let (held_out, seed) = config.map_or((0.0, 0), |c| (c.data.held_out, c.train.seed));
    Some(DataStatistics::new(dataset, held_out, seed))
}
