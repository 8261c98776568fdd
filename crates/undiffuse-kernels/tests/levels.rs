//! Levels with fused multiply-add give the same bits.

mod common;

use common::conv::{Case, Operands};
use common::*;
use std::process::Command;
use undiffuse_kernels::attention::{self, Attention, Mask};
use undiffuse_kernels::clamp::Clamp;
use undiffuse_kernels::conv2d::Conv2d;
use undiffuse_kernels::depthwise::{self, Window};
use undiffuse_kernels::gate::{self, Gate};
use undiffuse_kernels::layer_norm::{self, LayerNorm, Line};
use undiffuse_kernels::linear::{self, Input, Linear};
use undiffuse_kernels::norm::{self, Gradients, Norm};
use undiffuse_kernels::{activation, pool, simd_level};

/// Runs itself at a level and returns what it printed.
fn at_level(level: &str) -> String {
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("UNDIFFUSE_SIMD", level)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().filter(|line| line.starts_with("@ ")).collect::<Vec<_>>().join("\n")
}

/// One number per line that stands for the bits of an output.
fn print(what: &str, x: &[f32]) {
    let hash = bits(x).iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    println!("@ {what} {hash:016x}");
}

#[test]
#[ignore = "run by the other test, once a level"]
fn child() {
    println!("@ level {:?}", simd_level());
    for (c_in, c_out, h, w, kernel, stride, upsample) in [
        ([16, 0], 80, 14, 9, 3, 1, false),
        ([33, 0], 17, 8, 8, 3, 1, false),
        ([32, 5], 40, 7, 5, 3, 1, true),
        ([3, 0], 20, 9, 9, 3, 2, false),
        ([3, 0], 20, 9, 9, 3, 1, true),
        ([40, 0], 24, 7, 7, 1, 1, false),
    ] {
        let pad = [kernel / 2; 4];
        let shape = Conv2d { batch: 3, c_in, h, w, c_out, kernel: (kernel, kernel), stride, pad, upsample };
        for activation in ACTIVATIONS {
            let case = Case { activation: Some(activation), ..Case::full(shape) };
            let out = Operands::new(&case).run(&shape);
            for (what, t) in [("y", out.y), ("dx", out.dx), ("dw", out.dw), ("sums", out.sums)] {
                print(&format!("{what} of {case:?}"), &t);
            }
        }
    }
    let n = 3 * 24 * 40;
    let (x, mut out) = (numbers(4, n), unset(n));
    for activation in ACTIVATIONS {
        activation::forward(activation, &x, &mut out);
        print(&format!("{activation:?}"), &out);
        activation::backward(activation, &x, &x, &mut out);
        print(&format!("{activation:?} backward"), &out);
        let shape = Norm { batch: 3, channels: [16, 8], pixels: 40, groups: 4, eps: 1e-5, activation };
        let maps = to_maps(&x, shape.channels, 40);
        let maps = [&maps[0][..], &maps[1]];
        let (mut statistics, mut coefficients) = (unset(shape.statistics_len()), unset(shape.coefficients_len()));
        let affine = [&x[..24], &x[24..48]];
        norm::statistics(&shape, maps, &mut statistics);
        norm::coefficients(&shape, &statistics, affine, None, &mut coefficients);
        let (mut y, mut d) = (maps.map(|m| unset(m.len())), maps.map(<[f32]>::to_vec));
        let ([y0, y1], [d0, d1]) = (&mut y, &mut d);
        norm::forward(&shape, maps, &coefficients, [y0, y1]);
        let (mut dgamma, mut dbeta) = (unset(24), unset(24));
        let gradients = Gradients { affine: [&mut dgamma, &mut dbeta], scale_shift: None };
        norm::backward(&shape, maps, [&statistics, &coefficients], affine, None, [d0, d1], [None; 2], gradients);
        print("norm", &[statistics, coefficients, y.concat(), d.concat(), dgamma, dbeta].concat());
    }
    for (heads, length, dim) in [(3, 40, 24), (4, 57, 32), (1, 100, 16)] {
        let (queries, keys) = (length, length);
        let shape = Attention { batch: 3, heads, queries, keys, dim, scale: 0.2, layout: attention::Layout::Maps };
        let [q, k, v] = [1, 2, 3].map(|seed| to_map(&numbers(seed, 3 * heads * dim * length), heads * dim, length));
        let [mut o, mut dq, mut dk, mut dv] = [0; 4].map(|_| unset(q.len()));
        attention::forward(&shape, [&q, &k, &v], Mask::default(), &mut o);
        attention::backward(&shape, [&q, &k, &v], Mask::default(), &q, [&mut dq, &mut dk, &mut dv]);
        print(&format!("{shape:?}"), &[o, dq, dk, dv].concat());
    }
    let map = Linear { rows: 120, c_in: 24, c_out: 24 };
    linear::forward(&map, &x, &x[..576], None, &mut out);
    print("linear", &out);
    let input = Input { x: &x[..], activation: activation::Activation::GeluTanh };
    let (mut dw, mut db) = (unset(576), unset(24));
    linear::backward_data(&map, input, &x, &x[..576], &mut out);
    linear::backward_weight(&map, 5, input, &x, &mut dw, Some(&mut db));
    print("linear backward", &[out, dw, db].concat());
    let (norm, gate) =
        (LayerNorm { batch: 3, tokens: 40, width: 24, eps: 1e-6 }, Gate { batch: 3, tokens: 40, width: 24 });
    let line = Line { affine: Some([&x[..24], &x[24..48]]), modulation: Some([&x[..72], &x[72..144]]) };
    let [mut y, mut dx, mut z, mut dz] = [0; 4].map(|_| unset(x.len()));
    let ([mut d_gain, mut d_offset], mut d) = ([0; 2].map(|_| unset(24)), [0; 3].map(|_| unset(72)));
    let [d_scale, d_shift, d_gate] = &mut d;
    let (affine, modulation) = (Some([&mut d_gain[..], &mut d_offset]), Some([&mut d_scale[..], d_shift]));
    layer_norm::forward(&norm, &x, &line, &mut y);
    layer_norm::backward(&norm, &x, &line, &x, layer_norm::Gradients { x: &mut dx, affine, modulation });
    gate::forward(&gate, &x, &x[..72], &x, &mut z);
    gate::backward(&gate, &x[..72], &x, &x, &mut dz, d_gate);
    print("layer norm and gate", &[y, dx, z, dz, d_gain, d_offset, d.concat()].concat());
    let window = Window { batch: 3, channels: 24, h: 8, w: 5, kernel: (3, 3), stride: 1, pad: (1, 1) };
    let [map, weight] = [to_map(&x, 24, 40), numbers(9, 24 * 9)];
    let [mut filtered, mut largest, mut means] = [0; 3].map(|_| unset(map.len()));
    let mut global = unset(3 * 24);
    depthwise::forward(&window, &map, &weight, Some(&x[..24]), Clamp::RELU6, &mut filtered);
    pool::max(&window, &map, &mut largest);
    pool::average(&window, false, &map, &mut means);
    pool::global_average(&map, 24, 40, &mut global);
    print("windows", &[filtered, largest, means, global].concat());
}

#[test]
fn levels_agree() {
    let best = at_level("avx512");
    let avx2 = at_level("avx2");
    assert!(at_level("portable").contains("level Portable"));
    if avx2.contains("level Avx2") {
        assert_eq!(avx2.replace("Avx2", "Avx512"), best.replace("level Avx2", "level Avx512"));
    }
}
