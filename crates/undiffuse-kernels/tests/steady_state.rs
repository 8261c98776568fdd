//! Once warm, no operation asks the system for large memory.

mod common;
use common::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use undiffuse_kernels::attention::{self, Attention};
use undiffuse_kernels::conv2d::{self, Conv2d};
use undiffuse_kernels::group_norm::{self, GroupNorm};
use undiffuse_kernels::linear::{self, Linear};

/// The system's allocator, which notes the largest request.
struct Noting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

#[test]
fn nothing_large_is_allocated() {
    let conv = |kernel, stride| Conv2d {
        batch: 8,
        c_in: 64,
        h: 32,
        w: 32,
        c_out: 64,
        kernel: (kernel, kernel),
        stride,
        pad: [kernel / 2; 4],
    };
    let n = 8 * 64 * 32 * 32;
    let [x, dy, weight] = [numbers(1, n), numbers(2, n), numbers(3, 64 * 64 * 9)];
    let [mut y, mut dx, mut dz, mut dw] = [unset(n), unset(n), unset(n), unset(weight.len())];
    let mut step = || {
        for shape in [conv(3, 1), conv(3, 2), conv(1, 1)] {
            let (outputs, weights) =
                (8 * 64 * shape.out_h() * shape.out_w(), 64 * 64 * shape.kernel.0 * shape.kernel.1);
            conv2d::forward(&shape, &x, &weight[..weights], None, &mut y[..outputs]);
            conv2d::backward_data(&shape, &dy[..outputs], &weight[..weights], &mut dx);
            conv2d::backward_weight(&shape, &x, &dy[..outputs], &mut dw[..weights], None);
        }
        let linear = Linear { rows: 8192, c_in: 64, c_out: 64 };
        linear::forward(&linear, &x, &weight[..4096], None, &mut y);
        linear::backward_data(&linear, &dy, &weight[..4096], &mut dx);
        linear::backward_weight(&linear, &x, &dy, &mut dw[..4096], None);
        let norm = GroupNorm { batch: 8, channels: 64, pixels: 1024, groups: 32, eps: 1e-5, silu: true };
        let (gamma, beta) = (&weight[..64], &weight[64..128]);
        let (dgamma, dbeta) = dw[..128].split_at_mut(64);
        group_norm::forward(&norm, &x, [gamma, beta], &mut y);
        group_norm::backward(&norm, &x, [gamma, beta], &dy, &mut dx, [dgamma, dbeta]);
        let attention = Attention { heads: 64, length: 256, dim: 32, scale: 0.2 };
        attention::forward(&attention, [&x, &dy, &x], &mut y);
        attention::backward(&attention, [&x, &dy, &x], &dy, [&mut y, &mut dx, &mut dz]);
    };
    on_threads(1, || {
        step();
        step();
        LARGEST.store(0, Ordering::Relaxed);
        step();
    });
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest < 1 << 16, "{largest} bytes at once");
}
