//! The newest checkpoint: counters, weights, and what the numbers look like.

use std::collections::BTreeMap;

use undiffuse::burn::tensor::Device;
use undiffuse::nn::weights::{Named, WeightsError};
use undiffuse::nn::{Network, params};
use undiffuse::run::RunFolder;
use undiffuse::train::checkpoint::Counters;
use undiffuse::train::networks::{Learned, Networks};

/// A checkpoint in memory.
pub struct Checkpoint {
    /// Steps and pictures.
    pub counters: Counters,
    /// Every tensor by name: `raw.…`, `average.0.…`, `adam.m.…`, `adam.v.…`.
    pub tensors: BTreeMap<String, Named>,
}

/// What is odd about the tensors of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorFacts {
    /// Names of matrices and kernels that are zero altogether.
    pub zero: Vec<String>,
    /// Root mean square of all matrices and kernels.
    pub rms: f64,
}

impl Checkpoint {
    /// The newest checkpoint that can be read, if anything was learned until then; what is wrong with newer ones goes to
    /// `damaged`, or to `lost` where their numbers are none.
    pub fn newest(run: &RunFolder, damaged: &mut Vec<String>, lost: &mut Vec<String>) -> Option<Self> {
        let (state, broken) = run.newest(|_, counters, tensors| Ok(Self { counters, tensors }));
        for problem in broken {
            match problem {
                e @ WeightsError::NotFinite { .. } => lost.push(e.to_string()),
                e => damaged.push(format!("a checkpoint cannot be read: {e}")),
            }
        }
        state.filter(|state| state.counters.nimg > 0)
    }

    /// The tensors whose names begin with `prefix`, such as `raw.`.
    pub fn facts(&self, prefix: &str) -> TensorFacts {
        let tensors = self.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?, t)));
        TensorFacts::of(tensors.map(|(name, t)| (name, t.shape.len(), &t.values[..])))
    }

    /// How many averages there are.
    pub fn averages(&self) -> usize {
        (0..).take_while(|k| self.tensors.keys().any(|name| name.starts_with(&format!("average.{k}.")))).count()
    }

    /// `networks` with the weights whose names begin with `prefix`; nothing where one is missing or does not fit.
    pub fn networks(&self, networks: &Networks, prefix: &str, device: &Device) -> Option<Networks> {
        let mut fits = true;
        networks.for_each(|p| {
            let own = self.tensors.get(&format!("{prefix}{}", p.name));
            fits &= own.is_some_and(|t| t.shape == p.shape);
        });
        fits.then(|| {
            networks.clone().map(|name, old| match self.tensors.get(&format!("{prefix}{name}")) {
                Some(t) => params::from_host(t.values.clone(), device),
                None => old,
            })
        })
    }
}

impl TensorFacts {
    /// Of named tensors, each with its number of dimensions.
    fn of<'a>(tensors: impl Iterator<Item = (&'a str, usize, &'a [f32])>) -> Self {
        let mut facts = Self::default();
        let (mut sum, mut count) = (0.0, 0usize);
        for (name, dims, values) in tensors {
            if dims >= 2 {
                if values.iter().all(|v| *v == 0.0) {
                    facts.zero.push(name.to_owned());
                }
                sum += values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
                count += values.len();
            }
        }
        Self { rms: (sum / count.max(1) as f64).sqrt(), ..facts }
    }

    /// Of a network.
    pub fn of_network(network: &Network) -> Self {
        let mut all = Vec::new();
        params::for_each(network, |p| all.push((p.name.clone(), p.shape.len(), params::to_host(p.value))));
        Self::of(all.iter().map(|(name, dims, values)| (name.as_str(), *dims, &values[..])))
    }
}
