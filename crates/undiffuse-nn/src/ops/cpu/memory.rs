//! Tensors that kernels write: aligned to cache lines, in memory that is used again.
//!
//! A training step needs the same buffers as the one before. Fresh memory must be cleared by the system page by page,
//! which takes longer than many a kernel; so the buffers of dropped tensors are kept.
#![allow(unsafe_code)] // the contract of Burn's allocation controllers

use std::mem::MaybeUninit;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::backend::{
    TensorMetadata,
    flex::{FlexTensor, Layout},
};
use burn::tensor::{Bytes, DType, Shape};
use cubecl_environment::bytes::{AccessError, AccessPolicy, AllocationController, AllocationProperty};

/// Sixteen numbers that fill one cache line.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers from which on a tensor's memory is kept.
const KEPT: usize = 1 << 12;

/// The buffers of tensors that are gone, and what there is in all, in lines.
struct Pool {
    /// The oldest first.
    free: Vec<Vec<Line>>,
    held: usize,
    /// In tensors, now and at most so far.
    live: usize,
    most: usize,
}

/// No result depends on it: it is a part of the allocator.
static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), held: 0, live: 0, most: 0 });

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A free buffer of at least `lines`, and not much more.
    fn reuse(&mut self, lines: usize) -> Option<Vec<Line>> {
        let fits = |b: &Vec<Line>| b.len() >= lines && b.len() - lines <= lines / 8;
        let best = (0..self.free.len()).filter(|&i| fits(&self.free[i])).min_by_key(|&i| self.free[i].len())?;
        let buffer = self.free.remove(best);
        self.held -= buffer.len();
        Some(buffer)
    }

    /// Gives the oldest buffers back while there is a quarter more memory than tensors ever needed at once.
    fn shrink(&mut self) {
        let excess = (self.live + self.held).saturating_sub(self.most + self.most / 4);
        let (mut gone, mut lines) = (0, 0);
        while lines < excess && gone < self.free.len() {
            lines += self.free[gone].len();
            gone += 1;
        }
        self.free.drain(..gone);
        self.held -= lines;
    }
}

/// A buffer of at least `lines` with unspecified (but initialised) contents.
fn take(lines: usize) -> Vec<Line> {
    let mut pool = pool();
    let reused = pool.reuse(lines);
    pool.live += reused.as_ref().map_or(lines, Vec::len);
    pool.most = pool.most.max(pool.live);
    pool.shrink();
    drop(pool);
    reused.unwrap_or_else(|| vec![Line([0.0; 16]); lines])
}

/// The memory of one tensor.
struct Pooled(Vec<Line>);

impl Drop for Pooled {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        let mut pool = pool();
        pool.live -= buffer.len();
        pool.held += buffer.len();
        pool.free.push(buffer);
        pool.shrink();
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
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.0);
        // SAFETY: same memory, same length, and the caller promises to write initialised bytes only.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.0);
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
    let mut lines = take(n.div_ceil(16));
    fill(&mut bytemuck::cast_slice_mut(&mut lines)[..n]);
    // SAFETY: all lines are initialised, and `n` numbers are no more than they hold.
    let bytes = unsafe { Bytes::from_controller(Box::new(Pooled(lines)), n * size_of::<f32>()) };
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
