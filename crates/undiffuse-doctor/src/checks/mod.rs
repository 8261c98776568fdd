//! Every check: one function, one line in the table. Checks of one subject share a file.
//!
//! Thresholds stand beside the check that uses them. They are set so that short runs and noisy losses are no alarm; a check
//! that cannot tell stays silent.

mod average;
mod data;
mod history;
mod learning;
mod process;
mod rate;
mod samples;
mod settings;

use super::{Check, Finding, Run, Severity};

fn problem(what: impl Into<String>, change: impl Into<String>) -> Finding {
    Finding::new(Severity::Problem, what, change)
}

fn warning(what: impl Into<String>, change: impl Into<String>) -> Finding {
    Finding::new(Severity::Warning, what, change)
}

fn note(what: impl Into<String>, change: impl Into<String>) -> Finding {
    Finding::new(Severity::Note, what, change)
}

/// A share as whole percent, or a tenth of one where it is small.
fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent.abs() < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

macro_rules! checks {
    ($($tag:literal, $about:literal, $function:path;)+) => {
        /// Every check, in the order in which a person would look.
        pub const CHECKS: &[Check] = &[$(Check { tag: $tag, about: $about, run: $function }),+];
    };
}

checks! {
    "damaged", "files that cannot be read, a log that ends before the run", history::damaged;
    "diverged", "NaN and explosions that stopped the program", history::diverged;
    "not-a-number", "losses or gradients in the log that are no numbers", history::not_a_number;
    "weights", "weights that are NaN, or zero altogether", history::weights;
    "unfinished", "a run that stopped before its end", history::unfinished;
    "lr-high", "a loss that rises or spikes, gradients that grow", rate::high;
    "lr-low", "weights that could hardly move", rate::low;
    "trivial-loss", "a loss that answering zero, or each pixel by itself, would reach", learning::trivial_loss;
    "levels", "noise levels at which nothing was learnt", learning::levels;
    "warmup", "a warm-up that takes the run, or most of it", rate::warmup;
    "memorising", "a loss on held-out pictures that rises or stays behind", learning::memorising;
    "few-images", "more weights than numbers in the data, and many passes", learning::few_images;
    "still-improving", "a loss that was still falling at the end, pictures never seen", learning::still_improving;
    "ema-long", "an average that lags behind the weights", average::long;
    "ema-short", "weights that are noisier than an average would be", average::short;
    "parameterization", "a model that is read otherwise than it was trained", process::parameterization;
    "pixel-range", "a model that was trained on another range of pixel values, or inverted ones", process::pixel_range;
    "zero-snr", "a network that answers noise where nothing but noise is left", process::zero_snr;
    "prior-gap", "sampling that starts from other noise than training ends at", process::prior_gap;
    "sigma-data", "preconditioning for data of another spread", process::sigma_data;
    "clip", "clipping that cuts into the range of pixels", process::clip;
    "grey-data", "grey pictures in a colour model, or coloured ones in a grey model", data::grey;
    "range", "pictures that use a small part of the range of values", data::range;
    "one-picture", "pictures that are all nearly the same", data::flat;
    "enlarged", "pictures that were enlarged to the size of training", data::enlarged;
    "unlabelled", "pictures without a class where others have one", data::unlabelled;
    "classes", "classes with few pictures", data::classes;
    "captions-alike", "pictures whose captions are all the same", data::captions_alike;
    "uncaptioned", "pictures without a caption where others have one", data::uncaptioned;
    "duplicates", "pictures that occur several times", data::duplicates;
    "batch", "batches too small for a steady gradient", settings::batch;
    "guidance", "guidance without the dropout of the condition that it needs, or too much of it", settings::guidance;
    "labels-unused", "a network that pays no heed to its condition", settings::labels_unused;
    "steps", "too few sampling steps for the solver", settings::steps;
    "held-out", "no pictures to notice memorising by", settings::held_out;
    "sample-tone", "samples that are grey, saturated, tinted or inverted beside the data", samples::tone;
    "sample-variety", "samples that look alike", samples::variety;
    "sample-copies", "samples that are nearer to training pictures than those are to each other", samples::copies;
}
