//! The `undiffuse` program: arguments in, one command run, the right exit code out.
//!
//! # Sources
//!
//! | key | work |
//! |---|---|
//! | Bao22 | Bao et al., Analytic-DPM, arXiv:2201.06503 |
//! | Ho20 | Ho et al., Denoising diffusion probabilistic models, arXiv:2006.11239 |
//! | Karras22 | Karras et al., Elucidating the design space of diffusion-based generative models, arXiv:2206.00364 |
//! | Kynkaanniemi24 | Kynkaanniemi et al., Applying guidance in a limited interval improves sample and distribution quality in diffusion models, arXiv:2404.07724 |
//! | Lin24 | Lin et al., Common diffusion noise schedules and sample steps are flawed, arXiv:2305.08891 |
//! | Ramesh22 | Ramesh et al., Hierarchical text-conditional image generation with CLIP latents, arXiv:2204.06125 |
//! | Song21 | Song et al., Score-based generative modeling through stochastic differential equations, arXiv:2011.13456 |
//! | Song21c | Song et al., Denoising diffusion implicit models, arXiv:2010.02502 |

// `println!` and `eprintln!` panic when nobody can hear them: `output` says what is to be said.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod again;
mod asks;
mod commands;
mod common;
mod output;
mod sampling;
mod terminal;
mod ui;

use std::process::ExitCode;

use clap::Parser;

/// Most of a training step's time that is not arithmetic is memory being handed out and taken back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Train diffusion models on your own images, sample from them, and watch the ink spread and un-spread.
#[derive(Parser)]
#[command(name = "undiffuse", version, arg_required_else_help = true, max_term_width = 100)]
struct Program {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(e) => {
            // Help and version are no failures; clap knows which is which.
            let _ = e.print();
            return ExitCode::from(e.exit_code() as u8);
        }
    };
    match program.command.run() {
        Ok(code) => code,
        Err(e) => {
            output::remark(&format!("error: {}", common::message(&e)));
            ExitCode::from(common::exit_code(&e))
        }
    }
}
