//! The pictures.

use undiffuse_data::CaptionReport;

use super::{Finding, Run, note, percent, problem, warning};

/// Share of the range of values that pictures should use at least.
const USED: (f64, f64) = (0.15, 0.4);
/// Smallest standard deviation of a pixel across pictures, in [−1, 1].
const VARIED: f64 = 0.02;
/// Pictures that a class should have, and how many times more the largest may have.
const CLASS: (usize, usize) = (20, 20);
/// Share of pictures that may be enlarged.
const ENLARGED: f64 = 0.2;
/// Share of copies that counts.
const COPIES: f64 = 0.02;
/// Share of pictures with the same caption that counts, and the one from which words say nothing at all.
const ALIKE: (f64, f64) = (0.2, 0.9);
/// Share of pictures without a caption that counts.
const UNCAPTIONED: f64 = 0.1;
/// Characters of a caption that are shown.
const SHOWN: usize = 60;

pub fn grey(run: &Run) -> Option<Finding> {
    let pictures = run.pictures.as_ref()?;
    let channels = pictures.dataset.channels();
    if channels == 3 && pictures.grey > 0.98 {
        let what = "The pictures are grey but the model is for colour: two thirds of its work are wasted, and samples may be tinted.";
        return Some(warning(what, "train with --channels 1").because(format!(
            "{} of {} pictures have equal channels",
            percent(pictures.grey),
            pictures.sampled
        )));
    }
    let (coloured, opened) = pictures.coloured.filter(|_| channels == 1)?;
    (coloured * 10 > opened).then(|| {
        note(
            "The pictures are coloured but the model is grey: the colours are lost.",
            "train with --channels 3 if they matter",
        )
        .because(format!("{coloured} of the first {opened} files are coloured"))
    })
}

pub fn range(run: &Run) -> Option<Finding> {
    let pictures = run.pictures.as_ref()?;
    let (low, high) = (pictures.quantile(0.001), pictures.quantile(0.999));
    let used = f64::from(high - low) / 255.0;
    if used > USED.1 {
        return None;
    }
    let what = "The pictures use a small part of the range of values: to the network they are almost flat, and noise hides them at levels where others are still clear.";
    let change =
        "stretch their contrast before training (values 0 to 255); masks stored as 0 and 1 need a factor of 255";
    let finding = if used < USED.0 { problem(what, change) } else { warning(what, change) };
    let (mean, std) = pictures.overall();
    Some(finding.because(format!(
        "99.8 % of the values lie between {low} and {high} of 255; mean {:.0}, standard deviation {:.1}",
        (mean + 1.0) * 127.5,
        std * 127.5
    )))
}

pub fn flat(run: &Run) -> Option<Finding> {
    let pictures = run.pictures.as_ref()?;
    let std = (pictures.variance.iter().sum::<f64>() / pictures.dims() as f64).sqrt();
    (std < VARIED).then(|| {
        problem(
            "The pictures are nearly all the same: there is nothing to learn but their mean.",
            "look at them with `undiffuse data`, and give others",
        )
        .because(format!(
            "a pixel's standard deviation across {} pictures is {:.2} of 255",
            pictures.sampled,
            std * 127.5
        ))
    })
}

pub fn enlarged(run: &Run) -> Option<Finding> {
    let data = &run.pictures.as_ref()?.dataset;
    let size = data.width();
    let small = (0..data.len()).map(|i| data.original_size(i)).filter(|(w, h)| *w.min(h) < size).count();
    let share = small as f64 / data.len() as f64;
    (share > ENLARGED).then(|| {
        let what = "Many pictures are smaller than the training's size and were enlarged: the model learns their blur.";
        warning(what, "train at the pictures' own size: a smaller --size").because(format!(
            "{small} of {} pictures ({}) have a side below {size} pixels",
            data.len(),
            percent(share)
        ))
    })
}

pub fn unlabelled(run: &Run) -> Option<Finding> {
    let report = run.pictures.as_ref()?.report.as_ref()?;
    let told = run.config.as_ref().is_some_and(|c| c.condition.kind == "class");
    (told && report.unlabelled > 0).then(|| {
        let what = "Some pictures have no class where others have one: they are learnt as \"no class\" alone.";
        note(what, "give them a class: a folder of its own, or a label")
            .because(format!("{} of {} pictures", report.unlabelled, report.images))
    })
}

/// What the report says of captions, where the model is told words.
fn captions(run: &Run) -> Option<(&CaptionReport, usize)> {
    let report = run.pictures.as_ref()?.report.as_ref()?;
    let told = run.config.as_ref().is_some_and(|c| c.condition.kind == "text");
    report.captions.as_ref().filter(|_| told).map(|captions| (captions, report.images))
}

pub fn captions_alike(run: &Run) -> Option<Finding> {
    let (captions, _) = captions(run)?;
    let (commonest, count) = &captions.commonest;
    let share = *count as f64 / captions.images as f64;
    if *count < 2 || share < ALIKE.0 {
        return None;
    }
    let change = "give each picture words of its own, or train without words (--set condition=none)";
    let finding = match share > ALIKE.1 {
        true => problem("The pictures have one caption between them: words can't tell them apart.", change),
        false => warning("Many pictures have the same caption: of those, words teach nothing but their mean.", change),
    };
    let words: String = commonest.chars().take(SHOWN).collect();
    Some(finding.because(format!("{count} of {} captioned pictures: \"{words}\"", captions.images)))
}

pub fn uncaptioned(run: &Run) -> Option<Finding> {
    let (captions, images) = captions(run)?;
    let without = images - captions.images;
    (without as f64 > UNCAPTIONED * images as f64).then(|| {
        let what = "Some pictures have no caption where others have one: they are learnt for the empty prompt alone.";
        note(what, "give them captions (metadata.jsonl, or a .txt beside each)")
            .because(format!("{without} of {images} pictures"))
    })
}

pub fn classes(run: &Run) -> Option<Finding> {
    let (report, config) = (run.pictures.as_ref()?.report.as_ref()?, run.config.as_ref()?);
    if config.condition.kind != "class" {
        return None;
    }
    let fewest = report.classes.iter().min_by_key(|c| c.images)?;
    let most = report.classes.iter().max_by_key(|c| c.images)?;
    let few = fewest.images < CLASS.0 && most.images >= 2 * fewest.images.max(1);
    if !few && most.images < CLASS.1 * fewest.images.max(1) {
        return None;
    }
    let small = report.classes.iter().filter(|c| c.images < CLASS.0 || c.images * CLASS.1 <= most.images).count();
    Some(
        warning(
            "Some classes have few pictures: asked for them, the model will repeat those or mix in other classes.",
            "give these classes more pictures, merge them, or train without classes (--set condition=none)",
        )
        .because(format!(
            "`{}` has {} pictures, `{}` {}; {small} of {} classes are small",
            fewest.name,
            fewest.images,
            most.name,
            most.images,
            report.classes.len()
        )),
    )
}

pub fn duplicates(run: &Run) -> Option<Finding> {
    let report = run.pictures.as_ref()?.report.as_ref()?;
    let copies: usize = report.duplicates.iter().map(|group| group.len() - 1).sum();
    let share = copies as f64 / report.images as f64;
    if share < COPIES {
        return None;
    }
    let largest = report.duplicates.iter().max_by_key(|group| group.len())?;
    let what = "Many pictures occur several times: a model learns by heart what it sees most often, and a copy in the held-out part hides it.";
    let finding = warning(what, "remove the copies; `undiffuse data` names them");
    Some(finding.because(format!(
        "{copies} of {} pictures are exact copies ({}); one occurs {} times: {}",
        report.images,
        percent(share),
        largest.len(),
        largest[0]
    )))
}
