//! A graph with its weights: pictures in, vectors out.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Mutex;

use rayon::prelude::*;
use undiffuse_data::Image;
use undiffuse_data::text::hex;
use undiffuse_kernels::map;

use super::build::{Program, Source, build};
use super::graph::{Graph, Input};
use super::run::{Buffers, run};
use super::tensors::{Tensor, Tensors};
use super::{FeatureError, Features};

/// A feature network that can run.
pub struct FeatureNetwork {
    name: String,
    input: Input,
    program: Program,
    fingerprint: String,
    /// Memory between calls; taken for the length of one.
    buffers: Mutex<Buffers>,
}

impl FeatureNetwork {
    /// A network from its layers and weights.
    ///
    /// # Errors
    /// A text that says which layer or tensor does not fit.
    pub fn new(graph: &Graph, tensors: &Tensors) -> Result<FeatureNetwork, String> {
        FeatureNetwork::from_source(graph, &mut |name, _| {
            let some = || tensors.keys().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
            let tensor = tensors.get(name).map(Cow::Borrowed);
            tensor.ok_or_else(|| {
                format!("tensor `{name}` is missing; among its {} tensors are {}", tensors.len(), some())
            })
        })
    }

    /// A network whose weights are a function of a tensor's name and shape.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_fn(
        graph: &Graph,
        mut values: impl FnMut(&str, &[usize]) -> Vec<f32>,
    ) -> Result<FeatureNetwork, String> {
        FeatureNetwork::from_source(graph, &mut |name, shape| {
            Ok(Cow::Owned(Tensor { shape: shape.to_vec(), values: values(name, shape) }))
        })
    }

    fn from_source<'a>(graph: &Graph, source: &mut Source<'a>) -> Result<FeatureNetwork, String> {
        let program = build(graph, source)?;
        let fingerprint = hex(&program.fingerprint);
        let (name, input) = (graph.name.clone(), graph.input.clone());
        Ok(FeatureNetwork { name, input, program, fingerprint, buffers: Mutex::default() })
    }

    /// The same with an error that names the file of the weights.
    pub(super) fn boxed(
        graph: &Graph,
        tensors: &Tensors,
        path: &std::path::Path,
    ) -> Result<Box<dyn Features>, FeatureError> {
        match FeatureNetwork::new(graph, tensors) {
            Ok(network) => Ok(Box::new(network)),
            Err(problem) => {
                Err(FeatureError::Mismatch { path: path.to_path_buf(), network: graph.name.clone(), problem })
            }
        }
    }

    /// Vectors of pictures that have entered already: planes `[batch, channels, height, width]`, resized and normalised.
    /// Appends `[batch, dims]` to `out`.
    ///
    /// # Panics
    /// If `planes` is no whole number of pictures.
    pub fn forward(&self, planes: &[f32], out: &mut Vec<f32>) {
        let (channels, (h, w)) = (usize::from(self.input.channels), self.input.size.get());
        let mut buffers = self.buffers.lock().map(|mut b| std::mem::take(&mut *b)).unwrap_or_default();
        for planes in planes.chunks(self.at_once() * channels * h * w) {
            let batch = planes.len() / (channels * h * w);
            // On one of the pool's threads the operations need not wait for another to begin.
            let (vectors, ()) = rayon::join(
                || {
                    let mut x = buffers.take(map::len(batch, channels, h * w));
                    map::from_planes(planes, channels, h * w, &mut x);
                    let vectors = run(&self.program.ops, batch, &x, &mut buffers);
                    buffers.give(x);
                    vectors
                },
                || (),
            );
            out.extend_from_slice(&vectors);
            buffers.give(vectors);
        }
        if let Ok(mut kept) = self.buffers.lock() {
            *kept = buffers;
        }
    }

    /// Names of the tensors that it is made of.
    pub(super) fn reads(&self) -> &BTreeSet<String> {
        &self.program.reads
    }

    /// Pictures that run together: enough to share the packing of weights, few enough for memory.
    fn at_once(&self) -> usize {
        let (h, w) = self.input.size.get();
        (PIXELS / (h * w)).clamp(1, 256)
    }
}

/// Input pixels that run together, about.
const PIXELS: usize = 12 * 224 * 224;

impl Features for FeatureNetwork {
    fn name(&self) -> &str {
        &self.name
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn input(&self) -> String {
        let (h, w) = self.input.size.get();
        let list = |v: &[f32]| v.iter().map(|x| x.to_string()).collect::<Vec<_>>().join(", ");
        let (mean, std) = (list(&self.input.mean), list(&self.input.std));
        format!("{h}×{w}, {}, mean {mean}, deviation {std}", self.input.resize.describe())
    }

    fn dims(&self) -> usize {
        self.program.dims
    }

    fn extract(&self, images: &[Image], out: &mut Vec<f32>) {
        for images in images.chunks(self.at_once()) {
            let planes: Vec<f32> = images.par_iter().flat_map_iter(|image| enter(&self.input, image)).collect();
            self.forward(&planes, out);
        }
    }
}

/// A picture as a network reads it: `[channels, height, width]`.
pub(super) fn enter(input: &Input, image: &Image) -> Vec<f32> {
    let (h, w) = input.size.get();
    let channels = usize::from(input.channels);
    let image = if channels == 1 && image.channels != 1 { &image.to_grey() } else { image };
    // What repeats grey afterwards gives the same numbers for a third of the work.
    let planes = input.resize.planes(image, h, w);
    let plane = |c: usize| &planes[c.min(image.channels - 1) * h * w..][..h * w];
    let scaled = |c: usize| {
        let (scale, shift) = (1.0 / (255.0 * input.std[c]), input.mean[c] / input.std[c]);
        plane(c).iter().map(move |v| v * scale - shift)
    };
    (0..channels).flat_map(scaled).collect()
}
