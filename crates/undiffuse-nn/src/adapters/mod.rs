//! Adapters: what is added to a network's weights, in files of their own.
//!
//! A [`Lora`] adds to a weight a product of two thin matrices \[Hu21\]: `W + s · alpha / rank · B A`. A convolution's `A` has its window, and
//! its `B` is 1×1. For inference the sum is made once, in f32 and in an order that only the weight's shape decides, and layers stay as they
//! are; an adapter that trains belongs behind the layers' `weight()`.

mod keys;
mod names;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use burn::module::Module;
use serde_json::{Map, Value};
use undiffuse_kernels::linear::{self, Linear};

use crate::params;
use crate::weights::{Stored, WeightsError, check_finite, open};
use keys::Part;

/// The entry of a file's header in which diffusers keeps peft's configuration.
const CONFIG: &str = "lora_adapter_metadata";
/// Most problems that a message names.
const FEW: usize = 4;

/// A LoRA file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    /// The file itself.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// An adapter of another kind.
    #[error(
        "`{path}` is no LoRA that can be added: it holds {kind} (`{key}`); convert it, or merge it into a model elsewhere"
    )]
    Kind {
        /// The file.
        path: String,
        /// What it is called.
        kind: &'static str,
        /// A key of it.
        key: String,
    },
    /// Keys or numbers that make no LoRA.
    #[error("`{path}` is no LoRA: {problem}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// It adapts other weights than the model has.
    #[error("`{path}` is a LoRA of another model: {misfits} of its {layers} layers don't fit: {problems}")]
    Misfit {
        /// The file.
        path: String,
        /// Layers that don't fit.
        misfits: usize,
        /// All of its layers.
        layers: usize,
        /// The first few.
        problems: String,
    },
}

/// What a file adds to each weight, its values not yet read.
pub struct Lora<R = File> {
    shown: String,
    stored: Stored<R>,
    /// By network and layer, both as keys say them.
    layers: BTreeMap<(&'static str, String), Factors>,
    config: Map<String, Value>,
}

/// The keys of what is added to one weight.
#[derive(Default)]
struct Factors {
    /// The layer as it is written.
    name: String,
    down: String,
    up: String,
    /// Empty where there is none.
    alpha: String,
}

/// A LoRA whose layers are found among a model's weights.
pub struct Fitted<R = File> {
    shown: String,
    stored: Stored<R>,
    /// By network and tensor.
    targets: BTreeMap<(String, String), Target>,
}

/// What is added to a tensor: `factor` times the product of two others.
struct Target {
    down: String,
    up: String,
    factor: f64,
}

/// The layers of a network, by which keys are understood.
pub struct Layers {
    network: String,
    weights: Vec<(String, Vec<usize>)>,
}

impl Layers {
    /// Those of `module`, which a pipeline has in the folder `network`.
    pub fn of<M: Module>(network: impl Into<String>, module: &M) -> Self {
        let mut weights = Vec::new();
        params::shapes(module, |name, shape| {
            if let Some(layer) = name.strip_suffix(".weight").filter(|_| shape.len() > 1) {
                weights.push((layer.to_owned(), shape.to_vec()));
            }
        });
        Self { network: network.into(), weights }
    }
}

impl Lora {
    /// Reads what `path` adapts.
    ///
    /// # Errors
    /// A file that cannot be read, is no safetensors file, or holds an adapter of another kind.
    pub fn read(path: &Path) -> Result<Self, LoraError> {
        Self::of(open(path)?, path.display().to_string())
    }
}

impl<R: Read + Seek> Lora<R> {
    /// The same of a file whose header is read; `shown` is the name that messages use.
    ///
    /// # Errors
    /// As [`read`](Lora::read).
    pub fn of(stored: Stored<R>, shown: String) -> Result<Self, LoraError> {
        let mut layers: BTreeMap<_, Factors> = BTreeMap::new();
        let mut strange = Vec::new();
        for (key, _) in stored.names() {
            if let Some(kind) = keys::other(key) {
                return Err(LoraError::Kind { path: shown, kind, key: key.to_owned() });
            }
            let Some((network, name, part)) = keys::read(key) else {
                strange.push(key);
                continue;
            };
            let layer = layers.entry((network, keys::plain(name))).or_default();
            name.clone_into(&mut layer.name);
            let place = match part {
                Part::Down => &mut layer.down,
                Part::Up => &mut layer.up,
                Part::Alpha => &mut layer.alpha,
            };
            if !place.is_empty() {
                return Err(LoraError::Format { path: shown, problem: format!("`{key}` and `{place}` are the same") });
            }
            key.clone_into(place);
        }
        let half = layers.values().find(|layer| layer.down.is_empty() || layer.up.is_empty());
        let problem = match (strange.first(), half) {
            (Some(key), _) => Some(format!("`{key}`, one of {} such tensors, is no part of one", strange.len())),
            (None, Some(layer)) => Some(format!("of `{}` there is one factor without the other", layer.name)),
            (None, None) => layers.is_empty().then(|| "it holds no tensors".to_owned()),
        };
        if let Some(problem) = problem {
            return Err(LoraError::Format { path: shown, problem });
        }
        let config = stored.entry(CONFIG).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Ok(Self { shown, stored, layers, config })
    }

    /// Finds every layer among those of a pipeline's networks. Of the values only alphas are read.
    ///
    /// # Errors
    /// Layers that no network has, or has with another shape: the first few, and how many. Alphas that are no numbers.
    pub fn fit(mut self, networks: &[Layers]) -> Result<Fitted<R>, LoraError> {
        let index = |known: &Layers| names::index(known.weights.iter().map(|(layer, _)| layer.as_str()));
        let indices: Vec<_> = networks.iter().map(index).collect();
        let layers = std::mem::take(&mut self.layers);
        let (mut targets, mut problems) = (BTreeMap::new(), Vec::new());
        for ((network, plain), layer) in &layers {
            let found = networks.iter().zip(&indices).find(|(known, _)| known.network == *network);
            let found = found.and_then(|(known, index)| known.weights.get(*index.get(plain)?));
            let Some((tensor, shape)) = found else {
                problems.push(format!("there is no `{}` in its {network}", layer.name));
                continue;
            };
            match self.rank(layer, shape) {
                Ok(rank) => {
                    let factor = self.factor(network, layer, rank)?;
                    let target = Target { down: layer.down.clone(), up: layer.up.clone(), factor };
                    targets.insert(((*network).to_owned(), format!("{tensor}.weight")), target);
                }
                Err(problem) => problems.push(format!("`{}` {problem}", layer.name)),
            }
        }
        if problems.is_empty() {
            return Ok(Fitted { shown: self.shown, stored: self.stored, targets });
        }
        let misfits = problems.len();
        problems.truncate(FEW);
        problems.extend((misfits > FEW).then(|| format!("and {} more", misfits - FEW)));
        Err(LoraError::Misfit { path: self.shown, misfits, layers: layers.len(), problems: problems.join("; ") })
    }

    /// The rank of what is added to a weight of this shape, or how the factors contradict it.
    fn rank(&self, layer: &Factors, shape: &[usize]) -> Result<usize, String> {
        let of = |key: &str| self.stored.shape(key).unwrap_or_default();
        let (down, up) = (of(&layer.down), of(&layer.up));
        let ones = |shape: &[usize]| shape.iter().copied().filter(|&side| side != 1).collect::<Vec<_>>();
        match (down, up) {
            ([rank, ins @ ..], [out, ranks @ ..])
                if *rank > 0 && *out == shape[0] && ones(ins) == ones(&shape[1..]) && ones(ranks) == ones(&[*rank]) =>
            {
                Ok(*rank)
            }
            _ => Err(format!("is {up:?} · {down:?}, for a weight {shape:?}")),
        }
    }

    /// `alpha / rank`; 1 where nothing is said.
    fn factor(&mut self, network: &str, layer: &Factors, rank: usize) -> Result<f64, LoraError> {
        let rank = rank as f64;
        if !layer.alpha.is_empty() {
            let values = self.stored.tensor(&layer.alpha)?.values;
            let problem = || format!("`{}` is {values:?}, and one finite number is expected", layer.alpha);
            return match values.as_slice() {
                [alpha] if alpha.is_finite() => Ok(f64::from(*alpha) / rank),
                _ => Err(LoraError::Format { path: self.shown.clone(), problem: problem() }),
            };
        }
        let field = |name: &str| self.config.get(&format!("{network}.{name}")).or_else(|| self.config.get(name));
        let own = field("alpha_pattern").and_then(Value::as_object).and_then(|patterns| {
            let named = |pattern: &str| {
                let before = layer.name.strip_suffix(pattern.trim_start_matches('^'));
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            };
            patterns.iter().find(|(pattern, _)| named(pattern)).map(|(_, alpha)| alpha)
        });
        let alpha = own.or_else(|| field("lora_alpha")).and_then(Value::as_f64);
        let by_root = field("use_rslora").and_then(Value::as_bool).unwrap_or(false);
        Ok(alpha.map_or(1.0, |alpha| alpha / if by_root { rank.sqrt() } else { rank }))
    }
}

impl<R: Read + Seek> Fitted<R> {
    /// The network with `scale` times what the file adds to its weights.
    ///
    /// # Errors
    /// Values that cannot be read, or are not finite.
    pub fn add<M: Module>(&mut self, network: &str, module: M, scale: f64) -> Result<M, WeightsError> {
        let Self { shown, stored, targets } = self;
        let target = |name: &str| targets.get(&(network.to_owned(), name.to_owned()));
        let mut failed = None;
        let wanted = |name: &str| scale != 0.0 && target(name).is_some();
        let module = params::map_where(module, wanted, |name, value| {
            let Some(target) = target(name).filter(|_| failed.is_none()) else { return value };
            let device = value.device();
            let mut weight = params::to_host(value);
            failed = target.add(stored, shown, scale, &mut weight).err();
            params::from_host(weight, &device)
        });
        failed.map_or(Ok(module), Err)
    }

    /// How many weights it adds to.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether it adds nothing.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

impl Target {
    fn add<R: Read + Seek>(
        &self,
        stored: &mut Stored<R>,
        shown: &str,
        scale: f64,
        weight: &mut [f32],
    ) -> Result<(), WeightsError> {
        let mut read = |key: &str| {
            let tensor = stored.tensor(key)?;
            check_finite(key, &tensor.values, shown).map(|()| tensor)
        };
        let (down, up) = (read(&self.down)?, read(&self.up)?);
        let rows = up.shape[0];
        let shape = Linear { rows, c_in: weight.len() / rows, c_out: down.shape[0] };
        let mut product = vec![0.0; weight.len()];
        linear::backward_data(&shape, &*weight, &up.values, &down.values, &mut product);
        let factor = (scale * self.factor) as f32;
        weight.iter_mut().zip(&product).for_each(|(weight, product)| *weight += factor * product);
        Ok(())
    }
}
