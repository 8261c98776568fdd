//! InceptionV3 \[Szegedy16\] in pytorch-fid's variant, which follows the TensorFlow network of \[Heusel17\]: averages leave
//! padding out, and the last block takes a maximum. 2048 numbers of its global pooling ("pool3").

use super::graph::{Activation, Conv, Graph, Input, Layer, Norm, Pair};
use super::resize::Resize;

/// The network; tensor names are those of pytorch-fid's and torchvision's.
pub(super) fn graph(name: &str, resize: Resize) -> Graph {
    let top = |name: &str, out, kernel, stride, padding| conv(name, out, [kernel; 2], stride, [padding; 2]);
    let mut layers = vec![
        top("Conv2d_1a_3x3", 32, 3, 2, 0),
        top("Conv2d_2a_3x3", 32, 3, 1, 0),
        top("Conv2d_2b_3x3", 64, 3, 1, 1),
        shrink(),
        top("Conv2d_3b_1x1", 80, 1, 1, 0),
        top("Conv2d_4a_3x3", 192, 3, 1, 0),
        shrink(),
    ];
    layers.extend([("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)].map(|(name, pool)| a(name, pool)));
    layers.push(b("Mixed_6a"));
    let inner = [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)];
    layers.extend(inner.map(|(name, inner)| c(name, inner)));
    layers.push(d("Mixed_7a"));
    layers.push(e("Mixed_7b", mean()));
    layers.push(e("Mixed_7c", Layer::MaxPool { kernel: Pair::Both(3), stride: 1, padding: Pair::Both(1) }));
    layers.push(Layer::GlobalPool {});
    let input = Input { size: Pair::Both(299), channels: 3, resize, mean: vec![0.5; 3], std: vec![0.5; 3] };
    Graph { name: name.into(), input, layers }
}

/// A convolution, its normalisation and a rectifier.
fn conv(name: &str, out: u16, kernel: [u16; 2], stride: u16, padding: [u16; 2]) -> Layer {
    Layer::Conv(Conv {
        name: format!("{name}.conv"),
        out,
        kernel: Pair::Each(kernel),
        stride,
        padding: Pair::Each(padding),
        depthwise: false,
        bias: false,
        norm: Some(Norm { name: format!("{name}.bn"), eps: 1e-3 }),
        activation: Activation::Relu,
    })
}

/// One of stride 1 that keeps the size.
fn same(name: String, out: u16, [down, across]: [u16; 2]) -> Layer {
    conv(&name, out, [down, across], 1, [down / 2, across / 2])
}

fn shrink() -> Layer {
    Layer::MaxPool { kernel: Pair::Both(3), stride: 2, padding: Pair::Both(0) }
}

fn mean() -> Layer {
    Layer::AvgPool { kernel: Pair::Both(3), stride: 1, padding: Pair::Both(1), count_include_pad: false }
}

fn a(name: &str, pool: u16) -> Layer {
    let at = |part: &str, out, size| same(format!("{name}.{part}"), out, [size; 2]);
    Layer::Branches {
        branches: vec![
            vec![at("branch1x1", 64, 1)],
            vec![at("branch5x5_1", 48, 1), at("branch5x5_2", 64, 5)],
            vec![at("branch3x3dbl_1", 64, 1), at("branch3x3dbl_2", 96, 3), at("branch3x3dbl_3", 96, 3)],
            vec![mean(), at("branch_pool", pool, 1)],
        ],
    }
}

fn b(name: &str) -> Layer {
    let at = |part: &str, out, size| same(format!("{name}.{part}"), out, [size; 2]);
    let halve = |part: &str, out| conv(&format!("{name}.{part}"), out, [3; 2], 2, [0; 2]);
    Layer::Branches {
        branches: vec![
            vec![halve("branch3x3", 384)],
            vec![at("branch3x3dbl_1", 64, 1), at("branch3x3dbl_2", 96, 3), halve("branch3x3dbl_3", 96)],
            vec![shrink()],
        ],
    }
}

fn c(name: &str, inner: u16) -> Layer {
    let at = |part: &str, out, size| same(format!("{name}.{part}"), out, size);
    let (across, down) = ([1, 7], [7, 1]);
    Layer::Branches {
        branches: vec![
            vec![at("branch1x1", 192, [1; 2])],
            vec![at("branch7x7_1", inner, [1; 2]), at("branch7x7_2", inner, across), at("branch7x7_3", 192, down)],
            vec![
                at("branch7x7dbl_1", inner, [1; 2]),
                at("branch7x7dbl_2", inner, down),
                at("branch7x7dbl_3", inner, across),
                at("branch7x7dbl_4", inner, down),
                at("branch7x7dbl_5", 192, across),
            ],
            vec![mean(), at("branch_pool", 192, [1; 2])],
        ],
    }
}

fn d(name: &str) -> Layer {
    let at = |part: &str, size| same(format!("{name}.{part}"), 192, size);
    let halve = |part: &str, out| conv(&format!("{name}.{part}"), out, [3; 2], 2, [0; 2]);
    Layer::Branches {
        branches: vec![
            vec![at("branch3x3_1", [1; 2]), halve("branch3x3_2", 320)],
            vec![
                at("branch7x7x3_1", [1; 2]),
                at("branch7x7x3_2", [1, 7]),
                at("branch7x7x3_3", [7, 1]),
                halve("branch7x7x3_4", 192),
            ],
            vec![shrink()],
        ],
    }
}

fn e(name: &str, pool: Layer) -> Layer {
    let at = |part: &str, out, size| same(format!("{name}.{part}"), out, size);
    let fork =
        |a: &str, b: &str| Layer::Branches { branches: vec![vec![at(a, 384, [1, 3])], vec![at(b, 384, [3, 1])]] };
    Layer::Branches {
        branches: vec![
            vec![at("branch1x1", 320, [1; 2])],
            vec![at("branch3x3_1", 384, [1; 2]), fork("branch3x3_2a", "branch3x3_2b")],
            vec![
                at("branch3x3dbl_1", 448, [1; 2]),
                at("branch3x3dbl_2", 384, [3; 2]),
                fork("branch3x3dbl_3a", "branch3x3dbl_3b"),
            ],
            vec![pool, at("branch_pool", 192, [1; 2])],
        ],
    }
}
