//! Every metric on two sets of features from a file: what each says, how long it takes, and how much memory all took.
//!
//! `cargo run --release -p undiffuse-metrics --example measure -- FEATURES.safetensors [TAG…]`: the file holds `real` and
//! `generated`, float32 `[n, dims]`; without tags all metrics of features are measured. `xtask/checks/metrics_speed.py`
//! runs it beside the tools in Python. Prints JSON lines.

use std::time::Instant;

use safetensors::SafeTensors;
use undiffuse_metrics::{METRICS, MetricOptions, Over, Rows, Sets};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: measure FEATURES.safetensors [TAG…]")?;
    let tags: Vec<String> = arguments.collect();
    let ([real, generated], dims) = read(&path)?;
    let sets = Sets { real: Rows::new(&real, dims), generated: Rows::new(&generated, dims) };
    for metric in METRICS.iter().filter(|metric| metric.over == Over::Features || !tags.is_empty()) {
        if !tags.is_empty() && !tags.iter().any(|tag| tag == metric.tag) {
            continue;
        }
        let start = Instant::now();
        let figures = (metric.measure)(&sets, &MetricOptions::default())?;
        let seconds = start.elapsed().as_secs_f64();
        let figures = serde_json::to_string(&figures)?;
        println!("{{\"metric\": \"{}\", \"seconds\": {seconds:.3}, \"figures\": {figures}}}", metric.tag);
    }
    Ok(())
}

/// Both sets and their dimensions.
fn read(path: &str) -> Result<([Vec<f32>; 2], usize)> {
    let file = std::fs::read(path)?;
    let tensors = SafeTensors::deserialize(&file)?;
    let values = |name: &str| -> Result<Vec<f32>> {
        let bytes = tensors.tensor(name)?.data().chunks_exact(4);
        Ok(bytes.map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]])).collect())
    };
    let dims = *tensors.tensor("real")?.shape().last().ok_or("a tensor without dimensions")?;
    Ok(([values("real")?, values("generated")?], dims))
}
