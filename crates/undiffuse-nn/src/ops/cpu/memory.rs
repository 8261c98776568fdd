//! Tensors that kernels write: aligned to cache lines, in memory that is used again.
//!
//! A training step needs the same buffers as the one before. Fresh memory must be cleared by the system page by page,
//! which takes longer than many a kernel; so a thread keeps the buffers of the tensors it drops.
#![allow(unsafe_code)] // the contract of Burn's allocation controllers

use std::cell::RefCell;
use std::mem::MaybeUninit;

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

thread_local! {
    /// Buffers without a tensor, the oldest first.
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of at least `lines` with unspecified (but initialised) contents.
fn take(lines: usize) -> Vec<Line> {
    let found = FREE.with_borrow_mut(|free| {
        let fits = |b: &Vec<Line>| b.len() >= lines && b.len() - lines <= lines / 4;
        let best = (0..free.len()).filter(|&i| fits(&free[i])).min_by_key(|&i| free[i].len());
        if best.is_none() {
            // What is new replaces what is oldest, so that the whole does not grow with every new size.
            let mut excess = lines;
            while excess > 0 && !free.is_empty() {
                excess = excess.saturating_sub(free.remove(0).len());
            }
        }
        best.map(|i| free.remove(i))
    });
    found.unwrap_or_else(|| vec![Line([0.0; 16]); lines])
}

/// The memory of one tensor.
struct Pooled(Vec<Line>);

impl Drop for Pooled {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // A thread that is going away has no list any more: then the buffer just goes.
        let _ = FREE.try_with(|free| free.borrow_mut().push(buffer));
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
