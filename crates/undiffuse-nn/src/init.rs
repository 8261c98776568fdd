//! The first values of a network's parameters.

use burn::module::Module;
use undiffuse_math::noise;

use crate::params;

/// The noise stream of initial weights; one sub-stream a parameter.
const STREAM: u64 = 0x1417;

/// Draws every parameter: weights and biases uniform in ±1/√fan_in (PyTorch's default), gains one
/// and offsets zero, tables standard normal, Fourier frequencies normal with deviation 16
/// \[Song21\]. The last map of every residual branch and of the network starts at zero, so that the
/// network begins as the identity on its residual stream \[Ho20\].
///
/// A parameter depends on `seed` and its own name and shape alone.
pub fn initialize<M: Module>(module: M, seed: u64) -> M {
    let mut fans = std::collections::HashMap::new();
    params::for_each(&module, |p| {
        if let Some(layer) = p.name.strip_suffix(".weight") {
            fans.insert(layer.to_owned(), (p.shape.len(), p.shape.iter().skip(1).product::<usize>()));
        }
    });
    params::map(module, |name, old| {
        let (n, device) = (old.dims()[0], old.device());
        let Some((layer, kind)) = name.rsplit_once('.') else { return old };
        let Some(&(rank, fan_in)) = fans.get(layer) else { return old };
        let stream = STREAM << 32 | fingerprint(name);
        let values = match (rank, kind) {
            _ if name == "time_proj.weight" => normal(seed, stream, n, 16.0),
            _ if layer == "class_embedding" => normal(seed, stream, n, 1.0),
            (1, _) => return old,
            _ if starts_at_zero(layer) => vec![0.0; n],
            _ => uniform(seed, stream, n, 1.0 / (fan_in as f64).sqrt()),
        };
        params::from_host(values, &device)
    })
}

fn starts_at_zero(layer: &str) -> bool {
    layer == "conv_out" || layer.ends_with(".conv2") || layer.ends_with(".to_out.0")
}

fn normal(seed: u64, stream: u64, n: usize, deviation: f32) -> Vec<f32> {
    let mut values = vec![0.0; n];
    noise::normal(seed, stream, 0, &mut values);
    values.iter().map(|v| v * deviation).collect()
}

fn uniform(seed: u64, stream: u64, n: usize, bound: f64) -> Vec<f32> {
    (0..n as u64).map(|i| ((2.0 * noise::uniform(seed, stream, i) - 1.0) * bound) as f32).collect()
}

/// FNV-1a over the name, folded to 32 bits.
fn fingerprint(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ b as u64).wrapping_mul(0x0100_0000_01b3));
    (hash ^ (hash >> 32)) & 0xffff_ffff
}
