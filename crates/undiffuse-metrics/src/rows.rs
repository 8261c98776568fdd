//! Vectors of numbers, one an image.

/// `n` vectors of `dims` numbers, borrowed: `[n, dims]`, one after another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rows<'a> {
    values: &'a [f32],
    dims: usize,
}

impl<'a> Rows<'a> {
    /// # Panics
    /// If `dims` is 0 or does not divide the length.
    pub fn new(values: &'a [f32], dims: usize) -> Self {
        assert!(dims > 0 && values.len().is_multiple_of(dims), "{} values are no rows of {dims}", values.len());
        Self { values, dims }
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.dims
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Numbers in a vector.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Vector `i`.
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.values[i * self.dims..(i + 1) * self.dims]
    }

    /// All numbers.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// Vectors one by one.
    pub fn iter(&self) -> std::slice::ChunksExact<'a, f32> {
        self.values.chunks_exact(self.dims)
    }

    /// The first `n` of them, or all.
    pub fn first(&self, n: usize) -> Self {
        Self { values: &self.values[..n.min(self.len()) * self.dims], ..*self }
    }
}
