//! Convolution of any size as a matrix product over the taps of the filter: rows are output pixels, the inner index
//! runs over taps and input channels, columns are output channels. The left-hand side is gathered for some rows of
//! pixels at a time.
//!
//! Both `y` and `dx` are such products. Seen from `x`, outputs step by the stride; seen from `y`, the pixels of `x`
//! fall into `stride²` classes, each of which meets its own taps and is a product of its own.

mod weight;

use super::source::Source;
use super::{Bank, Conv2d, Direction, Epilogue};
use crate::blocks::{Block, ELEMENTWISE, Extent, for_each, panels_per_task, split, steps};
use crate::clamp::clamp;
use crate::gemm;
use crate::panel::{load, panels};
use crate::scratch::Scratch;
use crate::simd::{Kernel, LANES, Lanes, Simd, dispatch};
use std::ops::Range;
pub(super) use weight::backward_weight;

/// Pixels multiplied at a time, about.
const PIXELS: usize = 96;

/// Channels up to which the taps of a pixel share vectors: a vector a tap would be mostly padding.
const FEW: usize = 8;

/// A tap of the filter, and what it reads, counted from where the output steps to.
#[derive(Clone, Copy, Debug)]
struct Tap {
    /// Its place in the filter.
    index: usize,
    row: isize,
    column: isize,
}

/// The outputs of one class, and what they meet.
struct Class {
    taps: Vec<Tap>,
    /// The first of them: row and column in the output image.
    origin: (isize, isize),
}

/// A convolution as matrix products.
struct Plan {
    bank: Bank,
    /// Height and width of output images.
    out: (usize, usize),
    classes: Vec<Class>,
    /// From an output of a class to the next, in the source and in the output image.
    read_step: usize,
    write_step: usize,
}

impl Plan {
    fn new(shape: &Conv2d, direction: Direction) -> Self {
        let (kh, kw) = shape.kernel;
        let stride = shape.stride;
        let [top, left] = [shape.pad[0] as isize, shape.pad[1] as isize];
        let bank = direction.bank(shape);
        let all = |n: usize, m: usize| (0..n).flat_map(move |i| (0..m).map(move |j| (i, j)));
        match direction {
            Direction::Forward => {
                let tap = |(i, j)| Tap { index: i * kw + j, row: i as isize - top, column: j as isize - left };
                let class = Class { taps: all(kh, kw).map(tap).collect(), origin: (0, 0) };
                let out = (shape.out_h(), shape.out_w());
                Plan { bank, out, classes: vec![class], read_step: stride, write_step: 1 }
            }
            Direction::Data => {
                // Padded row i + stride · u of the filter meets outputs u rows above those that row i meets.
                let class = |(i, j): (usize, usize)| Class {
                    taps: all(kh, kw)
                        .filter(|(k, l)| k % stride == i && l % stride == j)
                        .map(|(k, l)| Tap {
                            index: k * kw + l,
                            row: -((k / stride) as isize),
                            column: -((l / stride) as isize),
                        })
                        .collect(),
                    origin: (i as isize - top, j as isize - left),
                };
                let out = (shape.image_h(), shape.image_w());
                let classes = all(stride, stride).map(class).collect();
                Plan { bank, out, classes, read_step: 1, write_step: stride }
            }
        }
    }

    /// The rows (or columns) of a class that lie in `range` of an image, `origin` being the class's.
    fn within(&self, origin: isize, range: Range<usize>) -> Range<usize> {
        let first = |at: usize| (at as isize - origin).max(0).unsigned_abs().div_ceil(self.write_step);
        first(range.start)..first(range.end)
    }

    /// Vectors that a pixel of the left-hand side has for a class.
    fn depth_panels(&self, class: &Class) -> usize {
        if self.bank.ins <= FEW {
            panels(class.taps.len() * self.bank.ins)
        } else {
            class.taps.len() * panels(self.bank.ins)
        }
    }

    /// Where the inner index has a tap and an input channel.
    fn place(&self, class: &Class, tap: usize, channel: usize) -> usize {
        if self.bank.ins <= FEW {
            tap * self.bank.ins + channel
        } else {
            (channel / LANES * class.taps.len() + tap) * LANES + channel % LANES
        }
    }

    /// Rows of a class that are multiplied at a time.
    fn rows_at_once(&self) -> usize {
        (PIXELS / self.out.1.div_ceil(self.write_step)).max(1)
    }
}

/// Writes `y` or `dx`.
pub(super) fn convolve(
    shape: &Conv2d,
    direction: Direction,
    source: &Source,
    weight: &[f32],
    epilogue: &Epilogue,
    out: [&mut [Lanes]; 2],
) {
    let plan = Plan::new(shape, direction);
    let pixels = plan.out.0 * plan.out.1;
    let of_maps = match direction {
        Direction::Forward => [panels(shape.c_out), 0],
        Direction::Data => shape.c_in.map(panels),
    };
    if direction == Direction::Data && shape.upsample {
        let mut wide = of_maps.map(|n| Scratch::new(shape.batch * n * pixels));
        let [first, second] = &mut wide;
        multiply(&plan, shape.batch, source, weight, epilogue, [first, second], of_maps);
        for (wide, out) in wide.iter().zip(out) {
            halve(wide, shape.h, shape.w, out);
        }
    } else {
        multiply(&plan, shape.batch, source, weight, epilogue, out, of_maps);
    }
}

/// Adds every 2×2 pixels to one.
fn halve(wide: &[Lanes], h: usize, w: usize, out: &mut [Lanes]) {
    for (wide, out) in wide.chunks(4 * h * w).zip(out.chunks_mut(h * w)) {
        for (i, out) in out.iter_mut().enumerate() {
            let at = i / w * 4 * w + i % w * 2;
            for lane in 0..LANES {
                let above = wide[at][lane] + wide[at + 1][lane];
                out[lane] = above + (wide[at + 2 * w][lane] + wide[at + 2 * w + 1][lane]);
            }
        }
    }
}

fn multiply(
    plan: &Plan,
    batch: usize,
    source: &Source,
    weight: &[f32],
    epilogue: &Epilogue,
    out: [&mut [Lanes]; 2],
    of_maps: [usize; 2],
) {
    let outs = of_maps[0] + of_maps[1];
    let (h, w) = plan.out;
    // Tasks begin and end where classes do, so that rows of a class are whole.
    let rows = (plan.rows_at_once() * plan.write_step).min(h);
    let of_task = panels_per_task(outs, batch * h.div_ceil(rows));
    // [class][panel of outputs][depth]
    let packed: Vec<Scratch> = plan
        .classes
        .iter()
        .map(|class| {
            let depth = plan.depth_panels(class) * LANES;
            let mut packed = Scratch::new(outs * depth);
            for_each(packed.chunks_mut(depth.max(1)).enumerate(), outs * depth * ELEMENTWISE, |(panel, to)| {
                dispatch(PackWeights { plan, class, weight, panel, to });
            });
            packed
        })
        .collect();
    let taps: usize = plan.classes.iter().map(|c| c.taps.len()).sum();
    let work = batch * h * w * outs * LANES * plan.bank.ins * taps / (plan.write_step * plan.write_step);
    let blocks = split(out, of_maps, h * w, Extent { images: 1, panels: of_task, pixels: rows * w });
    for_each(blocks.into_iter(), work, |block| {
        dispatch(Multiply { plan, source, packed: &packed, epilogue, block });
    });
}

/// The weights of one panel of outputs for a class.
#[inline(always)]
fn pack_weights<S: Simd>(s: S, plan: &Plan, class: &Class, weight: &[f32], panel: usize, to: &mut [Lanes]) {
    let Bank { outs, out_stride, ins, in_stride } = plan.bank;
    to.fill([0.0; LANES]);
    let first = panel * LANES;
    let lanes = LANES.min(outs - first);
    if in_stride == class.taps.len() {
        // All taps of all channels of an output follow each other.
        for at in (0..ins * in_stride).step_by(LANES) {
            let width = LANES.min(ins * in_stride - at);
            let mut block = [s.zero(); LANES];
            for (lane, row) in block.iter_mut().enumerate().take(lanes) {
                *row = load(s, &weight[(first + lane) * out_stride + at..][..width]);
            }
            for (i, v) in s.transpose(block).into_iter().enumerate().take(width) {
                s.store(v, &mut to[plan.place(class, (at + i) % in_stride, (at + i) / in_stride)]);
            }
        }
    } else {
        for c in 0..ins {
            for (t, tap) in class.taps.iter().enumerate() {
                let from = &weight[first * out_stride + c * in_stride + tap.index..];
                let to = &mut to[plan.place(class, t, c)];
                if out_stride == 1 {
                    s.store(load(s, &from[..lanes]), to);
                } else {
                    to.iter_mut().zip(from.iter().step_by(out_stride)).take(lanes).for_each(|(to, x)| *to = *x);
                }
            }
        }
    }
}

struct PackWeights<'a> {
    plan: &'a Plan,
    class: &'a Class,
    weight: &'a [f32],
    panel: usize,
    to: &'a mut [Lanes],
}

impl Kernel for PackWeights<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        pack_weights(s, self.plan, self.class, self.weight, self.panel, self.to);
    }
}

/// Some rows of outputs of one image.
struct Multiply<'a> {
    plan: &'a Plan,
    source: &'a Source<'a>,
    packed: &'a [Scratch],
    epilogue: &'a Epilogue<'a>,
    block: Block<'a>,
}

impl Kernel for Multiply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { plan, source, packed, epilogue, mut block } = self;
        let w = plan.out.1;
        let image = block.images.start;
        let first_row = block.pixels.start / w;
        let ends = epilogue.then.ends(s);
        for (class, packed) in plan.classes.iter().zip(packed) {
            let rows = plan.within(class.origin.0, first_row..block.pixels.end / w);
            let columns = plan.within(class.origin.1, 0..w);
            let depth = plan.depth_panels(class);
            for rows in steps(rows.len(), plan.rows_at_once()).map(|r| rows.start + r.start..rows.start + r.end) {
                let pixels = rows.len() * columns.len();
                if pixels == 0 {
                    continue;
                }
                let a_rows = pixels.next_multiple_of(4);
                let mut a = Scratch::new(depth * a_rows);
                gather(s, plan, class, source, image, &rows, &columns, &mut a, a_rows);
                let mut c = Scratch::new(block.panels.len() * a_rows);
                if depth == 0 {
                    c.fill([0.0; LANES]);
                } else {
                    let b = &packed[block.panels.start * depth * LANES..block.panels.end * depth * LANES];
                    gemm::nn(s, &a, b, &mut c, a_rows, depth * LANES, false);
                }
                for (i, (part, c)) in block.parts.iter_mut().zip(c.chunks(a_rows)).enumerate() {
                    let panel = block.panels.start + i;
                    let offset = s.load(epilogue.offset(image, panel));
                    let residual = epilogue.residual(image, panel);
                    for (row, c) in rows.clone().zip(c.chunks(columns.len())) {
                        let row = (row * plan.write_step) as isize + class.origin.0;
                        let column = (columns.start * plan.write_step) as isize + class.origin.1;
                        let at = row as usize * w + column as usize;
                        let to = part[at - first_row * w..].iter_mut().step_by(plan.write_step);
                        if let Some(residual) = residual {
                            let residual = residual[at..].iter().step_by(plan.write_step);
                            for ((to, c), r) in to.zip(c).zip(residual) {
                                s.store(clamp(s, ends, s.add(s.add(s.load(c), offset), s.load(r))), to);
                            }
                        } else {
                            for (to, c) in to.zip(c) {
                                s.store(clamp(s, ends, s.add(s.load(c), offset)), to);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Writes the left-hand side for some rows and columns of a class of one image: `to` is `[depth panel][pixel]` with
/// `to_rows` rows a panel, of which those beyond the pixels become zero.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn gather<S: Simd>(
    s: S,
    plan: &Plan,
    class: &Class,
    source: &Source,
    image: usize,
    rows: &Range<usize>,
    columns: &Range<usize>,
    to: &mut [Lanes],
    to_rows: usize,
) {
    let (h, w) = source.size();
    let pixels = rows.len() * columns.len();
    let ins = plan.bank.ins;
    for panel in to.chunks_exact_mut(to_rows) {
        panel[pixels..].fill([0.0; LANES]);
    }
    let taps = class.taps.len();
    for p in 0..panels(ins) {
        let from = source.panel(s, image, p);
        for (t, tap) in class.taps.iter().enumerate() {
            let first = (p * taps + t) * to_rows;
            let place = plan.place(class, t, 0);
            if ins > FEW
                && let (1, 0, 0, Some(whole)) = (plan.read_step, tap.row, tap.column, from.whole())
                && columns.len() == w
                && columns.start == 0
                && rows.end <= h
            {
                // whole rows, as they lie
                let from_pixels = &whole[rows.start * w..rows.end * w];
                from.run(s, from_pixels, &mut to[first..][..pixels]);
                continue;
            }
            let mut at = 0;
            for row in rows.clone() {
                let row = (row * plan.read_step) as isize + tap.row;
                let inside_row = row >= 0 && (row as usize) < h;
                for column in columns.clone() {
                    let column = (column * plan.read_step) as isize + tap.column;
                    let inside = inside_row && column >= 0 && (column as usize) < w;
                    let v = if inside { from.at(s, row as usize, column as usize) } else { s.zero() };
                    if ins > FEW {
                        s.store(v, &mut to[first + at]);
                    } else {
                        let lanes = s.lanes(v);
                        for (c, x) in lanes[..ins].iter().enumerate() {
                            to[(place + c) / LANES * to_rows + at][(place + c) % LANES] = *x;
                        }
                    }
                    at += 1;
                }
            }
        }
    }
    if ins <= FEW {
        let filled = taps * ins;
        for lanes in &mut to[filled / LANES * to_rows..] {
            if !filled.is_multiple_of(LANES) {
                lanes[filled % LANES..].fill(0.0);
            }
        }
    }
}
