//! CLIP: texts and pictures as vectors in one space, where a picture is near what is said of it \[Radford21\].
//!
//! A folder holds one as transformers and diffusers' pipelines of unCLIP have its parts:
//!
//! ```text
//! my-clip/
//!   text_encoder/        CLIPTextModelWithProjection
//!   tokenizer/           its tokenizer
//!   image_encoder/       CLIPVisionModelWithProjection
//!   feature_extractor/preprocessor_config.json   how pictures enter it: see `PictureReading`
//!   undiffuse.json       what they have no word for: the logit scale, where it comes from
//! ```

mod config;
mod pictures;
mod vectors;

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use sha2::{Digest, Sha256};
use undiffuse_data::Image;
use undiffuse_data::text::hex;
use undiffuse_nn::init;
use undiffuse_nn::networks::clip_vision::CLIPVisionConfig;
use undiffuse_nn::networks::{Encoded, ImageEncoder, ImageEncoderConfig, TextEncoder, Tokens};
use undiffuse_nn::weights::{self, WeightsError};

use crate::card::{Card, Contrast};
use crate::part::Part;
use crate::words::{Emphasis, Tokenized, Words, WordsConfig};

pub use config::ClipConfig;
pub use pictures::PictureReading;
pub use vectors::Vectors;

/// Texts, or pictures, that are read at once: the vectors do not depend on it.
const AT_ONCE: usize = 32;
/// What CLIP's own training begins with: cosines count `1 / 0.07` times \[Radford21, section 2.5\].
const TEMPERATURE: f64 = 0.07;
/// What transformers calls the vector of a text that is projected to where pictures are.
const PROJECTED: &str = "text_embeds";

/// What a text is to a network that attends to its tokens.
#[derive(Clone, Debug)]
pub struct TextStates {
    /// Tokens of a text, filled up to as many as the encoder reads: `N`.
    pub length: usize,
    /// Numbers of a token: `C`.
    pub width: usize,
    /// The tokens' states `[B, N, C]`, after the last layer and its normalisation.
    pub hidden: Vec<f32>,
    /// Whether a token is one of the text, its start and its end included `[B, N]`.
    pub mask: Vec<bool>,
    /// The texts' vectors.
    pub vectors: Vectors,
}

/// A reader of words and a reader of pictures that were taught together. Their weights are read when they are first needed.
#[derive(Debug)]
pub struct ClipModel {
    words: Arc<Words>,
    encoder: Part<ImageEncoder>,
    config: ImageEncoderConfig,
    reading: PictureReading,
    /// What else is known of it.
    pub card: Card,
    device: Device,
}

impl ClipModel {
    /// A CLIP of its parts.
    ///
    /// # Errors
    /// Parts of different models.
    pub fn new(
        words: Arc<Words>,
        encoder: Part<ImageEncoder>,
        config: ImageEncoderConfig,
        reading: PictureReading,
        card: Card,
        device: &Device,
    ) -> Result<Self, String> {
        let (text, picture) = (words.config().io(), config.io());
        let (called, width) = text.pooled;
        if called != PROJECTED {
            let class = words.config().class();
            return Err(format!(
                "its text encoder is of class {class}, whose texts are not projected to where pictures are: \
                 CLIPTextModelWithProjection is needed"
            ));
        }
        if width != picture.embedding {
            return Err(format!(
                "its texts are vectors of {width} numbers and its pictures of {}: they are of different models",
                picture.embedding
            ));
        }
        reading.fits(picture.picture)?;
        Ok(Self { words, encoder, config, reading, card, device: device.clone() })
    }

    /// A CLIP that has learned nothing: a vocabulary of these texts' words, and random weights.
    ///
    /// # Errors
    /// Texts that make no vocabulary, sizes that make no network.
    pub fn untrained(
        words: &WordsConfig,
        pictures: &CLIPVisionConfig,
        texts: &[&str],
        seed: u64,
        device: &Device,
    ) -> Result<Self, String> {
        let words = words.projected(texts, pictures.projection_dim)?;
        let encoder = words.config().network(device).map_err(|e| e.to_string())?;
        let words = Arc::new(words.with(init::initialize(encoder, seed)));
        let config = ImageEncoderConfig::from(pictures.clone());
        let encoder = init::initialize(config.network(device).map_err(|e| e.to_string())?, seed);
        let reading = PictureReading::of_training(config.io().picture);
        let contrast = Some(Contrast { logit_scale: (1.0 / TEMPERATURE).ln() });
        let card = Card { contrast, ..Card::default() };
        Self::new(words, Arc::new(encoder).into(), config, reading, card, device)
    }

    /// Numbers of a vector, of texts and of pictures alike.
    pub fn width(&self) -> usize {
        self.words.pooled()
    }

    /// `[C, H, W]` of the pictures that the image encoder reads.
    pub fn picture_shape(&self) -> [usize; 3] {
        self.config.io().picture
    }

    /// The tokenizer and the text encoder.
    pub fn words(&self) -> &Arc<Words> {
        &self.words
    }

    /// What the image encoder is.
    pub fn config(&self) -> &ImageEncoderConfig {
        &self.config
    }

    /// How pictures enter the image encoder.
    pub fn reading(&self) -> &PictureReading {
        &self.reading
    }

    /// The networks; read if they are not in memory.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn networks(&self) -> Result<(Arc<TextEncoder>, Arc<ImageEncoder>), WeightsError> {
        Ok((self.words.encoder()?, self.encoder.get()?))
    }

    /// SHA-256 (hexadecimal) of the image encoder: vectors of pictures by two CLIPs mean nothing to each other.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn fingerprint(&self) -> Result<String, WeightsError> {
        let mut hash = Sha256::new();
        hash.update(self.config.to_json());
        hash.update(self.reading.to_json());
        hash.update(weights::to_bytes(&weights::export(&*self.encoder.get()?), None));
        Ok(hex(&hash.finalize()))
    }

    /// What cosines are multiplied by before a softmax over them: `exp(logit_scale)`; as at the start of CLIP's training where
    /// the folder does not say.
    pub fn logit_scale(&self) -> f64 {
        self.card.contrast.map_or(1.0 / TEMPERATURE, |contrast| contrast.logit_scale.exp())
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> u64 {
        self.words.bytes().saturating_add(self.encoder.bytes())
    }

    /// Bytes that [`release`](Self::release) gives back.
    pub fn held(&self) -> u64 {
        self.words.held().saturating_add(self.encoder.held())
    }

    /// Gives the memory of the weights back, until they are needed.
    pub fn release(&self) {
        self.words.release();
        self.encoder.release();
    }

    /// The vectors of texts, as the network projects them: of any length, [`Vectors::unit`] has them of length 1. Of a text that
    /// is longer than the encoder reads, its beginning.
    ///
    /// # Errors
    /// Weights that cannot be read.
    ///
    /// # Panics
    /// On words that the tokenizer fails on, which [`accepts`](Self::accepts) says first.
    pub fn texts(&self, texts: &[&str]) -> Result<Vectors, WeightsError> {
        let encoder = self.words.encoder()?;
        let mut all = Vectors::new(self.width());
        for some in texts.chunks(AT_ONCE) {
            all.extend(encoder.encode(&self.tokens(some).0, 0).pooled);
        }
        Ok(all)
    }

    /// What texts are to a network that attends to their tokens, such as a prior, with their vectors.
    ///
    /// # Errors
    /// As [`texts`](Self::texts).
    ///
    /// # Panics
    /// As [`texts`](Self::texts).
    pub fn states(&self, texts: &[&str]) -> Result<TextStates, WeightsError> {
        let encoder = self.words.encoder()?;
        let (length, width, vectors) = (self.words.length(), self.words.width(), Vectors::new(self.width()));
        let mut all = TextStates { length, width, hidden: Vec::new(), mask: Vec::new(), vectors };
        for some in texts.chunks(AT_ONCE) {
            let (tokens, mask) = self.tokens(some);
            let Encoded { hidden, pooled } = encoder.encode(&tokens, 0);
            all.hidden.extend(hidden.into_data().try_into_vec_as::<f32>().expect("states are numbers"));
            all.mask.extend(mask);
            all.vectors.extend(pooled);
        }
        Ok(all)
    }

    /// The vectors of pictures of any size, as the network projects them: see [`texts`](Self::texts).
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn pictures(&self, pictures: &[Image]) -> Result<Vectors, WeightsError> {
        let encoder = self.encoder.get()?;
        let [channels, height, width] = self.picture_shape();
        let mut all = Vectors::new(self.width());
        for some in pictures.chunks(AT_ONCE) {
            let values: Vec<f32> = some.iter().flat_map(|picture| self.reading.values(picture, channels)).collect();
            let values = TensorData::new(values, [some.len(), channels, height, width]);
            all.extend(encoder.embed(Tensor::from_data(values, &self.device)).embedding);
        }
        Ok(all)
    }

    /// Whether a text makes tokens.
    ///
    /// # Errors
    /// Words that the tokenizer fails on.
    pub fn accepts(&self, text: &str) -> Result<(), String> {
        self.words.tokenize(text, Emphasis::None).map(drop)
    }

    /// What of a text is not read, being longer than the encoder's texts.
    pub fn cut(&self, text: &str) -> Option<String> {
        self.words.first(text).ok()?.cut
    }

    /// The tokens of texts, and which of them are no filling.
    fn tokens(&self, texts: &[&str]) -> (Tokens, Vec<bool>) {
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for text in texts {
            let Tokenized { chunks, .. } = self.words.first(text).expect("the text was accepted");
            for chunk in chunks {
                mask.extend((0..chunk.ids.len()).map(|place| place < chunk.used));
                ids.extend(chunk.ids.into_iter().map(|id| id as usize));
            }
        }
        (Tokens { ids, length: self.words.length(), mask: None }, mask)
    }
}
