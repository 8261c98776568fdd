//! Levels with fused multiply-add give the same bits.

mod common;

use common::conv::{Case, Operands};
use common::*;
use std::process::Command;
use undiffuse_kernels::activation;
use undiffuse_kernels::attention::{self, Attention};
use undiffuse_kernels::conv2d::Conv2d;
use undiffuse_kernels::linear::{self, Linear};
use undiffuse_kernels::norm::{self, Gradients, Norm};
use undiffuse_kernels::simd_level;

/// Runs itself at a level and returns what it printed: the level, and the outputs.
fn at_level(level: &str) -> (String, String) {
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("UNDIFFUSE_SIMD", level)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let mut lines = text.lines().filter_map(|line| line.split_once("@ ")).map(|(_, line)| line);
    (lines.next().unwrap().to_owned(), lines.collect::<Vec<_>>().join("\n"))
}

/// One number per line that stands for the bits of an output (FNV-1a).
fn print(what: &str, x: &[f32]) {
    let hash = bits(x).iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    println!("\n@ {what} {hash:016x}");
}

fn print_convolutions() {
    let same = |c_in, c_out, h, w, side: usize| Conv2d {
        batch: 3,
        c_in,
        h,
        w,
        c_out,
        kernel: (side, side),
        stride: 1,
        pad: [side / 2; 4],
        upsample: false,
    };
    for shape in [
        same([16, 0], 80, 14, 9, 3),
        same([32, 1], 17, 8, 8, 3),
        Conv2d { upsample: true, ..same([16, 0], 16, 7, 7, 3) },
        Conv2d { stride: 2, ..same([3, 0], 20, 9, 9, 3) },
        same([40, 0], 24, 7, 7, 1),
    ] {
        for activation in ACTIVATIONS {
            let results = Operands::new(&Case { activation: Some(activation), ..Case::full(shape) }).run(&shape);
            let all = [results.y, results.dx, results.dw, results.sums];
            print(&format!("{activation:?} and {shape:?}"), &all.concat());
        }
    }
}

fn print_others(x: &[f32]) {
    let mut out = unset(x.len());
    for kind in ACTIVATIONS {
        activation::forward(kind, x, &mut out);
        print(&format!("{kind:?}"), &out);
        activation::backward(kind, x, x, &mut out);
        print(&format!("{kind:?} backward"), &out);
    }
    for activation in ACTIVATIONS {
        let shape = Norm { batch: 3, channels: [16, 8], pixels: 40, groups: 4, eps: 1e-5, activation };
        let maps = to_maps(x, shape.channels, 40);
        let maps = [&maps[0][..], &maps[1]];
        let [mut statistics, mut coefficients] = [shape.statistics_len(), shape.coefficients_len()].map(unset);
        norm::statistics(&shape, maps, &mut statistics);
        norm::coefficients(&shape, &statistics, [&[0.7; 24], &[0.1; 24]], None, &mut coefficients);
        let mut y = maps.map(|m| unset(m.len()));
        let [y0, y1] = &mut y;
        norm::forward(&shape, maps, &coefficients, [y0, y1]);
        let known = [&statistics[..], &coefficients];
        let mut d = maps.map(<[f32]>::to_vec);
        let [d0, d1] = &mut d;
        let [mut dgamma, mut dbeta] = [unset(24), unset(24)];
        let gradients = Gradients { affine: [&mut dgamma, &mut dbeta], scale_shift: None };
        norm::backward(&shape, maps, known, [&[0.7; 24], &[0.1; 24]], None, [d0, d1], [None; 2], gradients);
        let all = [statistics, coefficients, y.concat(), d.concat(), dgamma, dbeta];
        print(&format!("{shape:?}"), &all.concat());
    }
    for (heads, dim) in [(3, 8), (1, 24)] {
        let shape = Attention { batch: 3, heads, length: 40, dim, scale: 0.2 };
        let map = to_map(x, 24, 40);
        let [mut o, mut dq, mut dk, mut dv] = [0; 4].map(|_| unset(map.len()));
        attention::forward(&shape, [&map; 3], &mut o);
        attention::backward(&shape, [&map; 3], &o, [&mut dq, &mut dk, &mut dv]);
        print(&format!("{shape:?}"), &[o, dq, dk, dv].concat());
    }
    let shape = Linear { rows: 120, c_in: 24, c_out: 24 };
    let [mut y, mut dx, mut dw, mut db] = [x.len(), x.len(), 576, 24].map(unset);
    linear::forward(&shape, x, &x[..576], None, &mut y);
    linear::backward_data(&shape, x, &x[..576], &mut dx);
    linear::backward_weight(&shape, x, x, &mut dw, Some(&mut db));
    print("linear", &[y, dx, dw, db].concat());
}

#[test]
#[ignore = "run by the other test, once a level"]
fn child() {
    println!("\n@ {:?}", simd_level());
    print_convolutions();
    print_others(&numbers(4, 3 * 24 * 40));
}

#[test]
fn levels_agree() {
    let [best, avx2, portable] = ["avx512", "avx2", "portable"].map(at_level);
    assert_eq!(portable.0, "Portable");
    assert!(portable.1.lines().count() > 30, "{}", portable.1);
    assert_eq!(avx2.1.lines().count(), portable.1.lines().count());
    if avx2.0 != "Portable" {
        assert_eq!(avx2.1, best.1, "{} and {}", avx2.0, best.0);
    }
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        assert_eq!(portable.1, best.1, "{} and {}", portable.0, best.0);
    }
}
