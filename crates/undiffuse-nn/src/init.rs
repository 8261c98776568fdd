//! The first values of a network's parameters.

use std::collections::HashMap;

use burn::module::Module;
use undiffuse_math::noise;

use crate::params;
pub use crate::params::Init;

/// The noise stream of initial weights; one sub-stream a parameter.
const STREAM: u64 = 0x1417;

/// Draws every parameter as its layer says.
///
/// A parameter depends on `seed` and its own name and shape alone.
pub fn initialize<M: Module>(module: M, seed: u64) -> M {
    let (mut begins, mut fans) = (HashMap::new(), HashMap::new());
    params::for_each(&module, |p| {
        if let Some(layer) = p.name.strip_suffix(".weight") {
            fans.insert(layer.to_owned(), p.shape.iter().skip(1).product::<usize>());
        }
        begins.insert(p.name, p.init);
    });
    params::map(module, |name, old| {
        let (n, device) = (old.dims()[0], old.device());
        let stream = STREAM << 32 | fingerprint(name);
        let values = match begins[name] {
            Init::Constant(value) => vec![value; n],
            Init::Uniform(gain) => {
                let fan_in = name.rsplit_once('.').and_then(|(layer, _)| fans.get(layer)).copied().unwrap_or(1);
                uniform(seed, stream, n, f64::from(gain) / (fan_in as f64).sqrt())
            }
            Init::Normal(deviation) => normal(seed, stream, n, deviation),
        };
        params::from_host(values, &device)
    })
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

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::layers::{Embedding, Linear};
    use crate::weights::export;

    #[test]
    fn an_id_says_how_its_parameter_begins() {
        for init in [Init::Constant(1.0), Init::Constant(0.0), Init::Uniform(1.0), Init::Normal(16.0)] {
            assert_eq!(Init::of(init.id()), init);
            assert_ne!(init.id(), init.id());
        }
    }

    /// Layers keep their word on every device and in every copy of a network.
    #[test]
    fn layers_say_how_they_begin() {
        let device = Device::flex().autodiff();
        let layers = vec![Linear::new(4, 300, &device), Linear::new(4, 2, &device).zeroed()];
        let drawn = export(&initialize(initialize(layers, 1).valid(), 2));
        let largest = |i: usize| drawn[i].values.iter().fold(0f32, |most, x| most.max(x.abs()));
        // Both the weights and the offsets of a map from four are uniform in ±1/2.
        assert!([0, 1].iter().all(|&i| largest(i) <= 0.5 && largest(i) > 0.49), "{} {}", largest(0), largest(1));
        assert!([2, 3].iter().all(|&i| largest(i) == 0.0));
        let table = export(&initialize(Embedding::new(100, 100, &device), 1));
        let square = table[0].values.iter().map(|x| f64::from(x * x)).sum::<f64>();
        assert!((square / 1e4 - 1.0).abs() < 0.05, "{square}");
    }
}
