//! `undiffuse vary`.

pub mod series;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value, json};
use undiffuse::variation::moved;

use crate::common::usage;
use series::{Decoder, Decoding, Series, Start, way};

/// Pictures like one: what its CLIP sees in it is kept, and the rest made up \[Ramesh22, section 3.1\].
#[derive(clap::Args)]
pub struct Args {
    /// The picture
    pub image: PathBuf,
    /// How many pictures
    #[arg(short, long = "number", default_value_t = 8)]
    pub n: usize,
    /// Seed of the first picture's noise; the others count up. With --from and --to, all begin at the noise of this one seed instead
    /// of the picture's own
    #[arg(long)]
    pub seed: Option<u64>,
    /// Begin at the noise that DDIM inversion finds for the picture, which has what its CLIP does not see, and walk with this eta: 0 gives
    /// the picture back, 1 keeps least
    #[arg(long, value_name = "ETA")]
    pub keep: Option<f64>,
    /// With --to: move the picture along the difference of two texts, away from this one, such as "a day" \[Ramesh22, section 3.3\]
    #[arg(long, value_name = "TEXT", requires = "to")]
    pub from: Option<String>,
    /// With --from: towards this text, such as "a night"
    #[arg(long, value_name = "TEXT", requires = "from")]
    pub to: Option<String>,
    /// How far the last picture is moved: the share of the angle between the picture and the difference, 0.25 to 0.5 in the paper
    #[arg(long, default_value_t = 0.5, requires = "to")]
    pub theta: f64,
    #[command(flatten)]
    pub decoding: Decoding,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.n == 0 {
        return Err(usage("-n must be at least 1"));
    }
    if let Some(eta) = args.keep.filter(|eta| !(0.0..=1.0).contains(eta)) {
        return Err(usage(format!("--keep {eta} must be from 0 to 1")));
    }
    if !(0.0..=1.0).contains(&args.theta) {
        return Err(usage(format!("--theta {} must be from 0 to 1", args.theta)));
    }
    let texts = args.from.as_deref().zip(args.to.as_deref());
    let keep = args.keep.or((texts.is_some() && args.seed.is_none()).then_some(0.0));
    let decoder = Decoder::load(&args.decoding, keep)?;
    let (image, vector) = decoder.seen(&args.image)?;
    let (vectors, facts) = match texts {
        Some(texts) => along(&args, &decoder, &vector, texts)?,
        None => (vec![vector.clone(); args.n], Vec::new()),
    };
    let first = args.seed.unwrap_or(0);
    let film = texts.is_some();
    let seeds = (0..args.n as u64).map(|k| if film { first } else { first.wrapping_add(k) }).collect();
    let start = match keep {
        Some(_) => Start::Found(Box::new(decoder.inverted(&image, &vector)?.repeat_dim(0, args.n)), seeds),
        None => Start::Seeds(seeds),
    };
    let before = vec![decoder.beside(&image)];
    let (inputs, decoding) = (vec![args.image.as_path()], &args.decoding);
    Series { decoder: &decoder, decoding, inputs, vectors, start, before, film, facts }.run()
}

/// What each of some pictures is asked by, and what it says of that.
type Asked = (Vec<Vec<f32>>, Vec<Map<String, Value>>);

/// What pictures on the way along a difference of texts are asked by, and say of that.
fn along(args: &Args, decoder: &Decoder, vector: &[f32], (from, to): (&str, &str)) -> anyhow::Result<Asked> {
    let clip = decoder.pictures().clip();
    for (option, text) in [("from", from), ("to", to)] {
        clip.accepts(text).map_err(|e| usage(format!("--{option}: {e}")))?;
    }
    let texts = clip.texts(&[from, to])?;
    let (mut vectors, mut facts) = (Vec::new(), Vec::new());
    for theta in way(args.n).map(|share| share * args.theta) {
        let vector = moved(vector, texts.row(0), texts.row(1), theta);
        vectors.push(
            vector.ok_or_else(|| usage("--from and --to are the same to the decoder's CLIP: it sees no difference"))?,
        );
        let told = json!({ "from": from, "to": to, "theta": theta });
        facts.extend(told.as_object().cloned());
    }
    Ok((vectors, facts))
}
