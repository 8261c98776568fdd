//! Once warm, no operation asks the system for large memory.

mod common;

use common::conv::{Case, Operands};
use common::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use undiffuse_kernels::attention::{self, Attention};
use undiffuse_kernels::conv2d::{self, Conv2d};
use undiffuse_kernels::linear::{self, Linear};
use undiffuse_kernels::norm::{self, Gradients, Norm};

/// The system's allocator, which notes the largest request and what is held.
struct Noting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        HELD.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: `at` came from `alloc` above, that is from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

const BATCH: usize = 8;
const SIZE: usize = 16;
const CHANNELS: [usize; 2] = [64, 32];

/// Every operation there is, forward and backward, on buffers that are kept.
fn steps() -> impl FnMut() + Send {
    let base = Conv2d {
        batch: BATCH,
        c_in: CHANNELS,
        h: SIZE,
        w: SIZE,
        c_out: 64,
        kernel: (3, 3),
        stride: 1,
        pad: [1; 4],
        upsample: false,
    };
    let shapes = [
        base,
        Conv2d { stride: 2, ..base },
        Conv2d { kernel: (1, 1), pad: [0; 4], ..base },
        Conv2d { upsample: true, ..base },
    ];
    let convolutions = shapes.map(|shape| (shape, Operands::new(&Case::full(shape))));
    let norm = Norm {
        batch: BATCH,
        channels: CHANNELS,
        pixels: SIZE * SIZE,
        groups: 32,
        eps: 1e-5,
        activation: Default::default(),
    };
    let heads = Attention { batch: BATCH, heads: 2, length: SIZE * SIZE, dim: 32, scale: 0.2 };
    let thin = Attention { heads: 4, dim: 8, length: 100, ..heads };
    let n = BATCH * 96 * 4 * SIZE * SIZE;
    let [mut y, mut d0, mut d1, mut d2] = [0; 4].map(|_| unset(n));
    let [mut dw, mut sums] = [96 * 64 * 9, BATCH * 64].map(unset);
    let [mut statistics, mut coefficients] = [norm.statistics_len(), norm.coefficients_len()].map(unset);
    let [mut dgamma, mut dbeta] = [96, 96].map(unset);
    let some = numbers(1, n);
    move || {
        let maps = [&convolutions[0].1.maps[0][..], &convolutions[0].1.maps[1]];
        let lens = maps.map(<[f32]>::len);
        for (shape, operands) in &convolutions {
            conv2d::forward(
                shape,
                &operands.input(),
                &operands.weight,
                &operands.add(),
                &mut y[..operands.dy_map.len()],
            );
            let dx = [&mut d0[..lens[0]], &mut d1[..lens[1]]];
            conv2d::backward_data(shape, &operands.dy_map, &operands.weight, dx);
            let dw = &mut dw[..operands.weight.len()];
            conv2d::backward_weight(shape, &operands.input(), &operands.dy_map, dw, Some(&mut sums));
        }
        let affine = [&some[..96], &some[96..192]];
        norm::statistics(&norm, maps, &mut statistics);
        norm::coefficients(&norm, &statistics, affine, None, &mut coefficients);
        norm::forward(&norm, maps, &coefficients, [&mut d0[..lens[0]], &mut d1[..lens[1]]]);
        let gradients = Gradients { affine: [&mut dgamma, &mut dbeta], scale_shift: None };
        let d = [&mut d0[..lens[0]], &mut d1[..lens[1]]];
        norm::backward(&norm, maps, [&statistics, &coefficients], affine, None, d, [None; 2], gradients);
        for shape in [heads, thin] {
            let len = undiffuse_kernels::map::len(BATCH, shape.heads * shape.dim, shape.length);
            let t = &some[..len];
            attention::forward(&shape, [t; 3], &mut y[..len]);
            attention::backward(&shape, [t; 3], t, [&mut d0[..len], &mut d1[..len], &mut d2[..len]]);
        }
        let map = Linear { rows: 1024, c_in: 64, c_out: 64 };
        let (x, weight) = (&some[..65_536], &some[..4096]);
        linear::forward(&map, x, weight, None, &mut y[..65_536]);
        linear::backward_data(&map, x, weight, &mut d0[..65_536]);
        linear::backward_weight(&map, x, x, &mut dw[..4096], None);
    }
}

/// One test, as others beside it would be noted too.
#[test]
fn nothing_large_is_allocated_and_nothing_piles_up() {
    let mut step = steps();
    let start = HELD.load(Relaxed);
    let one = on_threads(1, || {
        step();
        step();
        LARGEST.store(0, Relaxed);
        step();
        HELD.load(Relaxed) - start
    });
    let largest = LARGEST.load(Relaxed);
    assert!(largest < 1 << 16, "{largest} bytes at once");
    // Threads that help each other may come to a larger buffer late, but never to more than their own kind needs.
    for threads in [2, 4] {
        let start = HELD.load(Relaxed);
        let held = on_threads(threads, || {
            (0..12).for_each(|_| step());
            HELD.load(Relaxed) - start
        });
        let (held, most) = (held >> 10, (threads * one) >> 10);
        assert!(held <= most + most / 2, "{threads} threads hold {held} KiB; one holds {} KiB", one >> 10);
    }
}
