//! MobileNetV2 \[Sandler18\] as torchvision builds it, up to its global pooling: 1280 numbers.

use super::graph::{Activation, Conv, Graph, Input, Layer, Norm, Pair};
use super::resize::Resize;

/// Expansion, channels, repeats, first stride of each group of blocks [Sandler18, Table 2].
const GROUPS: [[u16; 4]; 7] =
    [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]];

/// The network; tensor names are those of `torchvision.models.mobilenet_v2`.
pub(super) fn graph() -> Graph {
    let mut layers = vec![conv("features.0.0", "features.0.1", 32, 3, 2, Activation::Relu6)];
    let (mut ins, mut index) = (32, 1);
    for [expansion, outs, repeats, stride] in GROUPS {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            let block = block(&format!("features.{index}.conv"), ins, expansion, outs, stride);
            if stride == 1 && ins == outs {
                layers.push(Layer::Residual { layers: block, shortcut: vec![], activation: Activation::None });
            } else {
                layers.extend(block);
            }
            (ins, index) = (outs, index + 1);
        }
    }
    layers.push(conv("features.18.0", "features.18.1", 1280, 1, 1, Activation::Relu6));
    layers.push(Layer::GlobalPool {});
    let input = Input {
        size: Pair::Both(224),
        channels: 3,
        resize: Resize::CleanBicubic,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    };
    Graph { name: "mobilenet-v2".into(), input, layers }
}

/// An inverted residual: widen, filter each channel, narrow.
fn block(name: &str, ins: u16, expansion: u16, outs: u16, stride: u16) -> Vec<Layer> {
    let (wide, mut layers, mut at) = (ins * expansion, vec![], 0);
    if expansion > 1 {
        layers.push(conv(&format!("{name}.0.0"), &format!("{name}.0.1"), wide, 1, 1, Activation::Relu6));
        at = 1;
    }
    let depthwise = conv(&format!("{name}.{at}.0"), &format!("{name}.{at}.1"), wide, 3, stride, Activation::Relu6);
    layers.extend(match depthwise {
        Layer::Conv(conv) => Some(Layer::Conv(Conv { depthwise: true, ..conv })),
        _ => None,
    });
    let [narrow, norm] = [at + 1, at + 2].map(|i| format!("{name}.{i}"));
    layers.push(conv(&narrow, &norm, outs, 1, 1, Activation::None));
    layers
}

fn conv(name: &str, norm: &str, out: u16, kernel: u16, stride: u16, activation: Activation) -> Layer {
    Layer::Conv(Conv {
        name: name.into(),
        out,
        kernel: Pair::Both(kernel),
        stride,
        padding: Pair::Both(kernel / 2),
        depthwise: false,
        bias: false,
        norm: Some(Norm { name: norm.into(), eps: 1e-5 }),
        activation,
    })
}
