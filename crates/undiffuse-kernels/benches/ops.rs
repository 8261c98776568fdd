//! Times every operation at the shapes of the reference network: `cargo bench -p undiffuse-kernels`.
//!
//! Prints one line an operation: name, then milliseconds and GFLOP/s of the textbook arithmetic (Winograd does less of
//! it), for the median and for the best run, then CPU time, which says most on a busy
//! machine. `RAYON_NUM_THREADS` chooses the threads; an argument keeps only the names that contain it.
//! `torch_ops.py` beside this file sets the same operations of PyTorch against it.

use std::time::{Duration, Instant};
use undiffuse_kernels::attention::{self, Attention};
use undiffuse_kernels::conv2d::{self, Conv2d};
use undiffuse_kernels::group_norm::{self, GroupNorm};
use undiffuse_kernels::linear::{self, Linear};
use undiffuse_kernels::{silu, simd_level};

/// Convolutions: batch, channels in and out, size, kernel, stride.
const CONVOLUTIONS: [[usize; 6]; 16] = [
    [32, 64, 64, 32, 3, 1],
    [32, 192, 64, 32, 3, 1],
    [32, 128, 128, 16, 3, 1],
    [32, 256, 128, 16, 3, 1],
    [32, 128, 128, 8, 3, 1],
    [32, 256, 128, 8, 3, 1],
    [32, 64, 64, 28, 3, 1],
    [32, 128, 128, 14, 3, 1],
    [32, 128, 128, 7, 3, 1],
    [32, 3, 64, 32, 3, 1],
    [32, 64, 3, 32, 3, 1],
    [32, 64, 64, 32, 3, 2],
    [32, 192, 64, 32, 1, 1],
    [1, 64, 64, 32, 3, 1],
    [1, 128, 128, 16, 3, 1],
    [1, 128, 128, 8, 3, 1],
];
/// Batch, channels, size; 32 groups.
const NORMS: [[usize; 3]; 3] = [[32, 64, 32], [32, 128, 16], [32, 128, 8]];
/// Images × heads, length, dim.
const ATTENTIONS: [[usize; 3]; 2] = [[128, 256, 32], [4, 256, 32]];
/// Rows, inputs, outputs.
const LINEARS: [[usize; 3]; 4] = [[8192, 128, 128], [1024, 1024, 1024], [32, 256, 256], [1, 256, 256]];

struct Bench {
    filter: String,
}

impl Bench {
    /// Prints the median time of `f` over about half a second.
    fn run(&self, name: &str, flops: f64, mut f: impl FnMut()) {
        if !name.contains(&self.filter) {
            return;
        }
        f();
        let (begin, cpu, mut times) = (Instant::now(), cpu_seconds(), vec![]);
        while times.len() < 5 || (begin.elapsed() < Duration::from_millis(500) && times.len() < 2000) {
            let start = Instant::now();
            f();
            times.push(start.elapsed().as_secs_f64());
        }
        let cpu = (cpu_seconds() - cpu) / times.len() as f64;
        times.sort_by(f64::total_cmp);
        let [median, best] = [times[times.len() / 2], times[0]];
        let rate = |seconds| flops / seconds / 1e9;
        println!(
            "{name}\t{:.4}\t{:.0}\t{:.4}\t{:.0}\t{:.4}",
            median * 1e3,
            rate(median),
            best * 1e3,
            rate(best),
            cpu * 1e3
        );
    }
}

/// The time that all threads of this process have spent on a CPU, where Linux tells; else zero.
fn cpu_seconds() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok())
        .sum::<f64>()
        / 1e9
}

fn random(n: usize) -> Vec<f32> {
    let mut state = 1u64;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let bench = Bench { filter };
    println!("# level {:?}, {} threads", simd_level(), rayon::current_num_threads());
    println!("# operation\tmedian ms\tGFLOP/s\tbest ms\tGFLOP/s\tCPU ms of all threads");
    for [batch, c_in, c_out, size, kernel, stride] in CONVOLUTIONS {
        let pad = [kernel / 2; 4];
        let shape = Conv2d { batch, c_in, h: size, w: size, c_out, kernel: (kernel, kernel), stride, pad };
        let x = random(batch * c_in * size * size);
        let dy = random(batch * c_out * shape.out_h() * shape.out_w());
        let (weight, bias) = (random(c_out * c_in * kernel * kernel), random(c_out));
        let (mut y, mut dx, mut dw, mut db) = (dy.clone(), x.clone(), weight.clone(), bias.clone());
        let flops = 2.0 * (dy.len() * c_in * kernel * kernel) as f64;
        let name = |pass| format!("conv{kernel}x{kernel}/{stride} {c_in}-{c_out}@{size} b{batch} {pass}");
        bench.run(&name("forward"), flops, || conv2d::forward(&shape, &x, &weight, Some(&bias), &mut y));
        bench.run(&name("data"), flops, || conv2d::backward_data(&shape, &dy, &weight, &mut dx));
        bench.run(&name("weight"), flops, || conv2d::backward_weight(&shape, &x, &dy, &mut dw, Some(&mut db)));
    }
    for [batch, channels, size] in NORMS {
        let shape = GroupNorm { batch, channels, pixels: size * size, groups: 32, eps: 1e-5, silu: true };
        let (x, dy) = (random(batch * channels * size * size), random(batch * channels * size * size));
        let (gamma, beta) = (random(channels), random(channels));
        let (mut y, mut dx, mut dgamma, mut dbeta) = (x.clone(), x.clone(), gamma.clone(), beta.clone());
        let name = |pass| format!("groupnorm+silu {channels}@{size} b{batch} {pass}");
        bench.run(&name("forward"), 0.0, || group_norm::forward(&shape, &x, [&gamma, &beta], &mut y));
        bench.run(&name("backward"), 0.0, || {
            group_norm::backward(&shape, &x, [&gamma, &beta], &dy, &mut dx, [&mut dgamma, &mut dbeta]);
        });
    }
    for [heads, length, dim] in ATTENTIONS {
        let shape = Attention { heads, length, dim, scale: 1.0 / (dim as f32).sqrt() };
        let [q, k, v, d_o] = [0; 4].map(|_| random(heads * length * dim));
        let [mut o, mut dq, mut dk, mut dv] = [0; 4].map(|_| q.clone());
        let flops = 4.0 * (heads * length * length * dim) as f64;
        let name = |pass| format!("attention {heads}x{length}x{dim} {pass}");
        bench.run(&name("forward"), flops, || attention::forward(&shape, [&q, &k, &v], &mut o));
        bench.run(&name("backward"), 2.5 * flops, || {
            attention::backward(&shape, [&q, &k, &v], &d_o, [&mut dq, &mut dk, &mut dv]);
        });
    }
    for [rows, c_in, c_out] in LINEARS {
        let shape = Linear { rows, c_in, c_out };
        let (x, dy, weight, bias) = (random(rows * c_in), random(rows * c_out), random(c_in * c_out), random(c_out));
        let (mut y, mut dx, mut dw, mut db) = (dy.clone(), x.clone(), weight.clone(), bias.clone());
        let flops = 2.0 * (rows * c_in * c_out) as f64;
        let name = |pass| format!("linear {rows}x{c_in}-{c_out} {pass}");
        bench.run(&name("forward"), flops, || linear::forward(&shape, &x, &weight, Some(&bias), &mut y));
        bench.run(&name("data"), flops, || linear::backward_data(&shape, &dy, &weight, &mut dx));
        bench.run(&name("weight"), flops, || linear::backward_weight(&shape, &x, &dy, &mut dw, Some(&mut db)));
    }
    let x = random(32 * 64 * 1024);
    let (mut y, mut dx) = (x.clone(), x.clone());
    bench.run("silu 2097152 forward", 0.0, || silu::forward(&x, &mut y));
    bench.run("silu 2097152 backward", 0.0, || silu::backward(&x, &y, &mut dx));
}
