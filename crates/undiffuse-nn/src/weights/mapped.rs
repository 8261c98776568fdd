//! Numbers that stay where the system keeps a file: pages that are read when they are first looked at, that several processes
//! share, and that the system may drop and read again.
#![allow(unsafe_code)] // memory maps, and the contract of Burn's allocation controllers

use std::fs::File;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Bytes;
use cubecl_environment::bytes::{AccessError, AccessPolicy, AllocationController, AllocationProperty};
use memmap2::Mmap;

/// All of a file as memory; `None` where the system can't.
pub fn map(file: &File) -> Option<Arc<Mmap>> {
    // SAFETY: whoever maps weights promises that nobody writes into the file: see `Hold::Mapped`.
    unsafe { Mmap::map(file) }.ok().map(Arc::new)
}

/// Some of a mapped file, as numbers.
#[derive(Clone)]
pub struct Numbers {
    file: Arc<Mmap>,
    bytes: Range<usize>,
}

impl Numbers {
    /// The numbers in these bytes; `None` where none can be read in place.
    pub fn new(file: &Arc<Mmap>, bytes: Range<usize>) -> Option<Self> {
        let little = cfg!(target_endian = "little");
        let whole = bytemuck::try_cast_slice::<u8, f32>(file.get(bytes.clone())?).is_ok();
        (little && whole).then(|| Self { file: Arc::clone(file), bytes })
    }

    /// They.
    pub fn values(&self) -> &[f32] {
        bytemuck::cast_slice(&self.file[self.bytes.clone()])
    }

    /// Tells the system that all of them will be looked at.
    pub fn announce(&self) {
        #[cfg(unix)]
        let _ = self.file.advise_range(memmap2::Advice::WillNeed, self.bytes.start, self.bytes.len());
    }
}

/// As a tensor holds them.
impl From<Numbers> for Bytes {
    fn from(numbers: Numbers) -> Self {
        let len = numbers.bytes.len();
        // SAFETY: so many bytes are there, initialised.
        unsafe { Self::from_controller(Box::new(Memory::File(numbers)), len) }
    }
}

/// The memory of one tensor.
enum Memory {
    /// Nobody has written to it.
    File(Numbers),
    /// Its own since somebody has.
    Own(Vec<f32>),
}

impl Memory {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(match self {
            Self::File(numbers) => numbers.values(),
            Self::Own(values) => values,
        })
    }
}

impl AllocationController for Memory {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        match self {
            Self::File(_) => AllocationProperty::File,
            Self::Own(_) => AllocationProperty::Other,
        }
    }

    unsafe fn memory_mut(&mut self, policy: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        if let Self::File(numbers) = self {
            if !policy.copy_allowed() {
                return Err(AccessError::WouldCopy);
            }
            *self = Self::Own(numbers.values().to_vec());
        }
        let Self::Own(values) = self else { unreachable!("it was copied") };
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(values);
        // SAFETY: same memory, same length, and the caller promises to write initialised bytes only.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes = self.bytes();
        // SAFETY: same memory, same length; initialised bytes are valid `MaybeUninit` ones.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
    }

    fn duplicate(&self) -> Option<Box<dyn AllocationController>> {
        match self {
            Self::File(numbers) => Some(Box::new(Self::File(numbers.clone()))),
            Self::Own(_) => None,
        }
    }
}
