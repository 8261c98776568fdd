//! Levels with fused multiply-add give the same bits.

mod common;
use common::*;
use std::process::Command;
use undiffuse_kernels::{attention, conv2d, group_norm, linear, silu, simd_level};

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
    for (c_in, c_out, h, w, kernel, stride) in
        [(16, 80, 14, 9, 3, 1), (33, 17, 8, 8, 3, 1), (3, 20, 9, 9, 3, 2), (40, 24, 7, 7, 1, 1)]
    {
        let shape =
            conv2d::Conv2d { batch: 3, c_in, h, w, c_out, kernel: (kernel, kernel), stride, pad: [kernel / 2; 4] };
        let x = numbers(1, 3 * c_in * h * w);
        let weight = numbers(2, c_out * c_in * kernel * kernel);
        let dy = numbers(3, 3 * c_out * shape.out_h() * shape.out_w());
        let (mut y, mut dx, mut dw) = (unset(dy.len()), unset(x.len()), unset(weight.len()));
        conv2d::forward(&shape, &x, &weight, None, &mut y);
        conv2d::backward_data(&shape, &dy, &weight, &mut dx);
        conv2d::backward_weight(&shape, &x, &dy, &mut dw, None);
        [("y", y), ("dx", dx), ("dw", dw)].iter().for_each(|(what, t)| print(&format!("{what} of {shape:?}"), t));
    }
    let x = numbers(4, 3 * 24 * 40);
    let mut out = unset(x.len());
    silu::forward(&x, &mut out);
    print("silu", &out);
    let norm = group_norm::GroupNorm { batch: 3, channels: 24, pixels: 40, groups: 4, eps: 1e-5, silu: true };
    let (mut dgamma, mut dbeta) = (unset(24), unset(24));
    group_norm::forward(&norm, &x, [&[0.7; 24], &[0.1; 24]], &mut out);
    print("group_norm", &out);
    group_norm::backward(&norm, &x, [&[0.7; 24], &[0.1; 24]], &x, &mut out, [&mut dgamma, &mut dbeta]);
    print("group_norm dx", &out);
    print("group_norm dgamma", &dgamma);
    let shape = attention::Attention { heads: 3, length: 40, dim: 24, scale: 0.2 };
    attention::forward(&shape, [&x, &x, &x], &mut out);
    print("attention", &out);
    let [mut dq, mut dk, mut dv] = [0; 3].map(|_| unset(x.len()));
    attention::backward(&shape, [&x, &x, &x], &out, [&mut dq, &mut dk, &mut dv]);
    print("attention gradients", &[dq, dk, dv].concat());
    let map = linear::Linear { rows: 120, c_in: 24, c_out: 24 };
    linear::forward(&map, &x, &x[..576], None, &mut out);
    print("linear", &out);
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
