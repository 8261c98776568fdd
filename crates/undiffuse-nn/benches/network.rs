//! Times a whole network of any class: `network CONFIG.json step|forward BATCH [SECONDS]` prints one JSON line with the median milliseconds
//! and the peak resident size. `cargo xtask bench` runs it in turn with its PyTorch twin, `xtask/bench/network.py`.

use std::time::Instant;

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use undiffuse_nn::networks::Reads;
use undiffuse_nn::ops;
use undiffuse_nn::ops::optim::{AdamW, Optimizer, Update};
use undiffuse_nn::{Condition, NetworkConfig, init, params};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [config, what, batch, seconds @ ..] = args.as_slice() else {
        println!("usage: network CONFIG.json step|forward BATCH [SECONDS]");
        return;
    };
    let batch: usize = batch.parse().expect("BATCH is a number");
    let seconds: f64 = seconds.first().map_or(10.0, |s| s.parse().expect("SECONDS is a number"));
    let config =
        NetworkConfig::from_json(&std::fs::read_to_string(config).expect("CONFIG is a file")).expect("a network");
    let times = if what == "step" { steps(&config, batch, seconds) } else { forwards(&config, batch, seconds) };
    println!("{{\"ms\": {:.3}, \"runs\": {}, \"peak_mb\": {:.0}}}", median(&times), times.len(), peak_mb());
}

/// Milliseconds of each run after two that warm up, for about `seconds`.
fn timed(seconds: f64, mut run: impl FnMut()) -> Vec<f64> {
    run();
    run();
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || begin.elapsed().as_secs_f64() < seconds {
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

fn input(config: &NetworkConfig, batch: usize, device: &Device) -> Tensor<4> {
    let io = config.io();
    let [height, width] = io.sample_size.expect("a sample size");
    let shape = [batch, io.channels_in, height, width];
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.37).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A label a picture, where the network reads some.
fn condition(config: &NetworkConfig, batch: usize) -> Condition {
    match config.io().reads {
        Reads::Labels(classes) => Condition::labels((0..batch).map(|i| (i % classes.max(1)) as f32).collect()),
        _ => Condition::default(),
    }
}

fn times(batch: usize) -> Vec<f32> {
    (0..batch).map(|i| (i * 997 % 1000) as f32).collect()
}

fn forwards(config: &NetworkConfig, batch: usize, seconds: f64) -> Vec<f64> {
    let device = Device::flex();
    let model = init::initialize(config.network(&device).expect("a network"), 0);
    let (x, t, condition) = (input(config, batch, &device), times(batch), condition(config, batch));
    timed(seconds, || drop(std::hint::black_box(model.forward(x.clone(), &t, &condition).into_data())))
}

fn steps(config: &NetworkConfig, batch: usize, seconds: f64) -> Vec<f64> {
    let device = Device::flex().autodiff();
    let mut owned = Some(init::initialize(config.network(&device).expect("a network"), 0));
    let (x, t, condition) = (input(config, batch, &device), times(batch), condition(config, batch));
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
