//! The tokens of prompts: reads JSON strings, one a line, and prints a list of numbers for each.
//!
//!     echo '"a red heart"' | cargo run --release --example tokens -- stable-diffusion/tokenizer

use std::io::{BufRead, Write, stdin, stdout};
use std::path::PathBuf;

use undiffuse::words::Tokenizer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("which tokenizer? name its folder")?.into();
    let tokenizer = Tokenizer::read(&folder)?;
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let prompt: String = serde_json::from_str(&line?)?;
        writeln!(out, "{:?}", tokenizer.ids(&prompt)?)?;
    }
    Ok(())
}
