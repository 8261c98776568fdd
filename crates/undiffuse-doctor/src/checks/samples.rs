//! The newest samples beside the data.

use super::{Finding, Run, percent, problem, warning};

/// Shift of the mean in standard deviations of the data, and the least and most of their spread.
const TONE: (f64, f64, f64) = (0.6, 0.5, 1.8);
/// Black and white beyond the data's share.
const BURNT: f64 = 0.35;
/// Correlation of the mean pictures below which samples are inverted; data whose pixels differ give one near 1.
const INVERTED: f64 = -0.3;
/// Distance between two samples over that between two pictures of the data.
const ALIKE: f64 = 0.4;
/// Distance to the nearest training picture over that of real ones.
const COPY: f64 = 0.5;

/// Whether the samples are of a network that was past its beginning: earlier ones are noise by right.
fn ripe(run: &Run) -> bool {
    let learnt = run.trivial.zip(run.final_loss()).is_some_and(|(t, loss)| loss < 0.8 * t.zero.min(t.pixelwise));
    learnt && run.finished()
}

pub fn tone(run: &Run) -> Option<Finding> {
    let (samples, pictures) = (run.samples.as_ref()?, run.pictures.as_ref()?);
    if !ripe(run) {
        return None;
    }
    let (mean, std) = pictures.overall();
    let (shift, spread) = ((samples.mean - mean) / std, samples.std / std);
    let burnt = samples.saturated - pictures.saturated();
    let sampler = "sample with --guidance 1, more --steps and another --solver to see whether the sampler or the network is at fault";
    let (what, change) = if samples.correlation < INVERTED {
        ("The samples are inverted beside the data.", "see that the data and the model's range of pixels agree")
    } else if spread < TONE.1 {
        ("The samples are grey: they have far less contrast than the data.", sampler)
    } else if burnt > BURNT {
        (
            "The samples are saturated: much more of them is black or white than of the data.",
            "lower the guidance (--guidance 1), and see that the schedule and the parameterisation are those of the training",
        )
    } else if spread > TONE.2 {
        ("The samples have far more contrast than the data.", sampler)
    } else if shift.abs() > TONE.0 {
        match shift > 0.0 {
            true => ("The samples are brighter than the data.", sampler),
            false => ("The samples are darker than the data.", sampler),
        }
    } else if samples.data_chroma < 2.0 && samples.chroma > 10.0 {
        ("The samples are tinted, but the data are grey.", "train with --channels 1, or longer")
    } else {
        return None;
    };
    Some(
        problem(what, change)
            .because(format!(
                "samples: mean {:.3}, std {:.3}, {} black or white",
                samples.mean,
                samples.std,
                percent(samples.saturated)
            ))
            .because(format!("data: mean {mean:.3}, std {std:.3}, {} black or white", percent(pictures.saturated())))
            .because(format!(
                "correlation of their mean pictures {:.2}; {}",
                samples.correlation,
                samples.path.display()
            )),
    )
}

pub fn variety(run: &Run) -> Option<Finding> {
    let samples = run.samples.as_ref().filter(|s| ripe(run) && s.variety < ALIKE)?;
    Some(
        warning(
            "The samples look alike: far more than pictures of the data do.",
            "lower the guidance (--guidance 1); where the data have classes, see that their labels are right",
        )
        .because(format!(
            "two samples differ by {} of what two pictures of the data do ({})",
            percent(samples.variety),
            samples.path.display()
        )),
    )
}

pub fn copies(run: &Run) -> Option<Finding> {
    let samples = run.samples.as_ref().filter(|_| ripe(run))?;
    let (own, real) = samples.nearest?;
    (own < COPY * real).then(|| {
        warning("The samples are likely copies of training pictures.", "`undiffuse eval` shows them side by side; more pictures, fewer passes or a smaller network are the cure")
            .because(format!("half of {} samples have a training picture within {own:.1} of 255 (RMS); real pictures have another one within {real:.1}", samples.count))
    })
}
