//! Graph + weights → operations: shapes are inferred, tensors found and checked, normalisation folded into filters.

use std::borrow::Cow;
use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use undiffuse_kernels::activation::Activation as Kernel;
use undiffuse_kernels::clamp::Clamp;
use undiffuse_kernels::conv2d::Conv2d;
use undiffuse_kernels::depthwise::Window;

use super::graph::{Activation, Conv, Graph, Layer, Linear, Norm, Pair};
use super::tensors::Tensor;

/// What flows between operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A map.
    Map { channels: usize, h: usize, w: usize },
    /// A vector.
    Vector(usize),
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shape::Map { channels, h, w } => write!(f, "{channels} channels of {h}×{w}"),
            Shape::Vector(n) => write!(f, "a vector of {n}"),
        }
    }
}

/// An operation, its shapes known but for the batch (which is 0 in them).
pub(super) enum Op {
    Conv {
        shape: Conv2d,
        weight: Vec<f32>,
        bias: Vec<f32>,
        then: Clamp,
    },
    Depthwise {
        shape: Window,
        weight: Vec<f32>,
        bias: Vec<f32>,
        then: Clamp,
    },
    MaxPool(Window),
    AvgPool {
        shape: Window,
        count_padding: bool,
    },
    GlobalPool {
        channels: usize,
        pixels: usize,
    },
    Flatten {
        channels: usize,
        pixels: usize,
    },
    Linear {
        c_in: usize,
        c_out: usize,
        weight: Vec<f32>,
        bias: Vec<f32>,
    },
    Activation(Kernel),
    Clamp(Clamp),
    /// The second list is the shortcut.
    Residual([Vec<Op>; 2]),
    /// Ways, and the channels of each.
    Branches {
        ways: Vec<(Vec<Op>, usize)>,
        pixels: usize,
    },
}

/// A network that can run.
pub(super) struct Program {
    pub ops: Vec<Op>,
    /// Numbers in a vector.
    pub dims: usize,
    /// Names of the tensors that were read.
    pub reads: BTreeSet<String>,
    /// Of the graph and of every tensor that was read.
    pub fingerprint: [u8; 32],
}

/// Layers inside layers, and how many in all: a file may ask for no more.
const DEPTH: usize = 16;
const LAYERS: usize = 10_000;

/// Numbers of a map of one picture, in memory, where channels come by sixteen.
const NUMBERS: usize = 1 << 25;

/// Why a graph and weights do not make a network: which layer or tensor, what was expected and what was found.
pub(super) type Problem = String;

/// Gives the tensor of a name, which should have a shape.
pub(super) type Source<'a> = dyn FnMut(&str, &[usize]) -> Result<Cow<'a, Tensor>, Problem> + 'a;

/// Builds the operations of a graph.
pub(super) fn build<'a>(graph: &Graph, source: &mut Source<'a>) -> Result<Program, Problem> {
    let input = &graph.input;
    let (h, w) = input.size.get();
    let channels = usize::from(input.channels);
    if !matches!(channels, 1 | 3) {
        return Err(format!("`input.channels` is {channels}; pictures have 1 or 3"));
    }
    if input.mean.len() != channels || input.std.len() != channels {
        return Err(format!("`input.mean` and `input.std` have to hold one number for each of {channels} channels"));
    }
    if input.std.iter().any(|s| s.is_nan() || *s <= 0.0) || input.mean.iter().any(|m| !m.is_finite()) {
        return Err("`input.std` has to be above 0, and `input.mean` finite".into());
    }
    let mut hash = Sha256::new();
    hash.update(serde_json::to_string(graph).map_err(|e| e.to_string())?);
    let mut builder = Builder { source, hash, reads: BTreeSet::new(), layers: 0 };
    let (ops, shape) = builder.layers(&graph.layers, sized("the input", channels, h, w)?, 0)?;
    match shape {
        Shape::Vector(dims) => {
            Ok(Program { ops, dims, reads: builder.reads, fingerprint: builder.hash.finalize().into() })
        }
        Shape::Map { .. } => {
            Err(format!("the last layer leaves {shape}; end with `global-pool`, `flatten` or `linear`"))
        }
    }
}

/// A shape, if it is neither empty nor enormous.
fn sized(what: &str, channels: usize, h: usize, w: usize) -> Result<Shape, Problem> {
    let numbers = channels.next_multiple_of(16).checked_mul(h).and_then(|n| n.checked_mul(w)).unwrap_or(usize::MAX);
    match numbers {
        1..=NUMBERS => Ok(Shape::Map { channels, h, w }),
        _ => Err(format!("{what} has {channels} channels of {h}×{w}; that is nothing, or more than {NUMBERS} numbers")),
    }
}

/// A filter in the making, in double precision.
struct Filter {
    weight: Vec<f64>,
    bias: Vec<f64>,
}

struct Builder<'s, 'a> {
    source: &'s mut Source<'a>,
    hash: Sha256,
    reads: BTreeSet<String>,
    layers: usize,
}

impl<'a> Builder<'_, 'a> {
    fn layers(&mut self, layers: &[Layer], mut shape: Shape, depth: usize) -> Result<(Vec<Op>, Shape), Problem> {
        if depth > DEPTH {
            return Err(format!("layers lie more than {DEPTH} deep inside each other"));
        }
        let mut ops = Vec::with_capacity(layers.len());
        for layer in layers {
            self.layers += 1;
            if self.layers > LAYERS {
                return Err(format!("there are more than {LAYERS} layers"));
            }
            shape = self.layer(layer, shape, depth, &mut ops)?;
        }
        Ok((ops, shape))
    }

    fn layer(&mut self, layer: &Layer, shape: Shape, depth: usize, ops: &mut Vec<Op>) -> Result<Shape, Problem> {
        match layer {
            Layer::Conv(conv) => self.conv(conv, shape, ops),
            Layer::Linear(linear) => self.linear(linear, shape, ops),
            Layer::MaxPool { kernel, stride, padding } => {
                let (window, out) = window("max-pool", shape, *kernel, *stride, *padding)?;
                ops.push(Op::MaxPool(window));
                Ok(out)
            }
            Layer::AvgPool { kernel, stride, padding, count_include_pad } => {
                let (shape, out) = window("avg-pool", shape, *kernel, *stride, *padding)?;
                ops.push(Op::AvgPool { shape, count_padding: *count_include_pad });
                Ok(out)
            }
            Layer::GlobalPool {} => {
                let (channels, h, w) = map("global-pool", shape)?;
                ops.push(Op::GlobalPool { channels, pixels: h * w });
                Ok(Shape::Vector(channels))
            }
            Layer::Flatten {} => {
                let (channels, h, w) = map("flatten", shape)?;
                ops.push(Op::Flatten { channels, pixels: h * w });
                Ok(Shape::Vector(channels * h * w))
            }
            Layer::Activation { activation } => {
                activate(*activation, ops);
                Ok(shape)
            }
            Layer::Residual { layers, shortcut, activation } => {
                let (inner, left) = self.layers(layers, shape, depth + 1)?;
                let (short, right) = self.layers(shortcut, shape, depth + 1)?;
                if left != right {
                    return Err(format!("a residual adds {left} to {right}"));
                }
                ops.push(Op::Residual([inner, short]));
                activate(*activation, ops);
                Ok(left)
            }
            Layer::Branches { branches } => self.branches(branches, shape, depth, ops),
        }
    }

    fn branches(
        &mut self,
        branches: &[Vec<Layer>],
        shape: Shape,
        depth: usize,
        ops: &mut Vec<Op>,
    ) -> Result<Shape, Problem> {
        let mut size = None;
        let mut ways = Vec::with_capacity(branches.len());
        for layers in branches {
            let (ops, out) = self.layers(layers, shape, depth + 1)?;
            let (channels, h, w) = map("branches", out)?;
            let (first_h, first_w) = *size.get_or_insert((h, w));
            if (first_h, first_w) != (h, w) {
                return Err(format!("branches end in maps of different sizes: {first_h}×{first_w} and {h}×{w}"));
            }
            ways.push((ops, channels));
        }
        let (h, w) = size.ok_or("`branches` has no branch")?;
        let channels = ways.iter().map(|(_, channels)| channels).sum();
        ops.push(Op::Branches { ways, pixels: h * w });
        sized("what branches join", channels, h, w)
    }

    fn conv(&mut self, conv: &Conv, shape: Shape, ops: &mut Vec<Op>) -> Result<Shape, Problem> {
        let name = &conv.name;
        let (c_in, h, w) = map(name, shape)?;
        let (c_out, stride) = (usize::from(conv.out), usize::from(conv.stride));
        let (kernel, pad) = (conv.kernel.get(), conv.padding.get());
        if conv.depthwise && c_in != c_out {
            return Err(format!("`{name}` is depthwise and makes {c_out} channels of {c_in}; they have to be as many"));
        }
        let [out_h, out_w] = [(h, kernel.0, pad.0), (w, kernel.1, pad.1)].map(|(n, k, p)| out(n, k, stride, p));
        let (Some(out_h), Some(out_w)) = (out_h, out_w) else {
            return Err(format!(
                "`{name}`: a filter of {kernel:?} with stride {stride} and padding {pad:?} does not fit {shape}"
            ));
        };
        let result = sized(&format!("`{name}`"), c_out, out_h, out_w)?;
        let ins = if conv.depthwise { 1 } else { c_in };
        let filter = self.filter(name, &[c_out, ins, kernel.0, kernel.1], conv.bias, conv.norm.as_ref())?;
        let [weight, bias] = [filter.weight, filter.bias].map(narrow);
        let (then, after) = split(conv.activation);
        ops.push(if conv.depthwise {
            let shape = Window { batch: 0, channels: c_in, h, w, kernel, stride, pad };
            if pad.0 >= kernel.0 || pad.1 >= kernel.1 {
                return Err(format!("`{name}`: a depthwise filter of {kernel:?} takes less padding than {pad:?}"));
            }
            Op::Depthwise { shape, weight, bias, then }
        } else {
            let pad = [pad.0, pad.1, pad.0, pad.1];
            let shape = Conv2d { batch: 0, c_in: [c_in, 0], h, w, c_out, kernel, stride, pad, upsample: false };
            Op::Conv { shape, weight, bias, then }
        });
        ops.extend(after.map(Op::Activation));
        Ok(result)
    }

    fn linear(&mut self, linear: &Linear, shape: Shape, ops: &mut Vec<Op>) -> Result<Shape, Problem> {
        let Shape::Vector(c_in) = shape else {
            return Err(format!(
                "`{}` gets {shape}; put `global-pool` or `flatten` before a linear layer",
                linear.name
            ));
        };
        let c_out = usize::from(linear.out);
        let filter = self.filter(&linear.name, &[c_out, c_in], linear.bias, None)?;
        let [weight, bias] = [filter.weight, filter.bias].map(narrow);
        if c_out == 0 {
            return Err(format!("`{}` leaves no numbers", linear.name));
        }
        ops.push(Op::Linear { c_in, c_out, weight, bias });
        activate(linear.activation, ops);
        Ok(Shape::Vector(c_out))
    }

    /// `w γ / √(variance + eps)` and `(b − mean) γ / √(variance + eps) + β`.
    fn filter(&mut self, name: &str, shape: &[usize], bias: bool, norm: Option<&Norm>) -> Result<Filter, Problem> {
        let outs = shape[0];
        let weight = wide(&self.tensor(&format!("{name}.weight"), shape)?.values);
        let bias = match bias {
            true => wide(&self.tensor(&format!("{name}.bias"), &[outs])?.values),
            false => vec![0.0; outs],
        };
        let mut filter = Filter { weight, bias };
        let Some(Norm { name, eps }) = norm else {
            return Ok(filter);
        };
        let mut of = |part: &str| Ok::<_, Problem>(wide(&self.tensor(&format!("{name}.{part}"), &[outs])?.values));
        let [gamma, beta, mean, variance] = [of("weight")?, of("bias")?, of("running_mean")?, of("running_var")?];
        let of_output = filter.weight.len().checked_div(outs).unwrap_or(0);
        for o in 0..outs {
            let scale = gamma[o] / (variance[o] + eps).sqrt();
            if !scale.is_finite() {
                return Err(format!(
                    "`{name}` divides by the root of {} + {eps}, the variance of channel {o}",
                    variance[o]
                ));
            }
            filter.weight[o * of_output..(o + 1) * of_output].iter_mut().for_each(|w| *w *= scale);
            filter.bias[o] = (filter.bias[o] - mean[o]) * scale + beta[o];
        }
        Ok(filter)
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Cow<'a, Tensor>, Problem> {
        let tensor = (self.source)(name, shape)?;
        if tensor.shape != shape {
            return Err(format!("tensor `{name}` is {:?}; {shape:?} was expected", tensor.shape));
        }
        if tensor.values.len() != shape.iter().product::<usize>() {
            return Err(format!("tensor `{name}` has {} numbers; {shape:?} was expected", tensor.values.len()));
        }
        if let Some(at) = tensor.values.iter().position(|v| !v.is_finite()) {
            return Err(format!("tensor `{name}` holds {} at {at}; weights are finite", tensor.values[at]));
        }
        self.reads.insert(name.to_owned());
        self.hash.update(name);
        self.hash.update(format!("{shape:?}"));
        for values in tensor.values.chunks(1 << 12) {
            self.hash.update(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        }
        Ok(tensor)
    }
}

/// Adds what a non-linearity needs.
fn activate(activation: Activation, ops: &mut Vec<Op>) {
    let (then, after) = split(activation);
    if then != Clamp::NONE {
        ops.push(Op::Clamp(then));
    }
    ops.extend(after.map(Op::Activation));
}

/// A non-linearity as what an operation can do while it writes, and what has to be done after it.
fn split(activation: Activation) -> (Clamp, Option<Kernel>) {
    match activation {
        Activation::None => (Clamp::NONE, None),
        Activation::Relu => (Clamp::RELU, None),
        Activation::Relu6 => (Clamp::RELU6, None),
        Activation::Silu => (Clamp::NONE, Some(Kernel::Silu)),
        Activation::Gelu => (Clamp::NONE, Some(Kernel::Gelu)),
    }
}

/// Channels, height and width, if it is a map.
fn map(what: &str, shape: Shape) -> Result<(usize, usize, usize), Problem> {
    match shape {
        Shape::Map { channels, h, w } => Ok((channels, h, w)),
        Shape::Vector(_) => Err(format!("`{what}` needs a map and gets {shape}")),
    }
}

/// How many windows fit a side.
fn out(size: usize, kernel: usize, stride: usize, pad: usize) -> Option<usize> {
    let fits = kernel > 0 && stride > 0;
    fits.then(|| (size + 2 * pad).checked_sub(kernel).map(|room| room / stride + 1)).flatten()
}

fn window(what: &str, shape: Shape, kernel: Pair, stride: u16, padding: Pair) -> Result<(Window, Shape), Problem> {
    let (channels, h, w) = map(what, shape)?;
    let (kernel, pad, stride) = (kernel.get(), padding.get(), usize::from(stride));
    let sizes = [(h, kernel.0, pad.0), (w, kernel.1, pad.1)].map(|(n, k, p)| out(n, k, stride, p).filter(|_| p < k));
    let [Some(out_h), Some(out_w)] = sizes else {
        return Err(format!("`{what}` of {kernel:?} with stride {stride} and padding {pad:?} does not fit {shape}"));
    };
    Ok((Window { batch: 0, channels, h, w, kernel, stride, pad }, sized(what, channels, out_h, out_w)?))
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

fn narrow(values: Vec<f64>) -> Vec<f32> {
    values.into_iter().map(|v| v as f32).collect()
}
