//! Pictures by words.

use std::path::Path;

use undiffuse_data::Dataset;

use crate::judge::Judge;
use crate::vectors::vectors;
use crate::{EvalError, EvalProgress, EvalStage};

/// A picture that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Its place in the data.
    pub index: usize,
    /// Of its vector and that of the words, from -1 to 1.
    pub cosine: f64,
}

/// The `n` pictures of the data that are nearest to the words, the nearest first. The vectors of the pictures are kept in
/// `folder`.
///
/// # Errors
/// Words that make no tokens, files that cannot be written, an interruption: what was computed is kept.
pub fn search(
    clip: &Judge,
    words: &str,
    data: &Dataset,
    n: usize,
    folder: &Path,
    progress: &mut dyn FnMut(EvalProgress) -> bool,
) -> Result<Vec<Hit>, EvalError> {
    clip.clip().accepts(words).map_err(EvalError::Shapes)?;
    let seen = vectors(data, data.len(), clip, folder, EvalStage::RealVectors, progress)?;
    let texts = clip.clip().texts(&[words]).map_err(undiffuse::model::ModelError::from)?;
    let hit = |(index, row)| Hit { index, cosine: texts.cosine(0, row) };
    let rows = seen.rows();
    let mut hits: Vec<Hit> = (0..rows.len()).map(|i| (i, rows.row(i))).map(hit).collect();
    hits.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(a.index.cmp(&b.index)));
    hits.truncate(n);
    Ok(hits)
}
