//! Load a model and make pictures: `cargo run --release -p undiffuse --example generate -- runs/fashion-mnist`

use undiffuse::{Model, data, device, sample::Noise};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or("runs/fashion-mnist".into());
    let model = Model::load(folder, &device::open("cpu")?)?;
    let plan = model.plan()?;
    let denoiser = model.denoiser(&model.sample_defaults());
    let seeds: Vec<u64> = (0..16).collect();
    let cond = model.conditioner.turns(Vec::new(), 16);
    let x = model.sample(&*denoiser, &plan, Noise::Seeds(seeds), &cond).finish()?;
    std::fs::write("generated.png", data::encode_png(&data::grid(&model.images(x), 4, 2), &[])?)?;
    println!("16 pictures in generated.png");
    Ok(())
}
