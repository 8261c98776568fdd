//! A folder of scenes, as any trainer reads it.

use std::path::Path;

use rayon::prelude::*;
use serde_json::json;

use super::{SIDES, draw, random};
use crate::files::{self, FileError};
use crate::{DataError, encode_png};

/// The file with one caption of each scene, a line each, as `undiffuse sample --prompts` reads it.
pub const PROMPTS: &str = "prompts.txt";
/// The table of captions, as the Hugging Face imagefolder has it.
const TABLE: &str = "metadata.jsonl";
/// The most scenes: as many as the pictures' names have digits for.
const MOST: usize = 10_000_000;

/// Which scenes are to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Making {
    /// How many.
    pub n: usize,
    /// The seed that they all follow from.
    pub seed: u64,
    /// Height and width in pixels: one of [`SIDES`].
    pub side: usize,
    /// Only scenes that are held out, instead of only those that are not.
    pub held_out: bool,
}

impl Making {
    fn check(&self) -> Result<(), DataError> {
        let wrong = |name, value: usize, expected| Err(DataError::Option { name, value: value.to_string(), expected });
        match self {
            Making { n, .. } if !(1..=MOST).contains(n) => wrong("n", *n, "from 1 to 10,000,000 scenes can be made"),
            Making { side, .. } if !SIDES.contains(side) => {
                wrong("size", *side, "shapes can be told apart on sides of 24 to 512 pixels; 32 and 64 are usual")
            }
            _ => Ok(()),
        }
    }
}

/// Why scenes cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakingError {
    /// What was asked for cannot be.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The folder cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Makes a folder with `00000.png`…, `metadata.jsonl` (`file_name`, and the three wordings as `text`) and [`PROMPTS`]: of scene *k*
/// wording *k* mod 3. It is there whole or not at all.
///
/// # Errors
/// Numbers that cannot be; a folder that is not empty; whatever the system says.
pub fn make(folder: &Path, making: &Making) -> Result<(), MakingError> {
    making.check()?;
    files::write_folder(folder, &[], |folder| {
        let lines: Result<Vec<(String, String)>, MakingError> =
            (0..making.n).into_par_iter().map(|k| picture(folder, making, k)).collect();
        let (rows, prompts): (Vec<String>, Vec<String>) = lines?.into_iter().unzip();
        files::create(&folder.join(TABLE), rows.concat().as_bytes())?;
        files::create(&folder.join(PROMPTS), prompts.concat().as_bytes())?;
        Ok(())
    })
}

/// Writes picture `k`; returns its row and its prompt.
fn picture(folder: &Path, making: &Making, k: usize) -> Result<(String, String), MakingError> {
    let (scene, placed) = random(making.seed, k as u64, making.held_out);
    let name = format!("{k:05}.png");
    let png = encode_png(&draw(&placed, making.side), &[])?;
    files::create(&folder.join(&name), &png)?;
    let captions = scene.captions();
    let row = format!("{}\n", json!({ "file_name": name, "text": captions }));
    Ok((row, format!("{}\n", captions[k % captions.len()])))
}
