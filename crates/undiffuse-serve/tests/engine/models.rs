//! Two small models, and what is asked of them.

use std::path::Path;

use undiffuse::Model;
use undiffuse::math::noise;
use undiffuse::math::recipe::{Clip, Learned, Recipe};
use undiffuse::model::Card;
use undiffuse::nn::networks::unet2d::{DownBlockType, SampleSize, UNet2DConfig, UpBlockType};
use undiffuse::nn::{NetworkConfig, params};
use undiffuse::{burn::tensor::Device, device};
use undiffuse_serve::job::Generate;
use undiffuse_serve::options::{RequestLimits, ServeOptions};

pub fn cpu() -> Device {
    device::open("cpu").unwrap()
}

/// A network of 8x8 pictures with random weights: grey with four classes and guidance, or colour without classes.
pub fn model(channels: usize, seed: u64) -> Model {
    let config = UNet2DConfig {
        sample_size: Some(SampleSize::Square(8)),
        in_channels: channels,
        // The colour model learnt its variance, too.
        out_channels: if channels == 3 { 6 } else { channels },
        down_block_types: vec![DownBlockType::DownBlock2D; 2],
        up_block_types: vec![UpBlockType::UpBlock2D; 2],
        block_out_channels: vec![16, 16],
        layers_per_block: 1,
        norm_num_groups: 4,
        add_attention: false,
        num_class_embeds: (channels == 1).then_some(5),
        ..UNet2DConfig::default()
    };
    let mut stream = 0;
    let network = params::map(NetworkConfig::from(config).network(&cpu()).unwrap(), |_, value| {
        let mut values = vec![0.0; value.dims()[0]];
        noise::normal(seed, stream, 0, &mut values);
        stream += 1;
        params::from_host(values.iter().map(|v| v * 0.1).collect(), &cpu())
    });
    let part = |word: &str| word.to_owned();
    let recipe = Recipe {
        clip: Clip::Range(1.0),
        learned_variance: (channels == 3).then_some(Learned::Range),
        ..Recipe::new(
            part("cosine").parse::<undiffuse::math::prelude::ScheduleKind>().unwrap(),
            part("eps").parse::<undiffuse::math::prelude::ParameterizationKind>().unwrap(),
            part("trailing").parse::<undiffuse::math::prelude::SpacingKind>().unwrap(),
            part("ddim").parse::<undiffuse::math::prelude::SolverKind>().unwrap(),
        )
    };
    let card = match channels {
        1 => Card {
            classes: ["ant", "bee", "cat", "dog"].map(String::from).to_vec(),
            null_class: Some(4),
            ..Card::default()
        },
        _ => Card::default(),
    };
    Model::new(network, recipe, card).unwrap()
}

/// A folder of two models, and options for a service of it.
pub fn options(folder: &Path) -> ServeOptions {
    let models = folder.join("models");
    if !models.exists() {
        model(1, 1).save(models.join("grey")).unwrap();
        model(3, 2).save(models.join("colour")).unwrap();
    }
    ServeOptions {
        limits: RequestLimits { batch: 8, ..RequestLimits::default() },
        memory: Some(1 << 30),
        ..ServeOptions::new(vec![models], folder, cpu())
    }
}

pub fn grey(n: usize, steps: usize) -> Generate {
    Generate { model: Some("grey".into()), n: Some(n), steps: Some(steps), ..Generate::default() }
}

pub fn me() -> String {
    "me".into()
}
