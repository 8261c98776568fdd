//! Networks beside a model's own, whose weights are read when they are first needed.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use undiffuse_nn::params;
use undiffuse_nn::weights::{Stored, WeightsError};

/// A network, or half of one, whose weights lie in open files until somebody needs them, and may be let go again. What is read
/// later is what was there when the files were opened, unless somebody writes into them.
pub struct Part<N> {
    source: Option<Source<N>>,
    held: Mutex<Option<Arc<N>>>,
}

struct Source<N> {
    stored: Mutex<Stored<File>>,
    /// Of the weights in memory.
    bytes: u64,
    blank: Box<dyn Fn() -> N + Send + Sync>,
    wanted: fn(&str) -> bool,
    then: Box<dyn Fn(N) -> Result<N, WeightsError> + Send + Sync>,
}

impl<N: Module + 'static> Part<N> {
    /// Those parameters of a network that `wanted` passes by their names; the others stay blank. `blank` makes the network,
    /// without memory for what is in it.
    ///
    /// # Errors
    /// Tensors that are not the network's.
    pub fn new(
        stored: Stored<File>,
        wanted: fn(&str) -> bool,
        blank: impl Fn() -> N + Send + Sync + 'static,
    ) -> Result<Self, WeightsError> {
        let network = blank();
        stored.check(&network)?;
        let (stored, bytes) = (Mutex::new(stored), bytes_of(&network, wanted));
        let source = Source { stored, bytes, blank: Box::new(blank), wanted, then: Box::new(Ok) };
        Ok(Self { source: Some(source), held: Mutex::default() })
    }

    /// The same, of which `then` makes another whenever it is read.
    pub fn then(mut self, then: impl Fn(N) -> Result<N, WeightsError> + Send + Sync + 'static) -> Self {
        if let Some(source) = &mut self.source {
            source.then = Box::new(then);
        }
        self
    }

    /// The network; read if it is not in memory.
    ///
    /// # Errors
    /// Values that cannot be read, are infinite or not a number.
    pub fn get(&self) -> Result<Arc<N>, WeightsError> {
        let mut held = lock(&self.held);
        if let Some(network) = &*held {
            return Ok(Arc::clone(network));
        }
        let Source { stored, blank, wanted, then, .. } = self.source.as_ref().expect("a part is held or has a source");
        let network = Arc::new(then(lock(stored).fill_where(blank(), *wanted)?)?);
        *held = Some(Arc::clone(&network));
        Ok(network)
    }

    /// Bytes of its weights in memory; 0 where they are there anyway.
    pub fn bytes(&self) -> u64 {
        self.source.as_ref().map_or(0, |source| source.bytes)
    }

    /// Bytes that [`release`](Self::release) gives back.
    pub fn held(&self) -> u64 {
        if lock(&self.held).is_some() { self.bytes() } else { 0 }
    }

    /// Gives the memory back, where the weights can be read again.
    pub fn release(&self) {
        if self.source.is_some() {
            *lock(&self.held) = None;
        }
    }
}

/// Bytes of those parameters of a network that `wanted` passes; `u64::MAX` stands for more.
fn bytes_of<N: Module>(network: &N, wanted: fn(&str) -> bool) -> u64 {
    let mut numbers = 0u64;
    params::shapes(network, |name, shape| {
        let all = shape.iter().fold(1, |all: u64, &side| all.saturating_mul(side as u64));
        numbers = numbers.saturating_add(if wanted(name) { all } else { 0 });
    });
    numbers.saturating_mul(4)
}

/// A network that is in memory, and stays there.
impl<N> From<Arc<N>> for Part<N> {
    fn from(network: Arc<N>) -> Self {
        Self { source: None, held: Mutex::new(Some(network)) }
    }
}

impl<N> fmt::Debug for Part<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("held", &lock(&self.held).is_some()).finish_non_exhaustive()
    }
}

/// Why what a network makes of data is not made, or not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("what it makes of the data can't be kept: {0}")]
    Disk(#[from] io::Error),
}

/// What a lock holds; whoever panicked with it had read nothing yet.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
