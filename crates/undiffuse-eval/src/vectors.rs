//! Vectors of pictures, computed once: a set that was seen before costs nothing.

use std::borrow::Cow;
use std::path::Path;

use memmap2::Mmap;
use rayon::prelude::*;
use undiffuse_data::{Image, transform};
use undiffuse_metrics::Rows;

use crate::pictures::PictureSet;
use crate::shelf::Shelf;
use crate::{EvalError, EvalProgress, EvalStage};
use undiffuse_features::Features;

/// Pictures that go through a network at a time.
const BATCH: usize = 32;

/// Vectors in a file, mapped into memory.
#[derive(Debug)]
pub struct Vectors {
    map: Mmap,
    n: usize,
    dims: usize,
}

impl Vectors {
    /// As rows.
    pub fn rows(&self) -> Rows<'_> {
        Rows::new(bytemuck::cast_slice(&self.map[..self.n * self.dims * size_of::<f32>()]), self.dims)
    }
}

/// The vectors of the first `n` pictures, from the folder of caches as far as they are there.
///
/// # Errors
/// Files that cannot be written, or an interruption: what was computed is kept.
pub fn vectors(
    pictures: &dyn PictureSet,
    n: usize,
    network: &dyn Features,
    folder: &Path,
    stage: EvalStage,
    progress: &mut dyn FnMut(EvalProgress) -> bool,
) -> Result<Vectors, EvalError> {
    let dims = network.dims();
    let name = format!("{}-{}.f32", &pictures.fingerprint()[..24], &network.fingerprint()[..16]);
    let mut shelf = Shelf::open(&folder.join(name), dims * size_of::<f32>())?;
    let mut out = Vec::with_capacity(BATCH * dims);
    let began = shelf.len();
    while shelf.len() < n {
        let (from, to) = (shelf.len(), n.min(shelf.len() + BATCH));
        let images: Vec<Image> = (from..to).map(|i| pictures.image(i)).collect();
        out.clear();
        network.extract(&images, &mut out);
        shelf.push(bytemuck::cast_slice(&out))?;
        if !progress(EvalProgress { stage, done: to - began, total: n - began }) {
            return Err(EvalError::Interrupted);
        }
    }
    Ok(Vectors { map: shelf.map()?, n, dims })
}

/// Rows in memory, or borrowed.
#[derive(Clone, Debug)]
pub(crate) struct Gathered<'a> {
    values: Cow<'a, [f32]>,
    dims: usize,
}

impl Gathered<'_> {
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows::new(&self.values, self.dims)
    }
}

/// Some of the rows: copied, unless they are the first ones in their order.
pub(crate) fn gather<'a>(rows: Rows<'a>, indices: &[usize]) -> Gathered<'a> {
    let dims = rows.dims();
    if indices.iter().copied().eq(0..indices.len()) {
        return Gathered { values: rows.first(indices.len()).values().into(), dims };
    }
    let mut values = Vec::with_capacity(indices.len() * dims);
    indices.iter().for_each(|&i| values.extend_from_slice(rows.row(i)));
    Gathered { values: values.into(), dims }
}

/// Numbers that are kept of a picture where pixels are compared: larger pictures are made smaller.
const PIXEL_DIMS: usize = 1024;

/// Pixels in [−1, 1] of some pictures.
pub(crate) fn pixel_rows(pictures: &dyn PictureSet, indices: &[usize]) -> Gathered<'static> {
    let [channels, height, width] = pictures.shape();
    let scale = (PIXEL_DIMS as f64 / (channels * height * width) as f64).sqrt().min(1.0);
    let side = |n: usize| ((n as f64 * scale) as usize).max(1);
    let (width, height) = (side(width), side(height));
    let dims = channels * height * width;
    let mut values = vec![0.0; indices.len() * dims];
    values.par_chunks_mut(dims).zip(indices).for_each(|(row, &i)| {
        let image = transform::resize(&pictures.image(i), width, height);
        row.iter_mut().zip(&image.pixels).for_each(|(x, &v)| *x = f32::from(v) / 127.5 - 1.0);
    });
    Gathered { values: values.into(), dims }
}
