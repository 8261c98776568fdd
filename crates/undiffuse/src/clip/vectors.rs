//! Vectors of texts and of pictures.

use burn::tensor::Tensor;

/// Vectors of equal width, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    width: usize,
    values: Vec<f32>,
}

impl Vectors {
    /// None yet.
    ///
    /// # Panics
    /// If `width` is 0.
    pub fn new(width: usize) -> Self {
        Self::of(width, Vec::new())
    }

    /// Vectors of these numbers, one after the other.
    ///
    /// # Panics
    /// If `width` is 0 or the numbers are no whole vectors.
    pub fn of(width: usize, values: Vec<f32>) -> Self {
        assert!(width > 0 && values.len().is_multiple_of(width), "{} numbers in vectors of {width}", values.len());
        Self { width, values }
    }

    /// Adds `[B, width]`.
    pub(super) fn extend(&mut self, more: Tensor<2>) {
        debug_assert_eq!(more.dims()[1], self.width);
        self.values.extend(more.into_data().try_into_vec_as::<f32>().expect("vectors are numbers"));
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All numbers `[len, width]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The vectors.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.width)
    }

    /// Vector `i`.
    ///
    /// # Panics
    /// If there are no more than `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..][..self.width]
    }

    /// The same directions at length 1; the vector of zeros stays.
    pub fn unit(&self) -> Self {
        let unit = |row: &[f32]| {
            let scale = 1.0 / dot(row, row).sqrt().max(f64::MIN_POSITIVE);
            row.iter().map(move |&v| (f64::from(v) * scale) as f32).collect::<Vec<_>>()
        };
        Self { width: self.width, values: self.rows().flat_map(unit).collect() }
    }

    /// The scalar product of vector `i` with a vector of as many numbers.
    ///
    /// # Panics
    /// If there are no more than `i`.
    pub fn product(&self, i: usize, other: &[f32]) -> f64 {
        dot(self.row(i), other)
    }

    /// The cosine of vector `i` with a vector of as many numbers.
    ///
    /// # Panics
    /// If there are no more than `i`.
    pub fn cosine(&self, i: usize, other: &[f32]) -> f64 {
        let own = self.row(i);
        dot(own, other) / (dot(own, own) * dot(other, other)).sqrt().max(f64::MIN_POSITIVE)
    }
}

/// `Σ a b`, in order.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
