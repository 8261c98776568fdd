//! A training loop of one's own over the event iterator: it stops by itself when the validation loss no longer falls.
//! `cargo run --release -p undiffuse --example training_loop -- PICTURES`

use undiffuse::device;
use undiffuse::train::{Config, Event, Trainer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pictures = std::env::args().nth(1).unwrap_or("data/fashion-mnist".into());
    let settings = [format!("data.path={pictures:?}"), "train.images=25600".into(), "train.previews=20".into()];
    let config = Config::layered("quick", None, &settings)?;
    let run = std::env::temp_dir().join(format!("undiffuse-example-{}", std::process::id()));
    let mut trainer = Trainer::create(config, &run, &device::open("cpu")?, &mut |_| {})?;

    let mut best = f64::INFINITY;
    let mut worse = 0;
    while let Some(event) = trainer.next() {
        match event? {
            Event::Validated { nimg, loss } => {
                println!("{nimg} images: validation loss {loss:.4}");
                worse = if loss < best { 0 } else { worse + 1 };
                best = best.min(loss);
            }
            Event::Preview(preview) => println!("look at {}", preview.path.display()),
            _ => {}
        }
        if worse == 3 {
            trainer.save()?;
            break;
        }
    }
    println!("the model is in {}", run.join("model").display());
    Ok(())
}
