//! Feature maps: what flows between the layers of a network.

use burn::tensor::{Device, Tensor};

use super::{Activation, cpu};

/// Images of features `[B, C, H, W]`.
///
/// On the CPU the numbers lie as the kernels read them, sixteen channels to a vector; elsewhere they are a plain
/// tensor. Only [`Map::from`] and [`Map::into_tensor`] ever change the layout, at the two ends of a network.
#[derive(Clone, Debug)]
pub struct Map {
    pub(super) values: Values,
    dims: [usize; 4],
}

/// The two layouts.
#[derive(Clone, Debug)]
pub(super) enum Values {
    /// `[B, C, H, W]`.
    Planes(Tensor<4>),
    /// `[B, C / 16, H, W, 16]`; what is beyond the last channel is zero.
    Panels(Tensor<5>),
}

impl From<Tensor<4>> for Map {
    fn from(x: Tensor<4>) -> Self {
        let dims = x.dims();
        let values = if cpu::runs(&x) { Values::Panels(cpu::to_panels(x)) } else { Values::Planes(x) };
        Self { values, dims }
    }
}

impl Map {
    /// A map that lies as kernels write it.
    pub(super) fn of_panels(values: Tensor<5>, channels: usize) -> Self {
        let [b, _, h, w, _] = values.dims();
        Self { values: Values::Panels(values), dims: [b, channels, h, w] }
    }

    /// `[B, C, H, W]`.
    pub fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// Where it lives.
    pub fn device(&self) -> Device {
        match &self.values {
            Values::Planes(x) => x.device(),
            Values::Panels(x) => x.device(),
        }
    }

    /// As kernels read it.
    pub(super) fn into_panels(self) -> Tensor<5> {
        match self.values {
            Values::Panels(x) => x,
            Values::Planes(_) => unreachable!("on the CPU maps are made of panels"),
        }
    }

    /// As a plain tensor.
    pub fn into_tensor(self) -> Tensor<4> {
        match self.values {
            Values::Planes(x) => x,
            Values::Panels(x) => cpu::to_planes(x, self.dims[1]),
        }
    }

    /// A token a pixel, row by row: `[B, H · W, C]`.
    pub fn into_tokens(self) -> Tensor<3> {
        let [b, c, h, w] = self.dims;
        match self.values {
            Values::Planes(x) => x.reshape([b, c, h * w]).swap_dims(1, 2),
            Values::Panels(x) => cpu::to_tokens(x, c),
        }
    }

    /// The inverse of [`into_tokens`](Self::into_tokens), for pictures of these sides.
    pub fn from_tokens(x: Tensor<3>, sides @ [h, w]: [usize; 2]) -> Self {
        let [b, _, c] = x.dims();
        if cpu::runs(&x) {
            return Self::of_panels(cpu::from_tokens(x, sides), c);
        }
        let planes = x.swap_dims(1, 2).reshape([b, c, h, w]);
        Self { values: Values::Planes(planes), dims: [b, c, h, w] }
    }

    /// Every number under a non-linearity, each of which keeps zero.
    pub fn activated(self, activation: Activation) -> Self {
        let values = match self.values {
            Values::Planes(x) => Values::Planes(activation.apply(x)),
            Values::Panels(x) => Values::Panels(activation.apply(x)),
        };
        Self { values, ..self }
    }

    /// Every number divided by `factor`: for free when that is one.
    pub fn divided(self, factor: f64) -> Self {
        if factor == 1.0 {
            return self;
        }
        let values = match self.values {
            Values::Planes(x) => Values::Planes(x / factor),
            Values::Panels(x) => Values::Panels(x / factor),
        };
        Self { values, ..self }
    }

    /// Whatever a function of plain tensors does.
    pub fn with(self, f: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Self {
        f(self.into_tensor()).into()
    }
}

/// One map, or the channels of two side by side, which need never be copied together.
#[derive(Clone, Debug)]
pub struct Joined {
    pub(super) first: Map,
    pub(super) second: Option<Map>,
}

impl From<Map> for Joined {
    fn from(first: Map) -> Self {
        Self { first, second: None }
    }
}

impl Joined {
    /// The channels of `first` followed by those of `second`.
    pub fn new(first: Map, second: Map) -> Self {
        let whole_vectors = first.dims()[1].is_multiple_of(cpu::LANES);
        match (&first.values, whole_vectors) {
            (Values::Panels(_), true) => Self { first, second: Some(second) },
            _ => Map::from(Tensor::cat(vec![first.into_tensor(), second.into_tensor()], 1)).into(),
        }
    }

    /// `[B, C, H, W]`, `C` of both.
    pub fn dims(&self) -> [usize; 4] {
        let [b, c, h, w] = self.first.dims();
        [b, c + self.second.as_ref().map_or(0, |m| m.dims()[1]), h, w]
    }

    /// As one map.
    pub fn into_map(self) -> Map {
        match self.second {
            None => self.first,
            Some(second) => match (self.first.values, second.values) {
                (Values::Panels(a), Values::Panels(b)) => {
                    let channels = self.first.dims[1] + second.dims[1];
                    Map::of_panels(Tensor::cat(vec![a, b], 1), channels)
                }
                _ => unreachable!("two maps stay apart only as panels"),
            },
        }
    }
}
