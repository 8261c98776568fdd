//! Which device a program runs on, chosen at run time by name.

use burn::tensor::Device;

/// A device name that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Not a device name.
    #[error(
        "`{0}` is not a device: use cpu, cuda:0, rocm:0, vulkan:0, metal:0 or webgpu:0 (the number picks one of several)"
    )]
    Unknown(String),
    /// A real device whose support was left out of this build.
    #[error(
        "this build has no `{feature}` support: build it again with `cargo build --release --features {feature}`, or use --device cpu"
    )]
    NotCompiled {
        /// The cargo feature that brings it.
        feature: String,
    },
}

/// Which of several devices of a kind.
#[derive(Clone, Copy)]
#[cfg_attr(not(any(feature = "cuda", feature = "rocm")), allow(dead_code))]
enum Which {
    Default,
    Number(usize),
    /// A graphics API's software device, such as Mesa's.
    Software,
}

impl Which {
    #[cfg(any(feature = "cuda", feature = "rocm"))]
    fn number(self) -> usize {
        match self {
            Which::Number(n) => n,
            _ => 0,
        }
    }

    #[cfg(any(feature = "vulkan", feature = "metal", feature = "webgpu"))]
    fn graphics(self) -> burn::tensor::DeviceKind {
        match self {
            Which::Default => burn::tensor::DeviceKind::DefaultDevice,
            Which::Number(n) => burn::tensor::DeviceKind::DiscreteGpu(n),
            Which::Software => burn::tensor::DeviceKind::Cpu,
        }
    }
}

/// A device kind: its name (which is its cargo feature), and how to open one when it is compiled in.
struct Kind {
    name: &'static str,
    open: Option<fn(Which) -> Device>,
}

macro_rules! gpu {
    ($name:literal, $open:expr) => {{
        #[cfg(feature = $name)]
        let open: Option<fn(Which) -> Device> = Some($open);
        #[cfg(not(feature = $name))]
        let open: Option<fn(Which) -> Device> = None;
        Kind { name: $name, open }
    }};
}

fn kinds() -> [Kind; 6] {
    [
        Kind { name: "cpu", open: Some(|_| Device::flex()) },
        gpu!("cuda", |which| Device::cuda(which.number())),
        gpu!("rocm", |which| Device::rocm(which.number())),
        gpu!("vulkan", |which| Device::vulkan(which.graphics())),
        gpu!("metal", |which| Device::metal(which.graphics())),
        gpu!("webgpu", |which| Device::webgpu(which.graphics())),
    ]
}

/// Opens a device by name: `cpu`, or a GPU kind with an optional number (`cuda`, `cuda:1`) or, for
/// graphics APIs, `:cpu` for a software device (`vulkan:cpu`).
///
/// # Errors
/// Names that mean nothing, and kinds that this build was made without; the message names the
/// cargo feature.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    let unknown = || DeviceError::Unknown(name.to_owned());
    let (kind, which) = match name.split_once(':') {
        None => (name, Which::Default),
        Some((kind, "cpu")) if kind != "cpu" => (kind, Which::Software),
        Some((kind, number)) => (kind, Which::Number(number.parse().map_err(|_| unknown())?)),
    };
    let kind = kinds().into_iter().find(|k| k.name == kind).ok_or_else(unknown)?;
    match kind.open {
        Some(open) => Ok(open(which)),
        None => Err(DeviceError::NotCompiled { feature: kind.name.to_owned() }),
    }
}

/// The device kinds that this build can open.
pub fn compiled() -> Vec<&'static str> {
    kinds().into_iter().filter(|k| k.open.is_some()).map(|k| k.name).collect()
}
