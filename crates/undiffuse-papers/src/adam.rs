//! A network while it learns: its weights, what Adam remembers of them, and their average.

use undiffuse::burn::module::Module;
use undiffuse::burn::tensor::Tensor;
use undiffuse::nn::ops::optim::{AdamW, Optimizer, Update};
use undiffuse::nn::params;

/// Weights of step `t` count as `t^γ` in the average; this γ makes its width 0.1 of the run \[Karras24, Eq. 126\].
const GAMMA: f64 = 6.94;

/// Adam \[Kingma15, Algorithm 1\] on a module, with a power-function average of the weights \[Karras24, Eq. 121\].
pub struct Adam<M> {
    /// On an autodiff device; away only while it is updated.
    module: Option<M>,
    moments: Vec<[Tensor<1>; 2]>,
    average: Vec<Tensor<1>>,
    betas: [f64; 2],
    step: u64,
}

impl<M: Module> Adam<M> {
    /// Begins with `module`, whose weights are drawn already and live on an autodiff device.
    pub fn new(module: M, betas: [f64; 2]) -> Self {
        let (mut moments, mut average) = (Vec::new(), Vec::new());
        params::for_each(&module, |p| {
            let value = p.value.inner();
            let zero = value.zeros_like();
            moments.push([zero.clone(), zero]);
            average.push(value);
        });
        Self { module: Some(module), moments, average, betas, step: 0 }
    }

    /// The module as it is now.
    pub fn module(&self) -> &M {
        self.module.as_ref().expect("a module that is updated comes back")
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// One step down `loss` with learning rate `lr`. Whatever else the loss depends on stays as it is.
    pub fn descend(&mut self, loss: Tensor<1>, lr: f64) {
        let mut gradients = loss.backward();
        let mut flat = Vec::new();
        params::take_gradients(self.module(), &mut gradients, |_, gradient| flat.push(gradient.inner()));
        let adam = AdamW { betas: self.betas, eps: 1e-8, weight_decay: 0.0 };
        let update = Update { lr, step: self.step, gradient_scale: 1.0 };
        self.step += 1;
        let rate = 1.0 - (1.0 - 1.0 / self.step as f64).powf(GAMMA + 1.0);
        let mut parts = flat.into_iter().zip(self.moments.iter_mut().zip(&mut self.average));
        self.module = self.module.take().map(|module| {
            params::map(module, |_, value| match parts.next() {
                Some((gradient, (moments, average))) => {
                    adam.step(&update, value, gradient, moments, &mut [(average, rate)])
                }
                None => value,
            })
        });
    }

    /// A copy with the averaged weights, without gradients.
    pub fn averaged(&self) -> M {
        let mut values = self.average.iter();
        params::map(Module::valid(self.module()), |_, value| values.next().cloned().unwrap_or(value))
    }
}
