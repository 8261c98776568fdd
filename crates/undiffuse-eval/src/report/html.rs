//! The report as one HTML file: pictures inside, no scripts, light and dark, opens offline.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html as markup};
use undiffuse_data::{DataError, Image, encode_png};
use undiffuse_metrics::{Better, Figure};

use super::{Illustration, Report, shown, verdict};
use crate::Class;

/// The page.
///
/// # Errors
/// Pictures that cannot be encoded.
pub fn html(report: &Report, illustrations: &[Illustration]) -> Result<String, DataError> {
    let pictures = illustrations.iter().map(picture).collect::<Result<Vec<_>, _>>()?;
    let page = markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (report.subject.name) " · undiffuse eval" }
                style { (PreEscaped(include_str!("report.css"))) }
            }
            body {
                main {
                    header {
                        h1 { (report.subject.name) }
                        p.lead { (lead(report)) }
                    }
                    @if let Some(audit) = &report.audit {
                        p class=(if audit.copies.interval[0] > audit.false_alarms.interval[1] { "verdict bad" } else { "verdict" }) { (verdict(audit)) }
                    }
                    section aria-labelledby="figures" {
                        h2 #figures { "Figures" }
                        (figures(&report.figures))
                    }
                    @if !report.notes.is_empty() {
                        section aria-labelledby="notes" {
                            h2 #notes { "To know" }
                            ul { @for note in &report.notes { li { (note) } } }
                        }
                    }
                    @if let Some(list) = &report.classes {
                        section aria-labelledby="classes" {
                            h2 #classes { "Classes" }
                            (classes(list))
                        }
                    }
                    @for picture in pictures { (picture) }
                    section aria-labelledby="protocol" {
                        h2 #protocol { "Protocol" }
                        (protocol(report))
                    }
                    footer { "Made by " (report.program) "." }
                }
            }
        }
    };
    Ok(page.into_string())
}

fn lead(report: &Report) -> String {
    let protocol = &report.protocol;
    format!(
        "{} pictures{} compared with {} of {}, by {} features.",
        protocol.generated.images,
        if report.subject.kind == "model" { " that the model made," } else { "" },
        protocol.data.images,
        report.data,
        protocol.features.network
    )
}

fn figures(figures: &[Figure]) -> Markup {
    markup! {
        div.scroll {
            table {
                thead { tr { th scope="col" { "Measure" } th.number scope="col" { "Value" } th.number scope="col" { "95 % interval" } th scope="col" { "Better" } } }
                tbody {
                    @for figure in figures {
                        @let (value, interval) = shown(figure);
                        tr {
                            th scope="row" { (figure.name) @if figure.note.is_some() { " *" } }
                            td.number { (value) }
                            td.number { (interval) }
                            td { (match figure.better { Better::Lower => "lower", Better::Higher => "higher" }) }
                        }
                    }
                }
            }
        }
    }
}

/// A bar for each class, with its interval, and a mark where the data's share lies.
fn classes(classes: &[Class]) -> Markup {
    let most = classes.iter().map(|class| class.interval[1].max(class.data)).fold(1e-9, f64::max);
    let percent = |share: f64| format!("{:.2}%", 100.0 * share / most);
    markup! {
        p.faint { "Share of the judged pictures that show each class. Thin bar: its interval; line: the class's share of the data." }
        div.scroll {
            table.classes {
                tbody {
                    @for class in classes {
                        tr {
                            th scope="row" { (class.name) }
                            td.bar { div.track {
                                div.share style=(format!("width:{}", percent(class.share))) {}
                                div.interval style=(format!("left:{};width:{}", percent(class.interval[0]), percent(class.interval[1] - class.interval[0]))) {}
                                div.mark style=(format!("left:{}", percent(class.data))) {}
                            } }
                            td.number { (format!("{:.1} %", 100.0 * class.share)) }
                            td.number.faint { (format!("data {:.1} %", 100.0 * class.data)) }
                        }
                    }
                }
            }
        }
    }
}

fn protocol(report: &Report) -> Markup {
    let facts = report.protocol.facts();
    markup! {
        p { "Figures of two reports mean the same when all of this is the same. " code { "undiffuse eval --compare" } " checks it." }
        div.scroll {
            table.facts {
                tbody {
                    @for (path, value) in facts { tr { th scope="row" { code { (path) } } td { (value) } } }
                    tr { th scope="row" { "fingerprint" } td { code { (report.fingerprint) } } }
                    tr { th scope="row" { "judged" } td { code { (report.subject.fingerprint) } } }
                    @if let Some(speed) = &report.speed {
                        tr { th scope="row" { "speed" } td {
                            (format!("{:.1} pictures/s ({} made, {}, {} threads)", speed.images_per_second, speed.images, speed.device, speed.threads))
                        } }
                    }
                    @if let Some(bytes) = report.peak_memory {
                        tr { th scope="row" { "peak memory" } td { (format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))) } }
                    }
                }
            }
        }
    }
}

fn picture(illustration: &Illustration) -> Result<Markup, DataError> {
    let Image { width, .. } = illustration.image;
    let class = if illustration.pixels { "pixels" } else { "plot" };
    let source = format!("data:image/png;base64,{}", STANDARD.encode(encode_png(&illustration.image, &[])?));
    Ok(markup! {
        section {
            h2 { (illustration.title) }
            figure {
                img class=(class) src=(source) alt=(illustration.caption) style=(format!("width:{}px", width.max(1) * if illustration.pixels { 2 } else { 1 }));
                figcaption { (illustration.caption) }
            }
        }
    })
}
