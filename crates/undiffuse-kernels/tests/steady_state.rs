//! Once warm, no operation asks the system for large memory.

mod common;

use common::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use undiffuse_kernels::activation::Activation;
use undiffuse_kernels::attention::{self, Attention, Mask};
use undiffuse_kernels::conv2d::{self, Add, Conv2d, Input};
use undiffuse_kernels::linear::{self, Linear};
use undiffuse_kernels::norm::{self, Gradients, Norm};

/// The system's allocator, which notes the largest request.
struct Noting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is the system's too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: what was allocated here came from the system's allocator, with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

/// A step of a network with every operation, on maps of 64 channels and 32 × 32 pixels.
fn step() -> impl FnMut() {
    const BATCH: usize = 8;
    let conv = |kernel, stride, upsample| Conv2d {
        batch: BATCH,
        c_in: [64, 0],
        h: 32,
        w: 32,
        c_out: 64,
        kernel: (kernel, kernel),
        stride,
        pad: [kernel / 2; 4],
        upsample,
    };
    let n = BATCH * 64 * 32 * 32;
    let [x, dy, weight] = [numbers(1, n), numbers(2, 4 * n), numbers(3, 64 * 64 * 9)];
    let [mut y, mut dx, mut dz, mut dw] = [unset(4 * n), unset(n), unset(n), unset(weight.len())];
    let mut sums = unset(BATCH * 64);
    let norm =
        Norm { batch: BATCH, channels: [64, 0], pixels: 1024, groups: 32, eps: 1e-5, activation: Activation::Silu };
    let (mut statistics, mut coefficients) = (unset(norm.statistics_len()), unset(norm.coefficients_len()));
    move || {
        let affine = [&weight[..64], &weight[64..128]];
        norm::statistics(&norm, [&x, &[]], &mut statistics);
        norm::coefficients(&norm, &statistics, affine, None, &mut coefficients);
        norm::forward(&norm, [&x, &[]], &coefficients, [&mut y[..n], &mut []]);
        for shape in [conv(3, 1, false), conv(3, 1, true), conv(3, 2, false), conv(1, 1, false)] {
            let outputs = BATCH * 64 * shape.out_h() * shape.out_w();
            let weights = 64 * 64 * shape.kernel.0 * shape.kernel.1;
            let input = Input { maps: [&x, &[]], coefficients: Some(&coefficients), activation: Activation::Silu };
            conv2d::forward(&shape, &input, &weight[..weights], &Add::default(), &mut y[..outputs]);
            conv2d::backward_data(&shape, &dy[..outputs], &weight[..weights], [&mut dx, &mut []]);
            conv2d::backward_weight(&shape, &input, &dy[..outputs], &mut dw[..weights], Some(&mut sums));
        }
        let (dgamma, dbeta) = dw[..128].split_at_mut(64);
        let gradients = Gradients { affine: [dgamma, dbeta], scale_shift: None };
        let known = [&statistics[..], &coefficients];
        norm::backward(&norm, [&x, &[]], known, affine, None, [&mut dx, &mut []], [None; 2], gradients);
        let linear = Linear { rows: 8192, c_in: 64, c_out: 64 };
        linear::forward(&linear, &x[..], &weight[..4096], None, &mut y[..n]);
        linear::backward_data(&linear, &x[..], &dy[..n], &weight[..4096], &mut dx);
        linear::backward_weight(&linear, 1024, &x[..], &dy[..n], &mut dw[..4096], None);
        for (heads, dim) in [(2, 32), (8, 8)] {
            let (queries, keys, layout) = (256, 256, attention::Layout::Maps);
            let attention = Attention { batch: BATCH * 4, heads, queries, keys, dim, scale: 0.2, layout };
            attention::forward(&attention, [&x, &x, &x], Mask::default(), &mut y[..n]);
            attention::backward(&attention, [&x, &x, &x], Mask::default(), &dy[..n], [&mut y[..n], &mut dx, &mut dz]);
        }
    }
}

#[test]
fn nothing_large_is_allocated() {
    let mut step = step();
    on_threads(1, move || {
        step();
        step();
        LARGEST.store(0, Ordering::Relaxed);
        step();
    });
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest < 1 << 16, "{largest} bytes at once");
}
