//! What a step changes: the weights, their averages, what the optimizer keeps.

use std::collections::BTreeMap;

use burn::tensor::{Device, Gradients, Tensor};
use undiffuse_nn::ops::optim::{OptimizerKind, Update, square_sum};
use undiffuse_nn::ops::{Tree, on_threads};
use undiffuse_nn::params;
use undiffuse_nn::weights::Named;

use super::average::Average;
use super::loss;
use super::networks::Learned;

/// The changing part of a run, and nothing else.
pub struct TrainState<N> {
    /// The networks, on an autodiff device; away only while they are updated.
    networks: Option<N>,
    optimizer: OptimizerKind,
    /// What the optimizer keeps for every parameter, in the networks' order; for untrained ones, unused.
    kept: Vec<Vec<Tensor<1>>>,
    /// Averages of the weights.
    pub averages: Vec<Average>,
}

/// Gradients of one optimiser step, summed over its parts along the tree that also adds the pictures of a part. So parts of
/// 8, 16, 32... pictures (as many as are a subtree) have the bits of a batch in one part; others have a fixed order of their own.
#[derive(Default)]
pub struct Accumulated(Tree<Gradient>);

/// A gradient by parameter, in the networks' order.
type Gradient = Vec<(String, Tensor<1>)>;

/// The gradient of a step: the sum of its pictures'.
pub struct Summed(Gradient);

impl<N: Learned + Sync> TrainState<N> {
    /// The state before the first step.
    pub fn new(networks: N, optimizer: OptimizerKind, widths: &[f64]) -> Self {
        let mut kept = Vec::new();
        networks.for_each(|p| {
            let zero = p.value.inner().zeros_like();
            kept.push(vec![zero; optimizer.keeps().len()]);
        });
        let averages = widths.iter().map(|&w| Average::new(w, &networks)).collect();
        Self { networks: Some(networks), optimizer, kept, averages }
    }

    /// The networks.
    pub fn networks(&self) -> &N {
        self.networks.as_ref().expect("networks that are updated come back")
    }

    /// Changes every parameter in place: nobody else holds the networks meanwhile.
    fn change(&mut self, f: impl FnMut(&str, Tensor<1>) -> Tensor<1>) {
        self.networks = self.networks.take().map(|networks| networks.map(f));
    }

    /// Adds the gradients of a part of a batch to `sum` and returns each picture's loss.
    pub fn accumulate(&self, losses: impl FnOnce(&N) -> Tensor<1> + Send, sum: &mut Accumulated) -> Vec<f64> {
        let (mut gradients, values) = on_threads(|| {
            let losses = losses(self.networks());
            let values = loss::values(&losses);
            // The slope of a sum is one for each picture, in whatever order Burn adds them.
            let gradients: Gradients = losses.sum().backward();
            (gradients, values)
        });
        let mut own = Vec::new();
        self.networks().take_gradients(&mut gradients, |name, gradient| own.push((name, gradient)));
        sum.0.push(own, add);
        values
    }

    /// One step of the optimizer with the summed gradients.
    pub fn update(&mut self, gradients: Summed, update: &Update) {
        let mut gradients: BTreeMap<String, Tensor<1>> = gradients.0.into_iter().collect();
        let mut kept = std::mem::take(&mut self.kept);
        let optimizer = self.optimizer.clone();
        let mut averages = std::mem::take(&mut self.averages);
        let rates: Vec<f64> = averages.iter().map(|a| a.rate(update.step + 1)).collect();
        let mut i = 0;
        self.change(|name, value| {
            let own = averages.iter_mut().zip(&rates);
            let mut own: Vec<(&mut Tensor<1>, f64)> = own.map(|(a, &rate)| (&mut a.values[i], rate)).collect();
            i += 1;
            match gradients.remove(name) {
                Some(gradient) => optimizer.step(update, value, gradient, &mut kept[i - 1], &mut own),
                None => value,
            }
        });
        (self.kept, self.averages) = (kept, averages);
    }

    /// Every tensor of the state, named as in a checkpoint.
    pub fn export(&self) -> Vec<Named> {
        let mut all = Vec::new();
        let mut i = 0;
        self.networks().for_each(|p| {
            let mut push = |prefix: String, value: Tensor<1>| {
                let name = format!("{prefix}.{}", p.name);
                all.push(Named { name, shape: p.shape.clone(), values: params::to_host(value) });
            };
            push("raw".into(), p.value.clone().inner());
            for (k, average) in self.averages.iter().enumerate() {
                push(format!("average.{k}"), average.values[i].clone());
            }
            for (name, kept) in self.optimizer.keeps().iter().zip(&self.kept[i]) {
                push((*name).into(), kept.clone());
            }
            i += 1;
        });
        all
    }

    /// Puts a checkpoint's tensors in place; says which one is missing or of another shape.
    ///
    /// # Errors
    /// A tensor that is missing, or of another shape.
    pub fn import(&mut self, mut tensors: BTreeMap<String, Named>, device: &Device) -> Result<(), String> {
        let mut problem = None;
        let mut take = |name: String, shape: &[usize]| match tensors.remove(&name) {
            Some(t) if t.shape == shape => Some(params::from_host(t.values, device)),
            _ => {
                problem.get_or_insert(format!("tensor `{name}` is missing or has another shape"));
                None
            }
        };
        let networks = self.networks.take().expect("networks that are updated come back");
        let mut raw = Vec::new();
        let mut i = 0;
        networks.for_each(|p| {
            raw.push(take(format!("raw.{}", p.name), &p.shape));
            for (k, average) in self.averages.iter_mut().enumerate() {
                if let Some(value) = take(format!("average.{k}.{}", p.name), &p.shape) {
                    average.values[i] = value;
                }
            }
            for (name, kept) in self.optimizer.keeps().iter().zip(&mut self.kept[i]) {
                if let Some(value) = take(format!("{name}.{}", p.name), &p.shape) {
                    *kept = value;
                }
            }
            i += 1;
        });
        self.networks = Some(networks);
        if let Some(problem) = problem {
            return Err(problem);
        }
        let mut raw = raw.into_iter();
        self.change(|_, old| raw.next().flatten().unwrap_or(old));
        Ok(())
    }
}

impl Accumulated {
    /// The sum of all parts.
    pub fn total(self) -> Summed {
        Summed(self.0.total(add).unwrap_or_default())
    }
}

fn add(earlier: &mut Gradient, later: Gradient) {
    for ((_, earlier), (_, later)) in earlier.iter_mut().zip(later) {
        *earlier = earlier.extract() + later;
    }
}

impl Summed {
    /// Norm of the summed gradient: a sum over parameters, in an order that their sizes decide.
    pub fn norm(&self) -> f64 {
        self.0.iter().map(|(_, g)| square_sum(g.clone())).sum::<f64>().sqrt()
    }
}
