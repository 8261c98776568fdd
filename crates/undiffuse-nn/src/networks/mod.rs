//! The networks, each by the name of its class in diffusers or transformers.
//!
//! Networks are of kinds, by what they map: denoisers ([`Network`]) make `F(x, t, condition)`. A kind is two traits, of what
//! its configs say and of what its modules do, and a block of the table here; a class is one file and one line in the block.
//! The table makes two enums of each kind, for what a `config.json` says and for the module, and two over all kinds,
//! [`ComponentConfig`] and [`Component`]. The variants' names are no part of a tensor's name, so a file's tensors are called
//! what diffusers calls them.

pub mod autoencoder;
pub mod autoencoder_kl;
pub mod autoencoder_tiny;
pub mod bert;
mod blocks;
mod clip;
pub mod clip_text;
pub mod clip_vision;
pub mod dit;
mod dropout;
mod embedding;
mod image;
mod io;
mod pair;
pub mod prior;
mod read;
mod stages;
mod text;
mod transformers;
pub mod unet2d;
pub mod unet2d_condition;

pub use autoencoder::{Autoencode, AutoencoderIo, AutoencoderSpec, Code};
pub use blocks::told::Attended;
pub use image::{Embed, ImageEmbedding, ImageIo, ImageSpec};
pub use io::{Attends, Condition, InputError, Io, Reads};
pub use pair::ClipPair;
pub use read::ConfigError;
pub use text::{Encode, Encoded, TextIo, TextSpec, Tokens};
pub use transformers::HiddenAct;

use std::fmt::Debug;
use std::sync::LazyLock;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Serialize;
use undiffuse_math::{diffusers, kind};

use crate::ops::on_threads;
use crate::params;

/// What the config of any class says, before there is a network.
pub trait ClassConfig: Debug {
    /// Finds what contradicts itself or is out of all proportion. What passes is built without a panic; whether it fits
    /// into memory, `parameters` and [`Spec::features`] say.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    fn check(&self) -> Result<(), ConfigError>;

    /// The architecture in words, each part under its name.
    fn describe(&self) -> Vec<(&'static str, String)>;

    /// Fields of the file that say nothing of the network, with their values; none of transformers' files, which are full of
    /// them.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// The same config from a file with these [`notes`](Self::notes).
    fn with_notes(self, _notes: Vec<String>) -> Self
    where
        Self: Sized,
    {
        self
    }
}

/// What the config of a denoiser says.
pub trait Spec: ClassConfig {
    /// What goes in and what comes out.
    fn io(&self) -> Io;

    /// The sides of images are multiples of it.
    fn stride(&self) -> usize;

    /// Whether the network can take images of this size.
    ///
    /// # Errors
    /// It can't.
    fn check_size(&self, height: usize, width: usize) -> Result<(), InputError> {
        io::multiples([height, width], self.stride())
    }

    /// Bytes of features that one image `[C, H, W]` takes while it passes through the network. An estimate, on the safe
    /// side; `u64::MAX` stands for more.
    fn features(&self, shape: [usize; 3]) -> u64;

    /// Multiplications for one image of these sides: an estimate for comparisons. In floating point, so that no size is too
    /// large for it.
    fn multiplications(&self, sides: [usize; 2]) -> f64;

    /// The timesteps that the network knows, `0..n` in whole numbers; `None` where it takes any number.
    fn timesteps(&self) -> Option<usize> {
        None
    }

    /// The class of diffusers' pipeline that this network and a scheduler make; `None` where its pipelines need more.
    fn pipeline(&self) -> Option<&'static str> {
        None
    }
}

/// A network `F(x, t, condition)`.
pub trait Forward: Send + Sync {
    /// `x [B, C, H, W]`, `timestep [B]` → `[B, C', H, W]`; `dropout` is the seed of what drops out of the
    /// first picture while training; those of the others count up.
    fn forward(&self, x: Tensor<4>, timestep: &[f32], condition: &Condition, dropout: Option<u64>) -> Tensor<4>;

    /// What the network makes of a condition's tokens, whatever the picture and the time are; `None` where that is nothing.
    fn attend(&self, _condition: &Condition) -> Option<Attended> {
        None
    }

    /// What is diffused `[B, C', H, W]` as what it stands for, where the network itself knows how that was standardised.
    fn post_process(&self, _: Tensor<4>) -> Option<Tensor<4>> {
        None
    }
}

/// An architecture in a few numbers, for whatever is to be diffused: `[network]` of a training's configuration.
pub trait Architecture: Debug + Send + Sync {
    /// What cannot work, each with its key.
    fn problems(&self) -> Vec<String>;

    /// The network for `[C, H, W]` that answers `channels_out` channels, reads so and, where there are such, attends to
    /// tokens.
    ///
    /// # Errors
    /// What does not fit, with its key.
    fn config(
        &self,
        shape: [usize; 3],
        channels_out: usize,
        reads: Reads,
        tokens: Option<Attends>,
    ) -> Result<NetworkConfig, String>;

    /// Nothing: see [`problems`](Self::problems).
    ///
    /// # Errors
    /// None.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Makes the enums of every kind, those over all kinds, and [`ArchitectureKind`]. A kind reads
/// `Modules, Configs: what a config says, what a module does, "file" { classes }`, the weights of its classes lying in
/// `file.safetensors`, and a class `Class(Config) in "folder" => module, "documentation";` with, before the semicolon,
/// `, "kind" => Architecture` where `[network]` of a training makes it.
macro_rules! networks {
    ($(
        $(#[$about_network:meta])*
        $network:ident,
        $(#[$about_config:meta])*
        $config:ident: $spec:ident, $forward:ident, $stem:literal {
            $($class:ident($of_class:ident) in $folder:literal => $module:ident, $doc:literal $(, $kind:literal => $few:ident)?;)+
        }
    )+) => {
        kind! {
            /// Every architecture by name.
            pub enum ArchitectureKind: Architecture, "network" {
                $($($($kind => $class($module::$few), $doc;)?)+)+
            }
        }

        $(
            $(#[$about_network])*
            #[derive(Module, Debug)]
            #[allow(clippy::large_enum_variant)] // there is one of it in a model
            pub enum $network {
                $(#[doc = $doc] $class($module::$class),)+
            }

            $(#[$about_config])*
            #[derive(Clone, Debug, PartialEq, Serialize)]
            #[serde(tag = "_class_name")]
            #[allow(clippy::large_enum_variant)] // there is one of it in a model
            pub enum $config {
                $(#[doc = $doc] $class($module::$of_class),)+
            }

            impl $config {
                /// Every class.
                pub const CLASSES: &[&str] = &[$(stringify!($class)),+];

                /// How the names of the files of its weights begin.
                pub const STEM: &str = $stem;

                /// The folders of a pipeline that such a network may be in, by class.
                pub const FOLDERS: &[&str] = &[$($folder),+];

                /// Parses and checks a `config.json`. Without a class it is a `UNet2DModel`'s.
                ///
                /// # Errors
                /// Text that describes no network of these classes, by the field that is wrong.
                pub fn from_json(text: &str) -> Result<Self, ConfigError> {
                    Self::read(read::file(text)?)
                }

                fn read(file: read::File) -> Result<Self, ConfigError> {
                    match file.class.as_str() {
                        $(stringify!($class) => file.config().map(Self::$class),)+
                        _ => Err(ConfigError::class(file.class, Self::CLASSES)),
                    }
                }

                /// The name of its class.
                pub fn class(&self) -> &'static str {
                    match self { $(Self::$class(_) => stringify!($class),)+ }
                }

                /// The folder of a pipeline that the network is in.
                pub fn folder(&self) -> &'static str {
                    match self { $(Self::$class(_) => $folder,)+ }
                }

                /// The network, its parameters blank: fill them with [`crate::init::initialize`] or
                /// [`crate::weights::load`].
                ///
                /// # Errors
                /// A configuration that describes no network.
                pub fn network(&self, device: &Device) -> Result<$network, ConfigError> {
                    self.check()?;
                    Ok(match self { $(Self::$class(config) => $network::$class($module::$class::new(config, device)),)+ })
                }

                /// How many numbers the network's parameters are; `u64::MAX` stands for more. No memory is taken for them.
                ///
                /// # Errors
                /// A configuration that describes no network.
                pub fn parameters(&self) -> Result<u64, ConfigError> {
                    Ok(params::count(&self.network(&Device::flex())?) as u64)
                }
            }

            impl std::ops::Deref for $config {
                type Target = dyn $spec;
                fn deref(&self) -> &(dyn $spec + 'static) {
                    match self { $(Self::$class(config) => config,)+ }
                }
            }

            impl $network {
                /// The architecture.
                pub fn config(&self) -> $config {
                    match self { $(Self::$class(network) => $config::$class(network.config.clone()),)+ }
                }

                /// The device of the parameters.
                pub fn device(&self) -> Device {
                    params::device(self)
                }

                fn inner(&self) -> &dyn $forward {
                    match self { $(Self::$class(network) => network,)+ }
                }
            }

            $(
                impl From<$module::$class> for $network {
                    fn from(network: $module::$class) -> Self {
                        Self::$class(network)
                    }
                }

                impl From<$module::$of_class> for $config {
                    fn from(config: $module::$of_class) -> Self {
                        Self::$class(config)
                    }
                }
            )+

            impl From<$config> for ComponentConfig {
                fn from(config: $config) -> Self {
                    Self::$network(config)
                }
            }
        )+

        /// A network of any kind.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant)] // there are few of it
        pub enum Component {
            $($(#[$about_network])* $network($network),)+
        }

        /// The config of a network of any kind.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        #[allow(clippy::large_enum_variant)] // there are few of it
        pub enum ComponentConfig {
            $(#[doc = concat!("Of a [`", stringify!($network), "`].")] $network($config),)+
        }

        impl ComponentConfig {
            /// Every class of every kind.
            pub const CLASSES: &[&str] = &[$($(stringify!($class)),+),+];

            /// Parses and checks a `config.json`. Without a class it is a `UNet2DModel`'s.
            ///
            /// # Errors
            /// Text that describes no network, by the field that is wrong.
            pub fn from_json(text: &str) -> Result<Self, ConfigError> {
                let file = read::file(text)?;
                $(if $config::CLASSES.contains(&file.class.as_str()) {
                    return $config::read(file).map(Self::$network);
                })+
                Err(ConfigError::class(file.class, Self::CLASSES))
            }

            /// The name of its class.
            pub fn class(&self) -> &'static str {
                match self { $(Self::$network(config) => config.class(),)+ }
            }

            /// How the names of the files of its weights begin.
            pub fn stem(&self) -> &'static str {
                match self { $(Self::$network(_) => $config::STEM,)+ }
            }

            /// The network, its parameters blank.
            ///
            /// # Errors
            /// A configuration that describes no network.
            pub fn network(&self, device: &Device) -> Result<Component, ConfigError> {
                Ok(match self { $(Self::$network(config) => Component::$network(config.network(device)?),)+ })
            }
        }

        impl Component {
            /// The architecture.
            pub fn config(&self) -> ComponentConfig {
                match self { $(Self::$network(network) => network.config().into(),)+ }
            }
        }

        impl std::ops::Deref for ComponentConfig {
            type Target = dyn ClassConfig;
            fn deref(&self) -> &(dyn ClassConfig + 'static) {
                match self { $(Self::$network(config) => &**config,)+ }
            }
        }
    };
}

networks! {
    /// A denoiser of any class.
    Network,
    /// The config of a denoiser of any class: diffusers' `config.json`.
    NetworkConfig: Spec, Forward, "diffusion_pytorch_model" {
        UNet2DModel(UNet2DConfig) in "unet" => unet2d, "The U-shaped network of \\[Ho20\\] and its descendants.", "unet" => UNet;
        UNet2DConditionModel(UNet2DConditionConfig) in "unet" => unet2d_condition,
            "The U-Net of Stable Diffusion \\[Rombach22\\], which attends to words.";
        DiTTransformer2DModel(DiTConfig) in "transformer" => dit,
            "The class-conditional diffusion transformer of \\[Peebles22\\].", "dit" => DiT;
        PriorTransformer(PriorTransformerConfig) in "prior" => prior,
            "From words to the embedding of a picture \\[Ramesh22\\].", "prior" => Prior;
    }

    /// An autoencoder of any class.
    Autoencoder,
    /// The config of an autoencoder of any class: diffusers' `config.json`.
    AutoencoderConfig: AutoencoderSpec, Autoencode, "diffusion_pytorch_model" {
        AutoencoderKL(AutoencoderKLConfig) in "vae" => autoencoder_kl, "The latents of Stable Diffusion \\[Rombach22\\].";
        AutoencoderTiny(AutoencoderTinyConfig) in "vae" => autoencoder_tiny,
            "The same, by a small network that was taught to.";
    }

    /// A text encoder of any class.
    TextEncoder,
    /// The config of a text encoder of any class: transformers' `config.json`.
    TextEncoderConfig: TextSpec, Encode, "model" {
        CLIPTextModel(CLIPTextConfig) in "text_encoder" => clip_text, "CLIP's reader of words \\[Radford21\\].";
        CLIPTextModelWithProjection(CLIPTextProjectionConfig) in "text_encoder" => clip_text,
            "The same, whose end of a text is projected to where pictures are, too.";
        BertModel(BertConfig) in "text_encoder" => bert, "Words that look both ways \\[Devlin19\\], MiniLM among them.";
    }

    /// An image encoder of any class.
    ImageEncoder,
    /// The config of an image encoder of any class: transformers' `config.json`.
    ImageEncoderConfig: ImageSpec, Embed, "model" {
        CLIPVisionModelWithProjection(CLIPVisionConfig) in "image_encoder" => clip_vision,
            "CLIP's reader of pictures \\[Radford21\\].";
    }
}

/// The folders of a pipeline that a denoiser may be in, each once.
pub static FOLDERS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut folders = Vec::new();
    for &folder in NetworkConfig::FOLDERS {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
});

impl NetworkConfig {
    /// The `config.json` text, as of the diffusers release whose formats are written.
    pub fn to_json(&self) -> String {
        let mut config = serde_json::to_value(self).expect("a config of numbers and names serialises");
        config["_diffusers_version"] = diffusers::VERSION.into();
        format!("{config:#}\n")
    }

    /// Finds what [`Network::forward`] would panic on.
    ///
    /// # Errors
    /// What does not fit the network, or the batch.
    pub fn check_input(&self, shape: [usize; 4], timesteps: usize, condition: &Condition) -> Result<(), InputError> {
        let [batch, channels, height, width] = shape;
        let io = self.io();
        let beside = condition.beside.as_ref().map_or([batch, 0, height, width], Tensor::dims);
        if [beside[0], beside[2], beside[3]] != [batch, height, width] {
            return Err(InputError::Beside { got: beside, expected: [batch, height, width] });
        }
        let channels = channels + beside[1];
        if channels != io.channels_in {
            return Err(InputError::Channels { got: channels, expected: io.channels_in });
        }
        self.check_size(height, width)?;
        if timesteps != batch {
            return Err(InputError::Batch { what: "timestep", got: timesteps, expected: batch });
        }
        io.check(condition, batch)
    }
}

impl Network {
    /// The same condition, with what the network makes of its tokens whatever the picture and the time are: made once, and not
    /// again at every evaluation. To a network with other weights it means nothing.
    ///
    /// # Panics
    /// When the tokens do not fit.
    pub fn attend(&self, condition: Condition) -> Condition {
        let attended = on_threads(|| self.inner().attend(&condition));
        Condition { attended, ..condition }
    }

    /// `x [B, C, H, W]`, `timestep [B]`, and what else the network reads → `[B, C', H, W]`.
    ///
    /// # Panics
    /// When `timestep` or `condition` do not match the batch; [`NetworkConfig::check_input`] finds out first.
    pub fn forward(&self, x: Tensor<4>, timestep: &[f32], condition: &Condition) -> Tensor<4> {
        on_threads(|| self.inner().forward(condition.joined(x), timestep, condition, None))
    }

    /// What is diffused `[B, C', H, W]` as what it stands for, where the network itself knows how that was standardised: a prior's
    /// embeddings as those of pictures, diffusers' `post_process_latents`.
    pub fn post_process(&self, x: Tensor<4>) -> Option<Tensor<4>> {
        on_threads(|| self.inner().post_process(x))
    }

    /// The same while training: `seed` decides what drops out of the first picture, `seed + 1` what does of the second, and so on.
    ///
    /// # Panics
    /// As [`Network::forward`].
    pub fn forward_training(&self, x: Tensor<4>, timestep: &[f32], condition: &Condition, seed: u64) -> Tensor<4> {
        on_threads(|| self.inner().forward(condition.joined(x), timestep, condition, Some(seed)))
    }
}
