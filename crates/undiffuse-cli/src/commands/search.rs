//! `undiffuse search`.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use undiffuse::data::{Cache, Dataset, Image, Options, encode_png, grid};
use undiffuse_eval::{EvalError, EvalStage, Hit, Judge, search};

use crate::common::{self, INTERRUPTED, Machine, usage};
use crate::output::{keep, remark, show, show_json, write};
use crate::ui::bars::{Bar, Bars, loading};

/// Pictures side by side in a grid, and about how many pixels a side they are enlarged to.
const COLUMNS: usize = 6;
const CELL: usize = 96;

/// Find the pictures that words are said of: by a CLIP, which was never told which is which.
#[derive(clap::Args)]
pub struct Args {
    /// A run of `undiffuse train --preset clip`, or the folder of a CLIP as transformers has it: text_encoder/,
    /// image_encoder/, tokenizer/
    clip: PathBuf,
    /// What the pictures should show
    words: String,
    /// Where to look: a folder of pictures, a .zip or .tar(.gz) of one, or idx files
    #[arg(long)]
    data: PathBuf,
    /// How many pictures
    #[arg(short, long = "number", default_value_t = 12)]
    n: usize,
    /// Write them side by side into this PNG
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.n == 0 {
        return Err(usage("-n must be at least 1"));
    }
    if let Some(out) = &args.out {
        keep("--out", out, std::slice::from_ref(&args.data))?;
    }
    let device = args.machine.open()?;
    common::catch_interrupt()?;
    let clip = Judge::read(&args.clip, &device)?;
    if let Some(cut) = clip.clip().cut(&args.words) {
        remark(&format!("note: the words are too many for the CLIP, and these are not read: {cut}"));
    }
    let [channels, side, _] = clip.clip().picture_shape();
    let options = Options { size: Some(side), channels: Some(channels), ..Options::default() };
    let data = Dataset::open_with(&args.data, &options, &mut loading())?;
    let cache = Cache::Default.dir().map_or_else(|| args.clip.join("cache"), |dir| dir.join("eval"));
    let mut bars = Bars::default();
    let hits = search(&clip, &args.words, &data, args.n, &cache, &mut |progress| {
        bars.show(EvalStage::RealVectors, progress.done, || Bar::new(progress.total, "vectors of the data".to_owned()));
        !common::interrupted()
    });
    bars.finish();
    let hits = match hits {
        Err(EvalError::Interrupted) => {
            remark("interrupted: the same command continues from here");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        other => other?,
    };
    if let Some(out) = &args.out {
        write(out, &encode_png(&sheet(&data, &hits), &[])?)?;
    }
    tell(&args, &data, &hits)?;
    Ok(ExitCode::SUCCESS)
}

fn tell(args: &Args, data: &Dataset, hits: &[Hit]) -> anyhow::Result<()> {
    let path = |hit: &Hit| match args.data.is_dir() {
        true => args.data.join(data.name(hit.index)).display().to_string(),
        false => data.name(hit.index).to_owned(),
    };
    if args.json {
        let pictures = hits.iter().map(|hit| {
            let captions: Vec<&str> = data.captions(hit.index).collect();
            json!({ "path": path(hit), "cosine": hit.cosine, "captions": captions })
        });
        return show_json(&json!({ "words": args.words, "pictures": pictures.collect::<Vec<_>>() }));
    }
    let lines: String = hits.iter().map(|hit| format!("{:>7.4}  {}\n", hit.cosine, path(hit))).collect();
    show(&lines)
}

/// The pictures in reading order.
fn sheet(data: &Dataset, hits: &[Hit]) -> Image {
    let factor = (CELL / data.width()).max(1);
    let cells: Vec<Image> = hits.iter().map(|hit| data.image(hit.index).upscale(factor)).collect();
    grid(&cells, COLUMNS, 2)
}
