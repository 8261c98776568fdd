//! Every kernel at the shapes of the reference network: `cargo bench -p undiffuse-kernels`.
//!
//! Criterion measures; at the end a table gives GFLOP/s of the textbook arithmetic (Winograd does less of it, so it may
//! pass 100 %) and the share of the fused multiply-add peak that was measured at the start. `RAYON_NUM_THREADS` chooses
//! the threads; an argument keeps only the names that contain it.

mod peak;

use criterion::Criterion;
use std::time::{Duration, SystemTime};
use undiffuse_kernels::activation::{self, Activation};
use undiffuse_kernels::attention::{self, Attention, Layout, Mask};
use undiffuse_kernels::conv2d::{self, Add, Conv2d, Input};
use undiffuse_kernels::linear::{self, Linear};
use undiffuse_kernels::norm::{self, Norm};
use undiffuse_kernels::optimizer::{self, AdamW};
use undiffuse_kernels::{map, simd_level};

/// Batch, channels in and out, size, kernel, stride.
const CONVOLUTIONS: [[usize; 6]; 14] = [
    [32, 64, 64, 32, 3, 1],
    [32, 192, 64, 32, 3, 1],
    [32, 128, 128, 16, 3, 1],
    [32, 256, 128, 16, 3, 1],
    [32, 128, 128, 8, 3, 1],
    [32, 64, 64, 28, 3, 1],
    [32, 128, 128, 7, 3, 1],
    [32, 128, 128, 16, 1, 1],
    [32, 64, 64, 32, 3, 2],
    [32, 3, 64, 32, 3, 1],
    [32, 64, 3, 32, 3, 1],
    [1, 64, 64, 32, 3, 1],
    [1, 128, 128, 16, 3, 1],
    [1, 128, 128, 8, 3, 1],
];

/// Tokens of a picture, rows, channels in and out.
const LINEARS: [[usize; 4]; 7] = [
    [256, 8192, 128, 128],
    [1, 32, 256, 256],
    [1, 1, 256, 256],
    [64, 2048, 384, 384],
    [64, 2048, 384, 1536],
    [64, 2048, 1536, 384],
    [1, 32, 384, 2304],
];

/// Benchmarks, and what each computes.
struct Ops {
    criterion: Criterion,
    done: Vec<(String, f64)>,
}

impl Ops {
    fn run(&mut self, name: &str, flops: f64, mut f: impl FnMut()) {
        assert!(name.len() <= 64, "criterion cuts the folder of `{name}` at 64 characters");
        self.criterion.bench_function(name, |b| b.iter(&mut f));
        self.done.push((name.to_owned(), flops));
    }
}

/// Numbers in [-1, 1) without a pattern that a CPU could learn.
fn numbers(n: usize) -> Vec<f32> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

fn convolutions(ops: &mut Ops) {
    for [batch, c, o, size, k, stride] in CONVOLUTIONS {
        let s = Conv2d {
            batch,
            c_in: [c, 0],
            h: size,
            w: size,
            c_out: o,
            kernel: (k, k),
            stride,
            pad: [k / 2; 4],
            upsample: false,
        };
        let pixels = s.out_h() * s.out_w();
        let [x, dy] = [(c, size * size), (o, pixels)].map(|(c, pixels)| numbers(map::len(batch, c, pixels)));
        let [weight, bias, coefficients] = [o * c * k * k, o, batch * 2 * c.next_multiple_of(16)].map(numbers);
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), weight.clone());
        let plain = Input { maps: [&x, &[]], coefficients: None, activation: Activation::Identity };
        let normed = Input { coefficients: Some(&coefficients), activation: Activation::Silu, ..plain };
        let add = Add { bias: Some(&bias), ..Add::default() };
        let flops = 2.0 * (batch * o * pixels * c * k * k) as f64;
        let name = |what: &str| format!("conv {k}x{k} {c}to{o} at {size} stride {stride} batch {batch} {what}");
        ops.run(&name("forward"), flops, || conv2d::forward(&s, &plain, &weight, &add, &mut y));
        ops.run(&name("forward normed"), flops, || conv2d::forward(&s, &normed, &weight, &add, &mut y));
        ops.run(&name("data"), flops, || conv2d::backward_data(&s, &dy, &weight, [&mut dx, &mut []]));
        ops.run(&name("weight"), flops, || conv2d::backward_weight(&s, &normed, &dy, &mut dw, None));
    }
}

fn norms(ops: &mut Ops) {
    for [batch, channels, size] in [[32, 64, 32], [32, 128, 16], [32, 128, 8]] {
        let pixels = size * size;
        let s = Norm { batch, channels: [channels, 0], pixels, groups: 32, eps: 1e-5, activation: Activation::Silu };
        let x = numbers(map::len(batch, channels, pixels));
        let (gamma, beta) = (numbers(channels), numbers(channels));
        let (mut statistics, mut coefficients) = (vec![0.0; s.statistics_len()], vec![0.0; s.coefficients_len()]);
        let name = |what: &str| format!("norm {channels} at {size} batch {batch} {what}");
        let of = |per_element: f64| per_element * x.len() as f64;
        ops.run(&name("statistics"), of(4.0), || norm::statistics(&s, [&x, &[]], &mut statistics));
        norm::coefficients(&s, &statistics, [&gamma, &beta], None, &mut coefficients);
        let (mut d, mut dgamma, mut dbeta) = (x.clone(), gamma.clone(), beta.clone());
        ops.run(&name("backward with silu"), of(30.0), || {
            let gradients = norm::Gradients { affine: [&mut dgamma, &mut dbeta], scale_shift: None };
            let kept = [&statistics[..], &coefficients];
            norm::backward(&s, [&x, &[]], kept, [&gamma, &beta], None, [&mut d, &mut []], [None; 2], gradients);
        });
    }
}

fn attentions(ops: &mut Ops) {
    for [batch, length] in [[32, 256], [32, 64], [1, 256]] {
        let (queries, keys, layout) = (length, length, Layout::Maps);
        let s = Attention { batch, heads: 4, queries, keys, dim: 32, scale: 0.2, layout };
        let n = map::len(batch, 128, length);
        let [q, k, v, d] = [0; 4].map(|_| numbers(n));
        let [mut o, mut dq, mut dk, mut dv] = [0; 4].map(|_| vec![0.0; n]);
        let flops = 4.0 * (batch * 4 * length * length * 32) as f64;
        let name = |what: &str| format!("attention 4x{length}x32 batch {batch} {what}");
        ops.run(&name("forward"), flops, || attention::forward(&s, [&q, &k, &v], Mask::default(), &mut o));
        let qkv = [&q[..], &k, &v];
        ops.run(&name("backward"), 2.5 * flops, || {
            attention::backward(&s, qkv, Mask::default(), &d, [&mut dq, &mut dk, &mut dv])
        });
    }
}

fn others(ops: &mut Ops) {
    for [tokens, rows, c_in, c_out] in LINEARS {
        let s = Linear { rows, c_in, c_out };
        let [x, weight, dy] = [rows * c_in, c_out * c_in, rows * c_out].map(numbers);
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), weight.clone());
        let flops = 2.0 * (rows * c_in * c_out) as f64;
        let name = |what: &str| format!("linear {rows}x{c_in}to{c_out} {what}");
        ops.run(&name("forward"), flops, || linear::forward(&s, &x[..], &weight, None, &mut y));
        ops.run(&name("data"), flops, || linear::backward_data(&s, &x[..], &dy, &weight, &mut dx));
        ops.run(&name("weight"), flops, || linear::backward_weight(&s, tokens, &x[..], &dy, &mut dw, None));
    }
    let (x, mut y) = (numbers(1 << 20), vec![0.0; 1 << 20]);
    for activation in [Activation::Silu, Activation::Gelu, Activation::Mish, Activation::GeluTanh] {
        let name = format!("{activation:?} of 1M numbers").to_lowercase();
        ops.run(&name, 20.0 * x.len() as f64, || activation::forward(activation, &x, &mut y));
    }
    let h = AdamW { lr: 1e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, step: 9, gradient_scale: 1.0 };
    let [mut p, mut m, mut v, mut average] = [0; 4].map(|_| numbers(6_470_000));
    v.iter_mut().for_each(|v| *v = v.abs());
    let g = numbers(p.len());
    ops.run("adamw and one average of 6.47M parameters", 15.0 * g.len() as f64, || {
        optimizer::step(&h, &mut p, &g, [&mut m, &mut v], vec![(&mut average, 0.001)])
    });
}

/// The median nanoseconds that criterion wrote down since `begin`; none if the command line left `name` out.
fn median(name: &str, begin: SystemTime) -> Option<f64> {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "../../target".into());
    let home = std::env::var("CRITERION_HOME").unwrap_or(format!("{target}/criterion"));
    let path = format!("{home}/{name}/new/estimates.json");
    let written = std::fs::metadata(&path).and_then(|file| file.modified()).ok()?;
    let file = std::fs::read_to_string(path).ok().filter(|_| written >= begin)?;
    serde_json::from_str::<serde_json::Value>(&file).ok()?["median"]["point_estimate"].as_f64()
}

fn main() {
    let threads = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
    let (begin, peak) = (SystemTime::now(), peak::gflops(threads));
    println!("{:?}, {threads} threads, fused multiply-add peak {peak:.0} GFLOP/s\n", simd_level());
    let criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(10)
        .configure_from_args();
    let mut ops = Ops { criterion, done: vec![] };
    convolutions(&mut ops);
    norms(&mut ops);
    attentions(&mut ops);
    others(&mut ops);
    ops.criterion.final_summary();
    println!("{:<60} {:>9} {:>9} {:>6}", "", "ms", "GFLOP/s", "peak");
    for (name, flops) in &ops.done {
        if let Some(ns) = median(name, begin) {
            let rate = flops / ns;
            println!("{name:<60} {:>9.3} {rate:>9.1} {:>5.0}%", ns / 1e6, 100.0 * rate / peak);
        }
    }
}
