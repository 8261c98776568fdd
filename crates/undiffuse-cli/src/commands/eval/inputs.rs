//! What is judged, and the pictures that it is judged by.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use undiffuse::Model;
use undiffuse::burn::tensor::Device;
use undiffuse::data::{Dataset, Options};
use undiffuse::model::{ModelError, ModelFolder};
use undiffuse::run::RunFolder;
use undiffuse_eval::{Generator, Subject, identity};

use super::{Args, USUAL};
use crate::common::usage;
use crate::output::{remark, stem};
use crate::ui::bars::loading;

/// What is judged, opened.
pub enum Judged {
    Model { model: Box<Model>, identity: String },
    Pictures(Box<Dataset>),
}

impl Judged {
    pub fn open(args: &Args, path: &Path, device: &Device) -> anyhow::Result<Self> {
        match ModelFolder::find(path) {
            Ok(folder) => {
                let variant = args.variant.variant.as_deref();
                let model = Model::load_variant(path, variant, device)?;
                let settings = args.sampling.settings(&model)?;
                let model = Box::new(model.with(settings));
                model.recipe.notes.iter().for_each(|note| remark(&format!("note: {note}")));
                if args.size.is_some() {
                    return Err(usage("--size is for folders of pictures: a model makes its own size"));
                }
                Ok(Self::Model { model, identity: identity(&folder, variant)? })
            }
            Err(ModelError::NotFound(_)) if path.exists() => {
                let sampling = &args.sampling;
                if sampling.is_given() {
                    return Err(usage(format!(
                        "`{}` is no model: pictures have no --solver, --spacing, --steps, --eta, --guidance",
                        path.display()
                    )));
                }
                let options = Options { size: args.size, channels: args.channels, ..Options::default() };
                let pictures = Dataset::open_with(path, &options, &mut loading())?;
                if args.size.is_none() {
                    one_size(path, &pictures)?;
                }
                Ok(Self::Pictures(Box::new(pictures)))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// What the evaluation judges: the pictures, or the model, with what it needs to make some like `data`.
    pub fn subject<'a>(&'a self, args: &'a Args, data: &'a Dataset) -> anyhow::Result<Subject<'a>> {
        Ok(match self {
            Self::Model { model, identity } => Subject::Model(Generator {
                model,
                identity,
                device: &args.machine.device,
                data,
                batch: model.at_once(args.batch)?,
            }),
            Self::Pictures(pictures) => Subject::Pictures(pictures.as_ref()),
        })
    }

    /// How many pictures are judged.
    pub fn number(&self, args: &Args, path: &Path) -> usize {
        let Self::Pictures(pictures) = self else { return args.n.unwrap_or(USUAL) };
        let (asked, held) = (args.n.unwrap_or(pictures.len()), pictures.len());
        if asked > held {
            remark(&format!("note: -n {asked}: `{}` holds {held} pictures; all of them are judged", path.display()));
        }
        asked
    }

    /// What the pictures of a folder were before they were resized.
    pub fn original(&self) -> Option<String> {
        let Self::Pictures(pictures) = self else { return None };
        let (first, size) = (pictures.original_size(0), pictures.height());
        Some(match (0..pictures.len()).all(|i| pictures.original_size(i) == first) {
            true if first == (size, size) => "as they were".into(),
            true => format!("{}×{}", first.0, first.1),
            false => "of several sizes".into(),
        })
    }

    /// Channels and side.
    fn shape(&self) -> anyhow::Result<(usize, usize)> {
        match self {
            Self::Pictures(pictures) => Ok((pictures.channels(), pictures.height())),
            Self::Model { model, .. } => match model.picture_shape() {
                [channels, height, width] if height == width => Ok((channels, height)),
                [_, height, width] => {
                    Err(usage(format!("the model's pictures are {width}×{height}; only square ones can be measured")))
                }
            },
        }
    }
}

/// Pictures of several sizes are no result of one model: cropping and resizing them unasked would hide it.
fn one_size(path: &Path, pictures: &Dataset) -> anyhow::Result<()> {
    let first = pictures.original_size(0);
    let other = (1..pictures.len()).find(|&i| pictures.original_size(i) != first);
    let shown = |i: usize| {
        let (width, height) = pictures.original_size(i);
        format!("`{}` is {width}×{height}", pictures.name(i))
    };
    let size = pictures.height();
    match other {
        Some(other) => Err(usage(format!(
            "the pictures of `{}` are of several sizes: {}, {}; --size {size} crops and resizes all of them",
            path.display(),
            shown(0),
            shown(other)
        ))),
        None if first.0 != first.1 => Err(usage(format!(
            "the pictures of `{}` are not square: {}; --size {size} crops and resizes all of them",
            path.display(),
            shown(0)
        ))),
        None => Ok(()),
    }
}

/// What a judged model is called by: the run that it lies in, or itself.
pub fn run_or_model(path: &Path) -> RunFolder {
    RunFolder::find(path).unwrap_or_else(|| RunFolder::new(path))
}

/// The data of the run that a model lies in, and which of its pictures were held out of training.
pub fn own_data(args: &Args, path: &Path) -> anyhow::Result<Option<(Dataset, BTreeSet<usize>)>> {
    let Some(run) = RunFolder::find(path) else { return Ok(None) };
    match (run.held_out(&mut loading()), &args.data) {
        (Ok((data, held_out)), _) => Ok(Some((data, held_out.into_iter().collect()))),
        (Err(e), Some(_)) => {
            remark(&format!(
                "note: the run's own data cannot be read, so --data stands for what it was trained on: {e}"
            ));
            Ok(None)
        }
        (Err(e), None) => Err(e).context("the run's own data cannot be read; name data with --data"),
    }
}

/// The datasets that were named.
pub struct Named {
    pub data: Option<Dataset>,
    pub training: Option<Dataset>,
    pub held_out: Option<Dataset>,
}

impl Named {
    pub fn open(args: &Args, path: &Path, judged: &Judged) -> anyhow::Result<Self> {
        let (channels, size) = judged.shape()?;
        let open = |named: &Option<PathBuf>| -> anyhow::Result<Option<Dataset>> {
            let Some(named) = named else { return Ok(None) };
            let options = Options { size: Some(size), channels: args.channels, ..Options::default() };
            let data = Dataset::open_with(named, &options, &mut loading())?;
            one_colour(path, judged, &data)?;
            let resized = (0..data.len()).filter(|&i| data.original_size(i) != (size, size)).count();
            if resized > 0 {
                let all = data.len();
                remark(&format!(
                    "note: {resized} of {all} pictures of `{}` were resized to {size}×{size}",
                    named.display()
                ));
            }
            Ok(Some(data))
        };
        if args.channels.is_some_and(|asked| asked != channels) {
            return Err(usage(format!("--channels: `{}` makes pictures of {channels} channels", path.display())));
        }
        Ok(Self { data: open(&args.data)?, training: open(&args.training)?, held_out: open(&args.held_out)? })
    }
}

/// Grey and colour are not compared unasked.
pub fn one_colour(path: &Path, judged: &Judged, data: &Dataset) -> anyhow::Result<()> {
    let (channels, _) = judged.shape()?;
    let word = |channels: usize| if channels == 1 { "grey" } else { "colour" };
    if data.channels() == channels {
        return Ok(());
    }
    Err(usage(format!(
        "the pictures of `{}` are {}, those of `{}` {}; --channels {channels} compares in {}",
        path.display(),
        word(channels),
        data.path().display(),
        word(data.channels()),
        word(channels)
    )))
}

/// `fashion-mnist` of `runs/fashion-mnist/model`, `a` of `a.zip`.
pub fn name(path: &Path) -> String {
    stem(run_or_model(path).path())
}
