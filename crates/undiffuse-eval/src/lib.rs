//! What a model's pictures are worth: features, protocol, figures, an audit for copies, a report; and what ails a run.

pub mod doctor;
pub mod features;
