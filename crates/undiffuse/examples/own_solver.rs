//! A solver of one's own: a pure function from noise levels to a plan, run by the same sampler as all others.
//!
//! This one is Euler's method in the log-SNR-free form that fits on a line: keep the guess of the noise, replace the
//! level. `cargo run --release -p undiffuse --example own_solver -- runs/fashion-mnist`

use undiffuse::math::prelude::{NoiseLevel, Plan, Row, Solver};
use undiffuse::{Model, data, device, sample::Noise};

/// With `D` the guess of the clean picture, the guess of the noise is `(x − αD) / σ`; the next `x` has the same guesses
/// at the next level: `x' = α'D + σ'(x − αD)/σ`.
#[derive(Debug)]
struct KeepTheNoise;

impl Solver for KeepTheNoise {
    fn unchecked_plan(&self, levels: &[NoiseLevel]) -> Plan {
        let rows = levels.windows(2).map(|pair| {
            let (level, to) = (pair[0], pair[1]);
            // A clean picture has no noise to keep a share of.
            let keep = if level.sigma > 0.0 { to.sigma / level.sigma } else { to.alpha / level.alpha };
            Row { level, to, x: vec![keep], denoised: vec![to.alpha - keep * level.alpha], ..Row::default() }
        });
        Plan { start: levels[0].scale(), rows: rows.collect() }
    }

    fn order(&self) -> Option<f64> {
        Some(1.0)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or("runs/fashion-mnist".into());
    let model = Model::load(folder, &device::open("cpu")?)?;
    let plan = model.recipe.grid(40)?.plan(&KeepTheNoise)?;
    let denoiser = model.denoiser(1.5);
    let cond = model.conditioner.turns(Vec::new(), 16);
    let x = model.sample(&*denoiser, &plan, Noise::Seeds((0..16).collect()), &cond).finish()?;
    std::fs::write("own_solver.png", data::encode_png(&data::grid(&model.images(x), 4, 2), &[])?)?;
    println!("16 pictures in own_solver.png");
    Ok(())
}
