//! Features without a network: pixels on the principal components of the real data.
//!
//! `y = Cᵀ(x − m)`, with `m` the mean of the real pictures' pixels and `C` the eigenvectors of their covariance with the
//! largest eigenvalues \[Pearson01\]. A distance of such vectors is one of blurred pixels: it sees colours, contrast
//! and coarse shapes, and says little of what a picture shows.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use undiffuse_data::text::hex;
use undiffuse_data::{Dataset, Image, transform};
use undiffuse_kernels::linear::{self, Linear};

use super::{FeatureError, Features};

/// Largest side of what is compared, for grey and for colour: it bounds the covariance.
const SIDES: [usize; 2] = [32, 24];

/// Most components.
const COMPONENTS: usize = 256;

/// Components that explain less than this share of the first one's variance are noise of the arithmetic.
const LEAST: f64 = 1e-10;

/// Pixels on principal components.
#[derive(Debug)]
pub struct Pixels {
    fingerprint: String,
    channels: usize,
    side: usize,
    /// `[side · side · channels]`
    mean: Vec<f32>,
    /// `[dims, side · side · channels]`
    components: Vec<f32>,
}

impl Pixels {
    /// Finds the components of the real data.
    ///
    /// The arithmetic is in double precision, and its order does not depend on threads.
    ///
    /// # Errors
    /// If the pictures do not vary once they are small, or the eigenvectors cannot be found.
    pub fn fit(real: &Dataset) -> Result<Pixels, FeatureError> {
        let channels = real.channels();
        let side = real.height().min(SIDES[usize::from(channels > 1)]);
        let failed =
            |problem: &str| FeatureError::Components { path: real.path().to_path_buf(), problem: problem.to_owned() };
        let rows = Small { real, side, size: side * side * channels };
        let mean = rows.mean();
        let found = if rows.real.len() < rows.size { rows.by_pictures(&mean) } else { rows.by_pixels(&mean) };
        let components = found.ok_or_else(|| {
            failed("the pictures are the same at 32×32, or the eigenvectors do not converge. Look at the data")
        })?;
        let mean = mean.iter().map(|&m| m as f32).collect();
        let recipe = format!("pixels 1, {side}×{side}×{channels}, {COMPONENTS} components of {}", real.fingerprint());
        let fingerprint = hex(&Sha256::digest(recipe));
        Ok(Pixels { fingerprint, channels, side, mean, components })
    }
}

impl Features for Pixels {
    fn name(&self) -> &str {
        "pixels"
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn input(&self) -> String {
        let Pixels { side, .. } = self;
        let dims = self.dims();
        format!(
            "{side}×{side}, Lanczos3 with antialiasing, on {dims} principal components of the real data (no network)"
        )
    }

    fn dims(&self) -> usize {
        self.components.len() / self.mean.len()
    }

    fn extract(&self, images: &[Image], out: &mut Vec<f32>) {
        let centred: Vec<f32> = images
            .par_iter()
            .flat_map_iter(|image| {
                let small = small(image, self.channels, self.side);
                let centred: Vec<f32> = small.zip(&self.mean).map(|(x, m)| x - m).collect();
                centred
            })
            .collect();
        let first = out.len();
        out.resize(first + images.len() * self.dims(), 0.0);
        let shape = Linear { rows: images.len(), c_in: self.mean.len(), c_out: self.dims() };
        linear::forward(&shape, &centred, &self.components, None, &mut out[first..]);
    }
}

/// Values of a picture in [−1, 1] once it has this many channels and pixels.
fn small(image: &Image, channels: usize, side: usize) -> impl Iterator<Item = f32> + use<> {
    let small = transform::resize(&image.to_channels(channels), side, side);
    small.pixels.into_iter().map(|v| f32::from(v) / 127.5 - 1.0)
}

/// The real pictures as rows of a matrix.
struct Small<'a> {
    real: &'a Dataset,
    side: usize,
    size: usize,
}

/// Pictures that are added to sums at a time.
const CHUNK: usize = 512;

/// Columns of a matrix of sums that a thread owns.
const COLUMNS: usize = 64;

impl Small<'_> {
    /// Pictures `from..to` less `mean`, one after another.
    fn centred(&self, from: usize, to: usize, mean: &[f64]) -> Vec<f64> {
        let picture = |i| small(&self.real.image(i), self.real.channels(), self.side).map(f64::from);
        let centred = |i| picture(i).zip(mean).map(|(x, m)| x - m).collect::<Vec<_>>();
        (from..to).into_par_iter().flat_map_iter(centred).collect()
    }

    fn chunks(&self) -> impl Iterator<Item = (usize, usize)> {
        let n = self.real.len();
        (0..n).step_by(CHUNK).map(move |from| (from, n.min(from + CHUNK)))
    }

    fn mean(&self) -> Vec<f64> {
        let mut sum = vec![0.0; self.size];
        for (from, to) in self.chunks() {
            for row in self.centred(from, to, &vec![0.0; self.size]).chunks_exact(self.size) {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
        }
        sum.iter().map(|sum| sum / self.real.len() as f64).collect()
    }

    /// Eigenvectors of `XᵀX`, for many pictures.
    fn by_pixels(&self, mean: &[f64]) -> Option<Vec<f32>> {
        let mut sums = vec![0.0; self.size * self.size];
        for (from, to) in self.chunks() {
            let x = self.centred(from, to, mean);
            let x = MatRef::from_row_major_slice(&x, to - from, self.size);
            add_products(&mut sums, x.transpose(), x);
        }
        let (_, vectors) = leading(&sums, self.size)?;
        Some(vectors.col_iter().flat_map(|v| v.iter().map(|&x| x as f32).collect::<Vec<_>>()).collect())
    }

    /// Eigenvectors of `XᵀX` as `Xᵀu / √λ` from those of `XXᵀ`, for few pictures.
    fn by_pictures(&self, mean: &[f64]) -> Option<Vec<f32>> {
        let n = self.real.len();
        let x = self.centred(0, n, mean);
        let x = MatRef::from_row_major_slice(&x, n, self.size);
        let mut sums = vec![0.0; n * n];
        add_products(&mut sums, x, x.transpose());
        let (values, vectors) = leading(&sums, n)?;
        let mut components = vec![0.0; values.len() * self.size];
        add_products(&mut components, x.transpose(), vectors.as_ref());
        let scaled = components.chunks_exact(self.size).zip(values);
        Some(scaled.flat_map(|(c, value)| c.iter().map(move |x| (x / value.sqrt()) as f32)).collect())
    }
}

/// Adds `a · b` to `sums`, columns one after another.
fn add_products(sums: &mut [f64], a: MatRef<f64>, b: MatRef<f64>) {
    let rows = a.nrows();
    sums.par_chunks_mut(COLUMNS * rows).enumerate().for_each(|(i, sums)| {
        let columns = sums.len() / rows;
        let b = b.subcols(i * COLUMNS, columns);
        let sums = MatMut::from_column_major_slice_mut(sums, rows, columns);
        matmul(sums, Accum::Add, a, b, 1.0, Par::Seq);
    });
}

/// The largest eigenvalues of a symmetric matrix in falling order, and their vectors as columns. `None` without any
/// above zero.
fn leading(matrix: &[f64], n: usize) -> Option<(Vec<f64>, Mat<f64>)> {
    let matrix = MatRef::from_column_major_slice(matrix, n, n);
    let (mut values, mut vectors) = (Diag::zeros(n), Mat::zeros(n, n));
    // By one thread, so that its bits are the same for any number of them.
    let scratch = self_adjoint_evd_scratch::<f64>(n, ComputeEigenvectors::Yes, Par::Seq, Default::default());
    let stack = &mut MemBuffer::new(scratch);
    let stack = MemStack::new(stack);
    self_adjoint_evd(matrix, values.as_mut(), Some(vectors.as_mut()), Par::Seq, stack, Default::default()).ok()?;
    let values: Vec<f64> = values.column_vector().iter().rev().copied().collect();
    let least = values.first()? * LEAST;
    let kept = values.iter().take(COMPONENTS).take_while(|&&v| v > 0.0 && v > least).count();
    let vectors = Mat::from_fn(n, kept, |i, j| vectors[(i, n - 1 - j)]);
    (kept > 0).then(|| (values[..kept].to_vec(), vectors))
}

#[cfg(test)]
mod tests {
    use undiffuse_data::Options;
    use undiffuse_data::source::Memory;

    use super::*;

    const SIDE: usize = 6;

    fn pictures(n: usize, channels: usize) -> Vec<Image> {
        let picture = |i: usize| {
            let pixels = (0..SIDE * SIDE * channels).map(|p| (i * 7919 + p * p * 104_729 + i * p * 31) % 251);
            Image::new(SIDE, SIDE, channels, pixels.map(|v| v as u8).collect())
        };
        (0..n).map(picture).collect()
    }

    fn fit(pictures: &[Image]) -> Pixels {
        let options = Options { size: Some(SIDE), ..Options::default() };
        let mut source = Memory::from_images(pictures.to_vec(), &[]);
        Pixels::fit(&Dataset::from_source("test", &mut source, &options).unwrap()).unwrap()
    }

    /// `‖a − b‖²` of pixels in [−1, 1].
    fn distance(a: &Image, b: &Image) -> f64 {
        let pairs = a.pixels.iter().zip(&b.pixels);
        pairs.map(|(&a, &b)| ((f64::from(a) - f64::from(b)) / 127.5).powi(2)).sum()
    }

    #[test]
    fn all_components_together_are_a_rotation_and_they_do_not_correlate() {
        // With every component kept, distances between the real pictures are those of their pixels, whichever of
        // the two matrices was decomposed.
        for (n, channels) in [(200, 1), (20, 1), (300, 3), (50, 3)] {
            let pictures = pictures(n, channels);
            let pixels = fit(&pictures);
            let mut rows = vec![];
            pixels.extract(&pictures, &mut rows);
            let dims = pixels.dims();
            assert!(dims <= (n - 1).min(SIDE * SIDE * channels), "{dims} components of {n} pictures");
            let row = |i: usize| &rows[i * dims..(i + 1) * dims];
            for (i, j) in [(0, 1), (3, 17), (11, 5)] {
                let got: f64 = row(i).iter().zip(row(j)).map(|(a, b)| f64::from(a - b).powi(2)).sum();
                let truth = distance(&pictures[i], &pictures[j]);
                assert!((got - truth).abs() < 1e-4 * truth, "{n} × {channels}: {got}, {truth} is right");
            }
            let moment = |a: usize, b: usize| -> f64 {
                (0..n).map(|i| f64::from(row(i)[a]) * f64::from(row(i)[b])).sum::<f64>() / n as f64
            };
            assert!(moment(0, 0) >= moment(1, 1) && moment(1, 1) >= moment(2, 2));
            assert!(moment(0, 1).abs() < 1e-4 * moment(0, 0), "{} beside {}", moment(0, 1), moment(0, 0));
        }
    }

    #[test]
    fn vectors_depend_on_no_batch() {
        let pictures = pictures(64, 3);
        let pixels = fit(&pictures);
        let (mut whole, mut one_by_one) = (vec![], vec![]);
        pixels.extract(&pictures, &mut whole);
        pictures.chunks(1).for_each(|picture| pixels.extract(picture, &mut one_by_one));
        assert_eq!(whole, one_by_one);
    }
}
