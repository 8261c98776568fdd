//! Vectors of pictures, and how fast they come: `features NETWORK WEIGHTS|- OUT REPEAT FILE…`.
//!
//! NETWORK is a built-in one, or `own` for the one that the file WEIGHTS carries.
//!
//! Writes OUT, little-endian f32 `[files, dims]`, and prints the dimensions and the pictures a second of REPEAT passes
//! (after one that is not timed). With `-` for WEIGHTS the network runs on numbers of no meaning.

use std::error::Error;
use std::time::Instant;

use undiffuse_data::{Image, Options};
use undiffuse_features::{FeatureNetwork, Features, Weights, built_in};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [network, weights, out, repeat, files @ ..] = &arguments[..] else {
        return Err("features NETWORK WEIGHTS OUT REPEAT FILE…".into());
    };
    let graph = built_in(network);
    let network = match weights.as_str() {
        "-" => FeatureNetwork::from_fn(&graph.ok_or("no such network")?, numbers)?,
        path => {
            let file = Weights::open(path.as_ref())?;
            let own = file.graph.as_deref().map(serde_json::from_str).transpose()?;
            FeatureNetwork::new(&own.or(graph).ok_or("no such network")?, &file.tensors)?
        }
    };
    let open = |file: &String| Image::open(file.as_ref(), &Options::default());
    let pictures = files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let mut vectors = vec![];
    network.extract(&pictures, &mut vectors);
    std::fs::write(out, vectors.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
    let (begin, repeat) = (Instant::now(), repeat.parse::<usize>()?);
    for _ in 0..repeat {
        vectors.clear();
        network.extract(&pictures, &mut vectors);
    }
    let rate = (repeat * pictures.len()) as f64 / begin.elapsed().as_secs_f64();
    println!("{} numbers, {rate:.2} pictures a second on {} threads", network.dims(), rayon::current_num_threads());
    Ok(())
}

/// Weights that keep values at their size.
fn numbers(name: &str, shape: &[usize]) -> Vec<f32> {
    let fan_in = shape[1..].iter().product::<usize>() as f32;
    let scale = if shape.len() > 1 { (12.0 / fan_in).sqrt() } else { 0.1 };
    let shift = f32::from(u8::from(shape.len() == 1 && !name.ends_with("bias")));
    (0..shape.iter().product()).map(|i: usize| ((i as f32 * 0.618).fract() - 0.5) * scale + shift).collect()
}
