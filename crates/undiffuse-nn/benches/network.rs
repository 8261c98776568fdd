//! Times a whole network of any class: `network CONFIG.json|FOLDER step|forward|decode BATCH [SECONDS]` prints one JSON line with the
//! median milliseconds and the peak resident size. A folder has weights, too; `decode` is that of an autoencoder.
//! `cargo xtask bench` runs it in turn with its PyTorch twin, `xtask/bench/network.py`.

use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use undiffuse_nn::networks::{AutoencoderConfig, Reads};
use undiffuse_nn::ops;
use undiffuse_nn::ops::optim::{AdamW, Optimizer, Update};
use undiffuse_nn::{Condition, NetworkConfig, init, params, weights};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [config, what, batch, seconds @ ..] = args.as_slice() else {
        println!("usage: network CONFIG.json|FOLDER step|forward|decode BATCH [SECONDS]");
        return;
    };
    let batch: usize = batch.parse().expect("BATCH is a number");
    let seconds: f64 = seconds.first().map_or(10.0, |s| s.parse().expect("SECONDS is a number"));
    let folder = Some(Path::new(config)).filter(|path| path.is_dir());
    let file = folder.map_or(config.into(), |folder| folder.join("config.json"));
    let json = std::fs::read_to_string(file).expect("CONFIG is a file, or a folder with a config.json");
    let times = match what.as_str() {
        "step" => steps(&NetworkConfig::from_json(&json).expect("a denoiser"), batch, seconds),
        "decode" => decodes(&AutoencoderConfig::from_json(&json).expect("an autoencoder"), folder, batch, seconds),
        _ => forwards(&NetworkConfig::from_json(&json).expect("a denoiser"), folder, batch, seconds),
    };
    println!("{{\"ms\": {:.3}, \"runs\": {}, \"peak_mb\": {:.0}}}", median(&times), times.len(), peak_mb());
}

/// Milliseconds of each run after two that warm up, for about `seconds`.
fn timed(seconds: f64, mut run: impl FnMut()) -> Vec<f64> {
    run();
    run();
    let begin = Instant::now();
    let mut times = Vec::new();
    let least = if seconds > 0.0 { 5 } else { 2 };
    while times.len() < least || begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        run();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The network with the weights of a folder, or with new ones.
fn filled<M: Module>(network: M, folder: Option<&Path>) -> M {
    match folder {
        Some(folder) => weights::load(network, &folder.join("diffusion_pytorch_model.safetensors")).expect("weights"),
        None => init::initialize(network, 0),
    }
}

fn numbers<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.37).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn input(config: &NetworkConfig, batch: usize, device: &Device) -> Tensor<4> {
    let io = config.io();
    let [height, width] = io.sample_size.expect("a sample size");
    numbers([batch, io.channels_in, height, width], device)
}

/// A label a picture, where the network reads some, and as many tokens as CLIP has words, where it attends to any.
fn condition(config: &NetworkConfig, batch: usize, device: &Device) -> Condition {
    let condition = match config.io().reads {
        Reads::Labels(classes) => Condition::labels((0..batch).map(|i| (i % classes.max(1)) as f32).collect()),
        _ => Condition::default(),
    };
    let tokens = config.io().tokens.map(|tokens| numbers([batch, tokens.length.unwrap_or(77), tokens.width], device));
    Condition { tokens, ..condition }
}

fn times(batch: usize) -> Vec<f32> {
    (0..batch).map(|i| (i * 997 % 1000) as f32).collect()
}

fn forwards(config: &NetworkConfig, folder: Option<&Path>, batch: usize, seconds: f64) -> Vec<f64> {
    let device = Device::flex();
    let model = filled(config.network(&device).expect("a network"), folder);
    let (x, t, condition) = (input(config, batch, &device), times(batch), condition(config, batch, &device));
    timed(seconds, || drop(std::hint::black_box(model.forward(x.clone(), &t, &condition).into_data())))
}

fn decodes(config: &AutoencoderConfig, folder: Option<&Path>, batch: usize, seconds: f64) -> Vec<f64> {
    let device = Device::flex();
    let model = filled(config.network(&device).expect("a network"), folder);
    let io = config.io();
    let side = io.sample_size / io.scale;
    let z = numbers([batch, io.latent_channels, side, side], &device);
    timed(seconds, || drop(std::hint::black_box(model.decode(z.clone()).into_data())))
}

fn steps(config: &NetworkConfig, batch: usize, seconds: f64) -> Vec<f64> {
    let device = Device::flex().autodiff();
    let mut owned = Some(init::initialize(config.network(&device).expect("a network"), 0));
    let (x, t, condition) = (input(config, batch, &device), times(batch), condition(config, batch, &device));
    let mut moments = Vec::new();
    params::for_each(owned.as_ref().expect("a network"), |p| {
        let zero = p.value.inner().zeros_like();
        moments.push([zero.clone(), zero]);
    });
    let mut step = 0;
    timed(seconds, || {
        let model = owned.take().expect("a network");
        let mut gradients: Gradients = ops::on_threads(|| {
            let loss = (model.forward(x.clone(), &t, &condition) - x.clone()).powi_scalar(2).mean();
            loss.backward()
        });
        let mut all = std::collections::BTreeMap::new();
        params::take_gradients(&model, &mut gradients, |name, gradient| drop(all.insert(name, gradient)));
        let update = Update { lr: 1e-4, step, gradient_scale: 1.0 };
        let mut moments = moments.iter_mut();
        owned = Some(params::map(model, |name, value| {
            let kept = moments.next().expect("moments");
            AdamW::default().step(&update, value, all.remove(name).expect("a gradient"), kept, &mut [])
        }));
        step += 1;
    })
}

/// Peak resident size of this process, as Linux counts it.
fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap_or(0.0) / 1024.0
}
