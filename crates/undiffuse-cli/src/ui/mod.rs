//! What a person sees while something runs.

pub mod lines;
