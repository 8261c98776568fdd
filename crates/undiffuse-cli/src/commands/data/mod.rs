//! `undiffuse data`.

mod check_scenes;
mod make_scenes;

use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use undiffuse::data::text::escaped;
use undiffuse::data::{DataError, DataReport, Dataset, Opening, OpeningStage, Options};
use undiffuse::data::{contact_sheet, encode_png, is_sheet, parse_color, sheet_mark, source};
use undiffuse_eval::duplicates::{self, NearCopy};

use crate::common::usage;
use crate::output::{keep, show, show_json, stem, write};

/// Show what a dataset holds, and draw a contact sheet of it; or make and check captioned scenes.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    scenes: Option<Scenes>,
    /// Images: a folder, a .zip or .tar(.gz) of one, or idx files
    #[arg(required = true)]
    path: Option<PathBuf>,
    #[command(flatten)]
    look: Look,
}

/// How a dataset is looked at.
#[derive(clap::Args)]
struct Look {
    /// Side of the squares that training would see; by the pictures when not given
    #[arg(long)]
    size: Option<usize>,
    /// 1 for grey, 3 for colour; by the pictures when not given
    #[arg(long)]
    channels: Option<usize>,
    /// Colour behind transparent pixels: white, black, grey, #rrggbb or r,g,b
    #[arg(long, default_value = "white", value_parser = parse_color)]
    background: Color,
    /// Refuse data with pictures that cannot be decoded, instead of skipping them
    #[arg(long)]
    strict: bool,
    /// Look for near-copies even among more than 60,000 pictures (minutes)
    #[arg(long)]
    near_copies: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Where the contact sheet goes; <name>-contact.png in the current folder when not given
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Scenes {
    /// Make captioned pictures of coloured shapes
    MakeScenes(make_scenes::Args),
    /// Count how many pictures of scenes show what their captions say
    CheckScenes(check_scenes::Args),
}

/// Red, green, blue.
type Color = [u8; 3];

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match (args.scenes, args.path) {
        (Some(Scenes::MakeScenes(args)), _) => make_scenes::run(args),
        (Some(Scenes::CheckScenes(args)), _) => check_scenes::run(args),
        (None, Some(path)) => report(&path, args.look),
        (None, None) => Err(usage("name the pictures, or `make-scenes` or `check-scenes`")),
    }
}

/// What a dataset holds.
fn report(path: &Path, args: Look) -> anyhow::Result<ExitCode> {
    let options = Options {
        size: args.size,
        channels: args.channels,
        background: args.background,
        strict: args.strict,
        ..Options::default()
    };
    let sheet = args.sheet.unwrap_or_else(|| format!("{}-contact.png", stem(path)).into());
    keep_data(&sheet, path, &options)?;
    let dataset = open(path, &options)?;
    let report = DataReport::new(&dataset);
    let searched = args.near_copies || dataset.len() <= duplicates::QUICK;
    let near_copies = searched.then(|| duplicates::near(&dataset));
    // What was found is worth reading even where no sheet can be written.
    if !args.json {
        show(&report.to_string())?;
        show(&format!("{:<12} {}\n", "near-copies", described(near_copies.as_deref(), &dataset)))?;
    }
    write(&sheet, &encode_png(&contact_sheet(&dataset), &[sheet_mark("contact sheet")])?)?;
    if args.json {
        let mut json = serde_json::to_value(&report)?;
        let name = |i| dataset.name(i);
        json["near_copies"] = near_copies.map_or(serde_json::Value::Null, |pairs| {
            let pair = |p: &NearCopy| {
                serde_json::json!({ "earlier": name(p.earlier), "later": name(p.later), "difference": p.difference })
            };
            pairs.iter().map(pair).collect()
        });
        json["contact_sheet"] = sheet.display().to_string().into();
        show_json(&json)?;
    } else {
        // Under the report, in its columns.
        show(&format!("{:<12} {}\n", "contact", sheet.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses to draw the sheet over the data: over an archive or what belongs to it, or over anything in a folder but an older
/// sheet.
fn keep_data(sheet: &Path, data: &Path, options: &Options) -> anyhow::Result<()> {
    if !sheet.exists() || is_sheet(sheet) {
        return Ok(());
    }
    let inside = |folder: PathBuf| sheet.canonicalize().is_ok_and(|sheet| sheet.starts_with(folder));
    if data.is_dir() && data.canonicalize().is_ok_and(inside) {
        let sheet = sheet.display();
        return Err(usage(format!(
            "{sheet} is among the data, and would be overwritten: name another file with --sheet"
        )));
    }
    let inputs = source::open(data, options).map(|(_, source)| source.inputs().to_vec()).unwrap_or_default();
    keep("--sheet", sheet, &inputs.into_iter().map(|input| input.path).collect::<Vec<_>>())
}

/// Pairs as a line of the report.
fn described(pairs: Option<&[NearCopy]>, dataset: &Dataset) -> String {
    let Some(pairs) = pairs else {
        return format!("not looked for among {} images; --near-copies does (minutes)", dataset.len());
    };
    let name = |i| escaped(dataset.name(i));
    let name = |p: &NearCopy| format!("{} ~ {}", name(p.earlier), name(p.later));
    let shown: Vec<String> = pairs.iter().take(SHOWN).map(name).collect();
    let more = if pairs.len() > SHOWN { format!(", and {} more", pairs.len() - SHOWN) } else { String::new() };
    match pairs.len() {
        0 => "0 pairs".into(),
        n => format!("{n} pairs: {}{more}", shown.join(", ")),
    }
}

/// Pairs that the report names.
const SHOWN: usize = 5;

/// Opens the data, with its progress on the terminal, if there is one.
fn open(path: &Path, options: &Options) -> anyhow::Result<Dataset> {
    let mut line = std::io::stderr();
    let terminal = line.is_terminal();
    let mut shown = false;
    let opened = Dataset::open_with(path, options, &mut |Opening { stage, done, total }| {
        if terminal {
            let what = match stage {
                OpeningStage::Measuring => "measuring",
                OpeningStage::Decoding => "decoding",
            };
            let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(line, "\r\x1b[K{what} {done}{of}");
            shown = true;
        }
    });
    if shown {
        let _ = write!(line, "\r\x1b[K");
    }
    opened.map_err(|e| match e {
        DataError::Option { .. } => usage(e.to_string()),
        e => e.into(),
    })
}
