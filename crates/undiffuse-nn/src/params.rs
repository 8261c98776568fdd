//! A module's parameters by name, as flat vectors: what weights files, optimisers and averages
//! work on.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bytes, DType, Device, Tensor, TensorData};

/// How a parameter begins; its layer says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every number the same.
    Constant(f32),
    /// Uniform in ±gain/√fan_in, the fan being that of the layer's weight. A gain of 1 is PyTorch's default.
    Uniform(f32),
    /// Normal with this deviation.
    Normal(f32),
}

impl Init {
    /// An id to give a parameter that begins like this. Burn carries a parameter's id wherever its module goes, and nothing
    /// else that a layer could write on: the number is the upper half, the kind the last two bits, chance the rest.
    pub(crate) fn id(self) -> ParamId {
        let (kind, number) = match self {
            Self::Constant(value) => (0, value),
            Self::Uniform(gain) => (1, gain),
            Self::Normal(deviation) => (2, deviation),
        };
        let chance = ParamId::new().val() & 0xffff_fffc;
        ParamId::from(u64::from(number.to_bits()) << 32 | chance | kind)
    }

    /// What the layer of a parameter with this id says.
    pub(crate) fn of(id: ParamId) -> Self {
        let number = f32::from_bits((id.val() >> 32) as u32);
        match id.val() & 3 {
            0 => Self::Constant(number),
            1 => Self::Uniform(number),
            _ => Self::Normal(number),
        }
    }
}

/// The dotted path of the module that is being walked. Enum variants are no part of a name.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum") {
            // `self` cannot be a field's name, and is a module's in transformers.
            self.0.push(name.strip_suffix('_').unwrap_or(name).to_owned());
        }
    }
    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum") {
            self.0.pop();
        }
    }
    fn name(&self) -> String {
        self.0.join(".")
    }
}

/// What a walk with a [`Path`] in front does at each module.
macro_rules! keeps_path {
    () => {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, container: &str) {
            self.0.exit(container);
        }
    };
}

/// One parameter while a module is walked.
pub struct Parameter {
    /// Dotted path, as in diffusers' files.
    pub name: String,
    /// Shape of the tensor.
    pub shape: Vec<usize>,
    /// The values `[elements]`, on the parameter's device, gradient tracking included.
    pub value: Tensor<1>,
    /// How it begins.
    pub init: Init,
}

struct Visit<F>(Path, F);

impl<F: FnMut(Parameter)> ModuleVisitor for Visit<F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        (self.1)(parameter(self.0.name(), param));
    }
    keeps_path!();
}

fn parameter<const D: usize>(name: String, param: &Param<Tensor<D>>) -> Parameter {
    let value = param.val();
    let shape = value.dims().to_vec();
    let elements = shape.iter().product::<usize>();
    Parameter { init: Init::of(param.id), name, shape, value: value.reshape([elements]) }
}

/// Calls `f` on every parameter, in the module's order.
pub fn for_each<M: Module>(module: &M, f: impl FnMut(Parameter)) {
    module.visit(&mut Visit(Path::default(), f));
}

struct Gradients<'a, F>(Path, &'a mut burn::tensor::Gradients, F);

impl<F: FnMut(String, Tensor<1>)> ModuleVisitor for Gradients<'_, F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.0.name();
        if let Some(gradient) = param.val().grad_remove(self.1) {
            let elements = gradient.dims().iter().product::<usize>();
            (self.2)(name, gradient.reshape([elements]));
        }
    }
    keeps_path!();
}

/// Takes every trained parameter's gradient out of `gradients`, flat, in the module's order.
pub fn take_gradients<M: Module>(
    module: &M,
    gradients: &mut burn::tensor::Gradients,
    f: impl FnMut(String, Tensor<1>),
) {
    module.visit(&mut Gradients(Path::default(), gradients, f));
}

struct Map<W, F>(Path, W, F);

impl<W: Fn(&str) -> bool, F: FnMut(&str, Tensor<1>) -> Tensor<1>> ModuleMapper for Map<W, F> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.0.name();
        if !(self.1)(&name) {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let (shape, track, trained) = (tensor.dims(), tensor.is_autodiff(), tensor.is_require_grad());
        let elements = shape.iter().product::<usize>();
        let value = (self.2)(&name, tensor.inner().reshape([elements])).reshape(shape);
        let value = if track { value.autodiff().set_require_grad(trained) } else { value };
        Param::from_mapped_value(id, value, mapper)
    }
    keeps_path!();
}

/// Replaces parameters: `f` sees each one's name and flat values (without gradient tracking) and
/// returns the new values.
pub fn map<M: Module>(module: M, f: impl FnMut(&str, Tensor<1>) -> Tensor<1>) -> M {
    map_where(module, |_| true, f)
}

/// The same of the parameters whose names `wanted` passes; values of the others that nobody has asked for are not made.
pub fn map_where<M: Module>(
    module: M,
    wanted: impl Fn(&str) -> bool,
    f: impl FnMut(&str, Tensor<1>) -> Tensor<1>,
) -> M {
    module.map(&mut Map(Path::default(), wanted, f))
}

/// The values of a flat tensor on the host.
pub fn to_host(value: Tensor<1>) -> Vec<f32> {
    value.try_into_vec_as::<f32>().expect("a float tensor converts to f32")
}

/// A flat tensor from host values.
pub fn from_host(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// A flat tensor of numbers in f32 that lie somewhere already.
pub(crate) fn from_bytes(numbers: Bytes, device: &Device) -> Tensor<1> {
    let n = numbers.len() / size_of::<f32>();
    Tensor::from_data(TensorData::from_bytes(numbers, [n], DType::F32), device)
}

struct Shapes<F>(Path, F);

impl<F: FnMut(&str, &[usize])> ModuleVisitor for Shapes<F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        (self.1)(&self.0.name(), &param.lazy_shape());
    }
    keeps_path!();
}

/// Calls `f` with every parameter's name and shape, in the module's order. Values that nobody has asked for yet are not
/// made.
pub fn shapes<M: Module>(module: &M, f: impl FnMut(&str, &[usize])) {
    module.visit(&mut Shapes(Path::default(), f));
}

/// Trained and untrained numbers in the module; `usize::MAX` stands for more. Values that nobody has asked for yet are not
/// made.
pub fn count<M: Module>(module: &M) -> usize {
    let mut n = 0usize;
    shapes(module, |_, shape| n = n.saturating_add(shape.iter().fold(1, |n, &side| usize::saturating_mul(n, side))));
    n
}

/// The device of a module's parameters. Values that nobody has asked for yet are not made.
///
/// # Panics
/// If it has none.
pub fn device<M: Module>(module: &M) -> Device {
    module.devices().swap_remove(0)
}
