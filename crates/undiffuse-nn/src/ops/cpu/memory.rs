//! Tensors that kernels write: aligned to cache lines, in memory that is used again.
//!
//! A training step needs the same buffers as the one before. Fresh memory must be cleared by the system page by page,
//! which takes longer than many a kernel; so what dropped tensors leave is kept, and cut to whatever is asked for next.
#![allow(unsafe_code)] // the contract of Burn's allocation controllers, and stretches of memory that are lent

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::backend::{
    TensorMetadata,
    flex::{FlexTensor, Layout},
};
use burn::tensor::{Bytes, DType, Shape};
use cubecl_environment::bytes::{AccessError, AccessPolicy, AllocationController, AllocationProperty};
use memmap2::MmapMut;

/// Sixteen numbers that fill one cache line.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers from which on a tensor's memory is kept.
const KEPT: usize = 1 << 12;

/// Lines of a region, unless one tensor needs more. Pages that nobody has written yet take no memory.
const REGION: usize = 1 << 20;

/// Memory of the system, from which tensors get stretches.
struct Region {
    map: MmapMut,
    /// Where each free stretch begins, and its lines. No two touch.
    free: BTreeMap<usize, usize>,
}

impl Region {
    /// Of at least so many lines, all zero.
    fn new(lines: usize) -> Self {
        let lines = lines.max(REGION);
        let layout = std::alloc::Layout::array::<Line>(lines).expect("a tensor fits the address space");
        let map = MmapMut::map_anon(layout.size()).unwrap_or_else(|_| std::alloc::handle_alloc_error(layout));
        // Large pages are cleared faster, and more of them are known to the CPU at once. Without them it works as well.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Self { map, free: BTreeMap::from([(0, lines)]) }
    }

    fn lines(&self) -> usize {
        self.map.len() / size_of::<Line>()
    }

    fn is_free(&self) -> bool {
        self.free.get(&0) == Some(&self.lines())
    }

    /// Its smallest free stretch of at least `lines`: its length, and where it begins.
    fn best(&self, lines: usize) -> Option<(usize, usize)> {
        self.free.iter().filter(|(_, free)| **free >= lines).map(|(start, free)| (*free, *start)).min()
    }

    /// Lends the first `lines` of a free stretch.
    fn lend(&mut self, start: usize, lines: usize) -> Stretch {
        let free = self.free.remove(&start).expect("a free stretch");
        if free > lines {
            self.free.insert(start + lines, free - lines);
        }
        // SAFETY: the stretch is a part of the region.
        let first = unsafe { self.map.as_mut_ptr().cast::<Line>().add(start) };
        Stretch { first: NonNull::new(first).expect("memory has an address"), lines }
    }

    /// Where a stretch begins, if it is of this region.
    fn place(&self, stretch: &Stretch) -> Option<usize> {
        let from = (stretch.first.as_ptr() as usize).checked_sub(self.map.as_ptr() as usize)?;
        (from < self.map.len()).then_some(from / size_of::<Line>())
    }

    /// Takes back lines that were lent, and joins them with what is free on both sides.
    fn take_back(&mut self, mut start: usize, mut lines: usize) {
        if let Some(after) = self.free.remove(&(start + lines)) {
            lines += after;
        }
        if let Some((before, free)) = self.free.range(..start).next_back().map(|(a, b)| (*a, *b))
            && before + free == start
        {
            (start, lines) = (before, free + lines);
        }
        self.free.insert(start, lines);
    }
}

/// Lines that belong to whoever holds this. The region stays until they are taken back.
struct Stretch {
    first: NonNull<Line>,
    lines: usize,
}

// SAFETY: nobody else reads or writes the lines.
unsafe impl Send for Stretch {}
// SAFETY: shared, they can only be read.
unsafe impl Sync for Stretch {}

impl Stretch {
    fn lines(&self) -> &[Line] {
        // SAFETY: the region holds so many lines from there on, initialised, and lent to this stretch alone.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.lines) }
    }

    fn lines_mut(&mut self) -> &mut [Line] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.lines) }
    }
}

/// All regions.
struct Pool(Vec<Region>);

/// No result depends on it: it is a part of the allocator.
static POOL: Mutex<Pool> = Mutex::new(Pool(Vec::new()));

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A stretch of so many lines with unspecified (but initialised) contents.
    fn take(&mut self, lines: usize) -> Stretch {
        let of_region = |(i, region): (usize, &Region)| region.best(lines).map(|(free, start)| (free, i, start));
        if let Some((_, region, start)) = self.0.iter().enumerate().filter_map(of_region).min() {
            return self.0[region].lend(start, lines);
        }
        // Whatever is unused is too small; the system can make one of it.
        self.0.retain(|region| !region.is_free());
        let mut region = Region::new(lines);
        let stretch = region.lend(0, lines);
        self.0.push(region);
        stretch
    }

    fn take_back(&mut self, stretch: &Stretch) {
        let place = |region: &mut Region| region.place(stretch).map(|start| region.take_back(start, stretch.lines));
        self.0.iter_mut().find_map(place).expect("a region outlives its stretches");
    }
}

/// The memory of one tensor.
struct Pooled(Stretch);

impl Drop for Pooled {
    fn drop(&mut self) {
        pool().take_back(&self.0);
    }
}

impl AllocationController for Pooled {
    fn alloc_align(&self) -> usize {
        align_of::<Line>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(self.0.lines_mut());
        // SAFETY: same memory, same length, and the caller promises to write initialised bytes only.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes: &[u8] = bytemuck::cast_slice(self.0.lines());
        // SAFETY: same memory, same length; initialised bytes are valid `MaybeUninit` ones.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
    }
}

/// The elements of a contiguous f32 tensor.
pub fn values(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>().expect("kernel operands are made contiguous f32 before they are read")
}

/// A new tensor of `shape`, filled by `fill`, which writes every element.
pub fn new(shape: impl Into<Shape>, fill: impl FnOnce(&mut [f32])) -> FlexTensor {
    let shape = shape.into();
    let n = shape.num_elements();
    if n < KEPT {
        let mut values = vec![0f32; n];
        fill(&mut values);
        return owned(shape, values);
    }
    let mut memory = Pooled(pool().take(n.div_ceil(16)));
    fill(&mut bytemuck::cast_slice_mut(memory.0.lines_mut())[..n]);
    // SAFETY: all lines are initialised, and `n` numbers are no more than they hold.
    let bytes = unsafe { Bytes::from_controller(Box::new(memory), n * size_of::<f32>()) };
    FlexTensor::new(bytes, Layout::contiguous(shape), DType::F32)
}

/// A tensor that takes `values` over.
pub fn owned(shape: impl Into<Shape>, values: Vec<f32>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

/// A new tensor of the shape of `like`.
pub fn new_like(like: &FlexTensor, fill: impl FnOnce(&mut [f32])) -> FlexTensor {
    new(like.shape(), fill)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is taken and given back in whatever order, no two stretches overlap, and at last everything is one again.
    #[test]
    fn stretches_never_overlap_and_join_again() {
        let mut pool = Pool(Vec::new());
        let (mut held, mut random) = (Vec::<Stretch>::new(), 1u64);
        let mut below = |n: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % n
        };
        for _ in 0..2000 {
            if below(5) < 2 && !held.is_empty() {
                let stretch = held.swap_remove(below(held.len()));
                pool.take_back(&stretch);
            } else {
                let size = 1 + below(18);
                let lines = 1 + below(1 << size);
                held.push(pool.take(lines));
            }
            let mut spans: Vec<_> = held.iter().map(|s| s.lines().as_ptr_range()).collect();
            spans.sort_by_key(|span| span.start);
            assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start));
            let free: usize = pool.0.iter().flat_map(|region| region.free.values()).sum();
            let lent: usize = held.iter().map(|stretch| stretch.lines).sum();
            assert_eq!(free + lent, pool.0.iter().map(Region::lines).sum::<usize>());
        }
        assert!(pool.0.len() > 1);
        held.iter().for_each(|stretch| pool.take_back(stretch));
        assert!(pool.0.iter().all(Region::is_free));
        let all = pool.0.iter().map(Region::lines).sum::<usize>();
        let stretch = pool.take(all);
        assert_eq!(pool.0.len(), 1, "what is too small goes first");
        pool.take_back(&stretch);
    }
}
