//! A network learns to undo noise.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use undiffuse_math::prelude::TimingKind;
use undiffuse_math::recipe::{Clip, Recipe};

use super::{Material, Place, Product, Task, told};
use crate::condition::{Conditioner, Readers};
use crate::examples::{Encoded, Kept, root_mean_square};
use crate::model::{Card, Model, Provenance};
use crate::train::TrainError;
use crate::train::checkpoint::Counters;
use crate::train::collective::CollectiveKind;
use crate::train::draws::{Drawer, Draws, Shuffled};
use crate::train::loss::Context;
use crate::train::networks::Networks;
use crate::train::noise::NoiseConfig;
use crate::train::validation::{self, Asked};

/// A denoiser that learns, with the text encoder that tells it words where there is one.
pub(in crate::train) struct Denoising {
    /// The configuration's process; its distribution of training times may learn.
    noise: NoiseConfig,
    conditioner: Conditioner,
    /// Latents, where they were made before.
    kept: Option<Kept>,
}

impl Denoising {
    fn examples<'a>(&'a self, on: &'a Material) -> Encoded<'a> {
        let Self { conditioner, kept, .. } = self;
        Encoded { data: &on.data, codec: &on.config.codec, kept: kept.as_ref(), conditioner }
    }

    /// Draws times by their distribution as it is now (`noise`), or as it was at the start (the configuration's).
    fn drawer<'a>(&'a self, on: &'a Material, noise: &'a NoiseConfig, examples: &'a Encoded<'a>) -> Drawer<'a> {
        Drawer {
            examples,
            indices: &on.split.train,
            noise,
            seed: on.config.train.seed,
            flip: on.config.data.flip,
            conditioner: &self.conditioner,
            dropout: on.config.train.label_dropout,
        }
    }
}

impl Task for Denoising {
    type Networks = Networks;
    type Drawn = Draws;

    fn begin(on: &mut Material, device: &Device) -> Result<(Self, Networks), TrainError> {
        let Material { config, data, split } = on;
        let conditioner = config.conditioner_for(data, &split.train).map_err(TrainError::wrong)?;
        told(config, conditioner.kind(), conditioner.fingerprint())?;
        let kept = config.kept_for(data, &split.train).map_err(TrainError::wrong)?;
        if let Some(kept) = &kept {
            config.codec = kept.codec.clone();
        }
        let shape = config.latent_shape()?;
        let network = config.network_for(shape, &conditioner).map_err(TrainError::wrong)?;
        let conditioner = conditioner
            .with_network(&network.io())
            .map_err(|problem| TrainError::wrong(format!("the network {}: {problem}", network.class())))?;
        let networks = config.networks_for(shape, &conditioner, device).map_err(TrainError::Network)?;
        if config.noise.own_sigma_data {
            let examples = Encoded { data, codec: &config.codec, kept: kept.as_ref(), conditioner: &conditioner };
            config.noise.settled(root_mean_square(&examples, &split.train));
        }
        Ok((Self { noise: config.noise.clone(), conditioner, kept }, networks))
    }

    fn begun(&self, networks: Networks) -> Networks {
        match &self.kept {
            Some(kept) => networks.standardised(kept.mean(), kept.deviation()),
            None => networks,
        }
    }

    fn features(&self, on: &Material, networks: &Networks) -> u64 {
        on.config.latent_shape().map_or(u64::MAX, |shape| networks.denoiser.config().features(shape))
    }

    fn warnings(&self, on: &Material) -> Vec<String> {
        self.conditioner.told_by(&on.data).lacking.into_iter().collect()
    }

    fn classes(&self) -> &[String] {
        self.conditioner.classes().names()
    }

    fn draw(&self, on: &Material, order: &mut Shuffled, Place { start, count, from }: Place) -> Draws {
        let examples = self.examples(on);
        self.drawer(on, &self.noise, &examples).train(order, start, count, from, on.config.train.batch)
    }

    fn losses(&self, on: &Material, networks: &Networks, draws: &Draws, dropout: Option<u64>) -> Tensor<1> {
        let Self { conditioner, noise, .. } = self;
        on.config.loss.losses(&Context { networks, conditioner, noise, draws, dropout })
    }

    fn observe(&mut self, drawn: &[Draws], losses: &[f64], ranks: &CollectiveKind) {
        let TimingKind::Importance(timing) = &mut self.noise.timing else { return };
        let quantiles = drawn.iter().flat_map(|draws| draws.quantiles.iter().copied()).collect();
        let corrections = drawn.iter().flat_map(|draws| draws.each.iter().map(|draw| draw.correction)).collect();
        let (quantiles, corrections) = (ranks.gather(quantiles), ranks.gather(corrections));
        let losses = losses.iter().zip(corrections).map(|(loss, correction)| loss / correction);
        timing.observe(&quantiles.into_iter().zip(losses).collect::<Vec<_>>());
    }

    fn measure(&self, on: &Material, networks: &Networks, indices: &[usize]) -> Vec<f64> {
        let examples = self.examples(on);
        let drawer = self.drawer(on, &on.config.noise, &examples);
        validation::losses(&*on.config.loss, networks, &drawer, indices, on.part(), Asked::Own)
    }

    fn note(&self, counters: &mut Counters) {
        if let TimingKind::Importance(timing) = &self.noise.timing {
            counters.importance = Some(timing.clone());
        }
    }

    fn restore(&mut self, counters: &Counters) {
        if let (TimingKind::Importance(timing), Some(seen)) = (&mut self.noise.timing, &counters.importance) {
            *timing = seen.clone();
        }
    }

    fn product(&self, on: &Material, networks: Networks, provenance: Provenance) -> Product {
        let config = &on.config;
        let (noise, how) = (&config.noise, &config.sample);
        let recipe = Recipe {
            // Only pictures have a range.
            clip: if config.codec.one_way().is_some() { Clip::None } else { Clip::Range(1.0) },
            learned_variance: config.loss.learned_variance(),
            ..Recipe::new(
                noise.schedule.clone(),
                noise.parameterization.clone(),
                how.spacing.clone(),
                how.solver.clone(),
            )
        };
        let (sample, codec) = (Some(how.clone()), config.codec.clone());
        let mut card = Card { sample, codec: codec.clone(), provenance: Some(provenance), ..Card::default() };
        self.conditioner.note(&mut card);
        let Networks { denoiser, encoder } = networks;
        let words = self.conditioner.words().map(|words| match encoder {
            Some(encoder) => Arc::new(words.with(encoder)),
            None => Arc::clone(words),
        });
        let readers = Readers { words, clip: self.conditioner.clip().cloned() };
        let model = Model::assembled(denoiser, recipe, card, codec.into(), &readers);
        Product::Model(Box::new(model.expect("the network was made for its codec and its conditioner")))
    }
}
