//! One file a command; this table is all that `main` knows of them.

use std::process::ExitCode;

use clap::Subcommand;

macro_rules! commands {
    ($($(#[doc = $doc:literal])+ $module:ident $variant:ident;)+) => {
        $(mod $module;)+

        /// What the program can do.
        #[derive(Subcommand)]
        #[allow(clippy::large_enum_variant)] // there is one of it in a program
        pub enum Command {
            $($(#[doc = $doc])+ $variant($module::Args),)+
        }

        impl Command {
            /// Runs the command.
            pub fn run(self) -> anyhow::Result<ExitCode> {
                match self {
                    $(Command::$variant(args) => $module::run(args),)+
                }
            }
        }
    };
}

commands! {
    /// Train a model on a folder of images (or, with no words, on the bundled ones)
    train Train;
    /// Make new pictures with a trained model
    sample Sample;
    /// Make pictures like one, or move it along a difference of texts, with a decoder of DALL·E 2
    vary Vary;
    /// Make the pictures between two with a decoder of DALL·E 2
    blend Blend;
    /// Say how many bits a model needs for pictures: variational bound and ODE likelihood
    nll Nll;
    /// Open the studio in the browser, and answer requests for pictures over HTTP
    serve Serve;
    /// Judge a model's pictures beside real ones: quality, coverage, likelihood, copies
    eval Eval;
    /// Find the pictures that words are said of
    search Search;
    /// List the networks that pictures are judged by, or install the weights of one
    features Features;
    /// Repeat a paper's experiment, its table beside ours, its figure drawn
    reproduce Reproduce;
    /// Show what a dataset holds, and draw a contact sheet of it
    data Data;
    /// Watch pictures dissolve into noise, step by step
    diffuse Diffuse;
    /// Print a sampler as a table of numbers, or list the parts to make one from
    plan Plan;
    /// Look into a picture, a model, a run or a checkpoint
    inspect Inspect;
    /// Say what is likely wrong with a run, why, and what to change
    doctor Doctor;
    /// Run the bare network on tensors
    predict Predict;
}
