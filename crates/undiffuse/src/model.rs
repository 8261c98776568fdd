//! A trained model: a network with all that is needed to sample from it, read from a [`ModelFolder`] and written to one.

mod adapter;
mod clip;
mod error;
mod folder;
mod outline;
mod pipeline;
mod walk;
mod weights;
mod words;

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use burn::tensor::Tensor;
use serde_json::json;
use undiffuse_data::Image;
use undiffuse_math::diffusers;
use undiffuse_math::recipe::{Clip, Learned, Recipe};
use undiffuse_nn::weights::{Hold, export, to_bytes};

use crate::codec::{AnyCodec, CodecError};
use crate::condition::{self, Ask, Classes, Conditioner, Readers, RequestError};
use crate::denoise::{Clipped, Clipping, Cond, Denoise, Denoiser, Distilled, Guidance, Guided, Heard};
use crate::image::to_images;
use crate::memory::{self, TooLarge};

pub use crate::card::{Card, Process, Provenance, SampleDefaults};
pub use adapter::Adapter;
pub use error::{ModelError, PartsError, SizeError};
pub use folder::ModelFolder;
pub use outline::{Outline, load_component};
pub use walk::Origin;

/// Values that a walk keeps for each of a picture's: itself, noise, and what its solver remembers of the steps before.
const KEPT: u64 = 16;

/// The file of a network's weights.
fn weights_of<M: Module>(network: &M) -> Vec<u8> {
    to_bytes(&export(network), Some(("format", "pt")))
}

/// A network and all that is needed to sample from it. A clone shares the weights.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network.
    pub network: undiffuse_nn::Network,
    /// Between pictures and what the network diffuses.
    pub codec: AnyCodec,
    /// What it can be asked for, and what the network reads of that.
    pub conditioner: Conditioner,
    /// Schedule, parameterisation, and how to sample.
    pub recipe: Recipe,
    /// The rest.
    pub card: Card,
    latent_shape: [usize; 3],
    picture_shape: [usize; 3],
}

impl Model {
    /// Loads a diffusers pipeline folder, or the model inside a run folder. Its weights stay in their files, which are
    /// [mapped](Hold::Mapped).
    ///
    /// # Errors
    /// Whatever [`ModelError`] names; nothing is taken from memory for a network that its weights don't fit.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, ModelError> {
        Self::load_variant(path, None, device)
    }

    /// As [`load`](Self::load), with the weights of a variant, such as `fp16`, where the folder holds several.
    ///
    /// # Errors
    /// As [`load`](Self::load), and variants that the folder does not hold.
    pub fn load_variant(path: impl AsRef<Path>, variant: Option<&str>, device: &Device) -> Result<Self, ModelError> {
        Self::load_adapted(path, variant, &[], device)
    }

    /// The same with what LoRA files add to its weights, each of them as many times as it says, one after the other. Saved, they are
    /// part of its weights.
    ///
    /// # Errors
    /// As [`load_variant`](Self::load_variant), and files that are no LoRAs, or those of another model: which layers don't fit.
    pub fn load_adapted(
        path: impl AsRef<Path>,
        variant: Option<&str>,
        adapters: &[Adapter],
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::load_held(path, variant, adapters, Hold::Mapped, device)
    }

    /// The same, whose weights come into memory as `hold` says.
    ///
    /// # Errors
    /// As [`load_adapted`](Self::load_adapted).
    pub fn load_held(
        path: impl AsRef<Path>,
        variant: Option<&str>,
        adapters: &[Adapter],
        hold: Hold,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let model = Self::load_any(path.as_ref(), variant, adapters, hold, device)?;
        match model.codec.one_way() {
            Some(what) => Err(ModelError::OneWay(path.as_ref().to_owned(), what)),
            None => Ok(model),
        }
    }

    /// The same of a model whose latents may be no pictures: a prior, which [`Prior`](crate::prior::Prior) has for use.
    ///
    /// # Errors
    /// As [`load_adapted`](Self::load_adapted).
    pub fn load_any(
        path: impl AsRef<Path>,
        variant: Option<&str>,
        adapters: &[Adapter],
        hold: Hold,
        device: &Device,
    ) -> Result<Self, ModelError> {
        ModelFolder::read(path.as_ref(), |folder| {
            let outline = Outline::of(&folder.held(hold), variant, adapters, device)?;
            if let AnyCodec::Latents(latents) = &outline.codec {
                latents.prepare_decoding()?;
            }
            outline.readers.words.iter().try_for_each(|words| words.load())?;
            let network = outline.network(device)?;
            let Outline { recipe, card, codec, readers, .. } = outline;
            Self::assembled(network, recipe, card, codec, &readers).map_err(|e| folder.contradiction(e))
        })
    }

    /// A model from its parts.
    ///
    /// # Errors
    /// A network whose channels the card's codec does not make, or a card by which the model can be asked for what the network
    /// does not read.
    pub fn new(network: impl Into<undiffuse_nn::Network>, recipe: Recipe, card: Card) -> Result<Self, PartsError> {
        let codec = card.codec.clone().into();
        Self::assembled(network.into(), recipe, card, codec, &Readers::default())
    }

    /// The same with a codec of its own, and what reads words or pictures for a network that is told some.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn assembled(
        network: undiffuse_nn::Network,
        recipe: Recipe,
        card: Card,
        codec: AnyCodec,
        readers: &Readers,
    ) -> Result<Self, PartsError> {
        let config = network.config();
        let source = condition::Source { card: &card, io: &config.io(), readers };
        let how = card.sample.as_ref().map(SampleDefaults::reading).unwrap_or_default();
        let conditioner = Conditioner::read(&source).map_err(PartsError::Card)?.reading(how);
        let latent_shape = outline::latent_shape(&config, &codec, &conditioner);
        let picture_shape = codec.picture_shape(latent_shape)?;
        Ok(Self { network, codec, conditioner, recipe, card, latent_shape, picture_shape })
    }

    /// Writes the folder; an interruption leaves the old one or the new one.
    ///
    /// # Errors
    /// Whatever the system says, and a folder there that holds anything besides a model: see
    /// [`ModelFolder::replaceable`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        ModelFolder::write(path.as_ref(), |folder| self.write(folder))
    }

    fn write(&self, folder: &ModelFolder) -> Result<(), ModelError> {
        let AnyCodec::Kind(codec) = &self.codec else { return Err(ModelError::Unwritten("an autoencoder")) };
        let config = self.network.config();
        let Recipe { schedule, parameterization, clip, .. } = &self.recipe;
        let mut scheduler = match self.recipe.boundary {
            Some(_) => self.recipe.to_value().ok(),
            None => diffusers::write(schedule, parameterization, None, None, *clip).ok(),
        };
        if let (Some(Learned::Range), Some(scheduler)) = (self.recipe.learned_variance, &mut scheduler) {
            scheduler["variance_type"] = json!("learned_range");
        }
        let told = scheduler.as_ref().and_then(|value| Recipe::from_value(value).ok());
        let exact = told.as_ref().is_some_and(|r| r.schedule == *schedule && r.parameterization == *parameterization);
        let process = (!exact).then(|| Process {
            schedule: schedule.clone(),
            parameterization: parameterization.clone(),
            clip: told.as_ref().map_or(*clip, |_| Clip::None),
        });
        let steps = told.is_some_and(|r| r.solver == self.recipe.solver && r.spacing == self.recipe.spacing);
        let sample = self.card.sample.clone().or_else(|| (!steps).then(|| self.sample_defaults()));
        let card = Card { format: 1, process, sample, codec: codec.clone(), ..self.card.clone() };
        if let Some(scheduler) = scheduler {
            // diffusers' pipelines would take latents for pixels.
            let pipeline = config.pipeline().filter(|_| self.codec.is_identity());
            if let Some(pipeline) = pipeline.map(|pipeline| diffusers::pipeline(&scheduler, pipeline)) {
                folder.write_index(&json!({
                    "_class_name": pipeline,
                    "_diffusers_version": diffusers::VERSION,
                    "scheduler": ["diffusers", scheduler["_class_name"]],
                    config.folder(): ["diffusers", config.class()],
                }))?;
            }
            folder.write_scheduler(&scheduler)?;
        }
        folder.write_network(&config, &weights_of(&self.network))?;
        if let Some(words) = self.conditioner.words() {
            folder.write_text_encoder(words.config(), &weights_of(&*words.encoder()?))?;
            folder.write_tokenizer(words.tokenizer())?;
        }
        if let Some(clip) = self.conditioner.clip() {
            clip::write(clip, folder)?;
        }
        folder.write_card(&card)
    }

    /// The model as a denoiser: its network through its parameterisation, with classifier-free guidance of
    /// `guidance` when it has learned to go without what it is asked for, clipped as its scheduler says.
    pub fn denoiser(&self, guidance: impl Into<Guidance>) -> Box<dyn Denoise + '_> {
        self.denoiser_around(self.reader(), guidance)
    }

    /// The network through its parameterisation and nothing else.
    pub fn reader(&self) -> Denoiser<'_> {
        Denoiser {
            network: &self.network,
            conditioner: &self.conditioner,
            schedule: &self.recipe.schedule,
            parameterization: &self.recipe.parameterization,
            learned_variance: self.recipe.learned_variance.is_some(),
            heard: Heard::default(),
        }
    }

    /// As [`denoiser`](Self::denoiser), around whatever does the work of [`reader`](Self::reader).
    pub fn denoiser_around<'a>(
        &'a self,
        inner: impl Denoise + 'a,
        guidance: impl Into<Guidance>,
    ) -> Box<dyn Denoise + 'a> {
        let guidance = guidance.into();
        let rule = if self.recipe.keep_eps { Clip::None } else { self.recipe.clip };
        let clipping = Clipping { rule, codec: self.codec.clone() };
        let parameterization = &self.recipe.parameterization;
        match self.conditioner.guides() {
            true if self.is_distilled() => {
                Box::new(Clipped { inner: Distilled { inner, scale: guidance.scale }, clipping })
            }
            true => Box::new(Clipped { inner: Guided { inner, guidance, parameterization }, clipping }),
            false => Box::new(Clipped { inner, clipping }),
        }
    }

    /// Whether the network was taught to answer as if it were guided: then nothing is led away from.
    pub fn is_distilled(&self) -> bool {
        self.network.config().io().timestep_cond.is_some()
    }

    /// Makes ready what a walk will need beside the network: what is asked for and, for walks that begin at pictures or keep a
    /// part of one, what encodes these. What fails here would panic on the way.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn prepare(&self, cond: &Cond, encodes: bool) -> Result<(), ModelError> {
        self.conditioner.prepare(&mut cond.every())?;
        if encodes {
            self.codec.prepare_encoding()?;
        }
        Ok(())
    }

    /// Whether a picture can be asked for so.
    ///
    /// # Errors
    /// What the model can't take, and what it could.
    pub fn accepts(&self, ask: &Ask) -> Result<(), RequestError> {
        self.conditioner.accepts(ask)
    }

    /// What is diffused `[B, C, H, W]` → pictures.
    pub fn images(&self, z: Tensor<4>) -> Vec<Image> {
        self.pictures(self.codec.decode(z))
    }

    /// Pictures `[B, C, H, W]` in the model's own pixel range, as such.
    pub fn pictures(&self, x: Tensor<4>) -> Vec<Image> {
        to_images(self.to_unit(x))
    }

    /// What is diffused, as pictures for who watches a walk: see [`Codec::preview`](crate::codec::Codec::preview).
    pub fn previews(&self, z: Tensor<4>) -> Vec<Image> {
        to_images(self.to_unit(self.codec.preview(z)))
    }

    /// From the model's own pixel range to [−1, 1].
    fn to_unit(&self, x: Tensor<4>) -> Tensor<4> {
        match self.recipe.pixels {
            (-1.0, 1.0) => x,
            (black, white) => (x - black) * (2.0 / (white - black)) - 1.0,
        }
    }

    /// From [−1, 1] to the model's own pixel range.
    pub fn from_unit(&self, x: Tensor<4>) -> Tensor<4> {
        match self.recipe.pixels {
            (-1.0, 1.0) => x,
            (black, white) => (x + 1.0) * ((white - black) / 2.0) + black,
        }
    }

    /// The same model, to be sampled with these settings unless asked otherwise.
    pub fn with(mut self, settings: SampleDefaults) -> Self {
        self.recipe = self.recipe_for(&settings);
        self.conditioner = self.conditioner.reading(settings.reading());
        self.card.sample = Some(settings);
        self
    }

    /// Pictures of another size; convolutional networks allow it.
    ///
    /// # Errors
    /// Sides that the codec cannot encode, or the network cannot halve often enough.
    pub fn resize(&mut self, height: usize, width: usize) -> Result<(), SizeError> {
        let picture = [self.picture_shape[0], height, width];
        let latent = self.codec.latent_shape(picture)?;
        let [_, own @ ..] = self.picture_shape;
        if self.conditioner.beside() > 0 && own != [height, width] {
            return Err(SizeError::Large(own));
        }
        self.network.config().check_size(latent[1], latent[2])?;
        (self.picture_shape, self.latent_shape) = (picture, latent);
        Ok(())
    }

    /// Pictures that are decoded, and encoded, in tiles of `side` pixels, so that the memory of that does not grow with them; they
    /// are not quite the same.
    ///
    /// # Errors
    /// A side that tiles cannot have, or a codec that has none.
    pub fn tile(&mut self, side: usize) -> Result<(), CodecError> {
        self.codec = match &self.codec {
            AnyCodec::Latents(latents) => latents.clone().tiled(side)?.into(),
            AnyCodec::Kind(kind) => {
                return Err(CodecError { codec: kind.tag(), problem: "takes no memory that tiles would save".into() });
            }
        };
        Ok(())
    }

    /// How many pictures of the model's size are evaluated at once: `most`, or as many as fit into memory. Results do not depend
    /// on it.
    ///
    /// # Errors
    /// Not even one fits.
    pub fn at_once(&self, most: usize) -> Result<usize, TooLarge> {
        let [channels, height, width] = self.picture_shape;
        let pixels = channels.saturating_mul(height).saturating_mul(width) as u64;
        let features = self.network.config().features(self.latent_shape);
        let codec = self.codec.bytes(self.picture_shape);
        let one = features.saturating_add(codec).saturating_add(pixels.saturating_mul(4 * KEPT));
        memory::afford(&format!("a picture of {width}×{height} pixels in this network"), one)?;
        let fit = memory::spare().map_or(u64::MAX, |spare| spare / one.max(1));
        Ok(usize::try_from(fit).unwrap_or(usize::MAX).clamp(1, most.max(1)))
    }

    /// `[C, H, W]` of the model's pictures.
    pub fn picture_shape(&self) -> [usize; 3] {
        self.picture_shape
    }

    /// `[C, H, W]` of what it diffuses.
    pub fn latent_shape(&self) -> [usize; 3] {
        self.latent_shape
    }

    /// `[C, H, W]` of what is shown on the way to a picture: see [`previews`](Self::previews).
    pub fn preview_shape(&self) -> [usize; 3] {
        self.codec.preview_shape(self.latent_shape).unwrap_or(self.picture_shape)
    }

    /// The classes that can be asked for; none of a model without.
    pub fn classes(&self) -> &Classes {
        self.conditioner.classes()
    }

    /// How this model is sampled unless asked otherwise.
    pub fn sample_defaults(&self) -> SampleDefaults {
        outline::sample_defaults(&self.card, &self.recipe)
    }
}
