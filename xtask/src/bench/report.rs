//! The table, as Markdown.

use super::figures::{Measured, Series, median};
use super::machine;
use super::rows::{STEPS, STEPS_OF_WORDS, THREADS, Work};

/// What is the same for every row.
#[derive(Debug)]
pub struct Setting {
    /// The machine, in words.
    pub machine: String,
    /// Our version.
    pub ours: String,
    /// The peer's versions, when it took part.
    pub peer: Option<String>,
    /// Turns of every program.
    pub rounds: usize,
    /// Seconds that a process measures.
    pub seconds: f64,
    /// Whether the figures mean nothing.
    pub smoke: bool,
}

/// What a trial says above its table.
pub const SMOKE: &str = "**A trial of the tool with batches of at most 2: these figures mean nothing.**";

/// From which share of the machine on other programs spoil a row: PyTorch's threads wait for each other and lose far more
/// than that share, which would flatter us.
pub const DISTURBED: f64 = 0.1;

/// The whole file.
pub fn markdown(setting: &Setting, measured: &[Measured]) -> String {
    let mut text = String::from("# Measured beside PyTorch\n\nWritten by `cargo xtask bench --peer`, not by hand.\n\n");
    if setting.smoke {
        text += &format!("{SMOKE}\n\n");
    }
    text += &format!("- Date: {}\n- Machine: {}\n- Ours: {}\n", machine::date(), setting.machine, setting.ours);
    if let Some(peer) = &setting.peer {
        text += &format!("- Peer: {peer}\n");
    }
    text += &format!(
        "- How: {} rounds; in each, every program of a row runs once, one after the other, each in a process of its own with \
         {THREADS} threads. A process warms up, then measures for {} s (at least five runs) and gives its median; the table has the \
         medians over the rounds. The fastest PyTorch mode counts; for memory, the mode that needs least.\n\n",
        setting.rounds, setting.seconds
    );
    text += &table(measured);
    text += "\n\n*faster*: best PyTorch time over ours, in brackets the least and most of any single round. \
             *memory*: our peak resident size over theirs.\n\n";
    text += &noise(measured);
    text += "\n\n## All that was tried\n\n";
    text += &tried(measured);
    text += "\n\n";
    text += &notes(measured).into_iter().map(|note| format!("- {note}\n")).collect::<String>();
    text
}

/// Goals and figures, one line a row.
pub fn table(measured: &[Measured]) -> String {
    let mut text = String::from(
        "| row | goal | best PyTorch | its ms | ours ms | faster | its MB | our MB | memory | reached |\n\
         |---|---|---|--:|--:|---|--:|--:|--:|---|",
    );
    for m in measured {
        let goal = match m.row.memory {
            Some(memory) => format!("≥ {:.1}×, memory ≤ {memory}×", m.row.faster),
            None => format!("≥ {:.1}×", m.row.faster),
        };
        let faster = match (m.faster(), m.faster_by_round()) {
            (Some(ratio), Some((least, most))) => format!("**{ratio:.2}×** ({least:.2}–{most:.2})"),
            _ => "–".into(),
        };
        let reached = match m.reached() {
            Some(_) if m.neighbours() > DISTURBED => "disturbed",
            Some(true) => "yes",
            Some(false) => "no",
            None => "–",
        };
        let (best, ours) = (m.best(), m.ours());
        let cells = [
            m.row.name.to_owned(),
            goal,
            best.map_or("–", |s| s.name).to_owned(),
            number(best.and_then(Series::ms), milliseconds),
            number(ours.and_then(Series::ms), milliseconds),
            faster,
            number(m.least().and_then(Series::peak_mb), |mb| format!("{mb:.0}")),
            number(ours.and_then(Series::peak_mb), |mb| format!("{mb:.0}")),
            number(m.memory(), |ratio| format!("{ratio:.2}×")),
            reached.to_owned(),
        ];
        text += &format!("\n| {} |", cells.join(" | "));
    }
    text
}

/// Every mode's time, spread and memory.
fn tried(measured: &[Measured]) -> String {
    let mut text = String::from(
        "| row | program | ms | spread | peak MB | of it before the first run |\n|---|---|--:|--:|--:|--:|",
    );
    for (m, s) in measured.iter().flat_map(|m| m.series.iter().map(move |s| (m, s))) {
        let cells = [
            m.row.name.to_owned(),
            s.name.to_owned(),
            if s.runs.is_empty() { "failed".into() } else { number(s.ms(), milliseconds) },
            number(s.spread(), percent),
            number(s.peak_mb(), |mb| format!("{mb:.0}")),
            number(s.said("libraries_mb"), |mb| format!("{mb:.0}")),
        ];
        text += &format!("\n| {} |", cells.join(" | "));
    }
    text
}

/// How far the rounds lie apart.
fn noise(measured: &[Measured]) -> String {
    let all =
        || measured.iter().flat_map(|m| m.series.iter().filter_map(move |s| Some((s.spread()?, m.row.name, s.name))));
    let (middle, worst) = (median(all().map(|(spread, ..)| spread)), all().max_by(|a, b| a.0.total_cmp(&b.0)));
    let spread = match (middle, worst) {
        (Some(middle), Some((most, row, name))) => format!(
            "Noise: between a program's fastest and slowest round lie {} of its median as a rule, {} at most ({row}, {name}).",
            percent(middle),
            percent(most)
        ),
        _ => "Noise: not known from one round.".into(),
    };
    let disturbed: Vec<String> = measured
        .iter()
        .filter(|m| m.neighbours() > DISTURBED)
        .map(|m| format!("{} ({})", m.row.name, percent(m.neighbours())))
        .collect();
    let told = match disturbed.as_slice() {
        [] => format!("No other program had more than {} of the machine meanwhile.", percent(DISTURBED)),
        rows => format!(
            "**Disturbed by other programs**, which had this share of the machine in the middle round: {}.",
            rows.join("; ")
        ),
    };
    format!("{spread} {told}")
}

/// What a reader must know beside the figures.
fn notes(measured: &[Measured]) -> Vec<String> {
    let compiled: Vec<&str> =
        measured.iter().filter(|m| m.series.iter().any(|s| s.name == "compile")).map(|m| m.row.name).collect();
    let mut notes = vec![match compiled.as_slice() {
        [] => "torch.compile was not tried in this run (`--compile`).".to_owned(),
        rows if rows.len() == measured.len() => "torch.compile was tried in every row.".to_owned(),
        rows => format!("torch.compile was tried in: {}.", rows.join("; ")),
    }];
    for m in measured.iter().filter(|m| m.row.memory.is_some()) {
        notes.extend(libraries(m));
    }
    for m in measured {
        if let Some((import, load, walk)) =
            m.best().and_then(|s| Some((s.said("import_ms")?, s.said("load_ms")?, s.said("sample_ms")?)))
        {
            notes.push(format!(
                "{}: of diffusers' time, importing takes {import:.0} ms, loading the model {load:.0} ms, {} evaluations and the PNG {walk:.0} ms. \
                 Both programs ran once before, so files come from memory.",
                m.row.name,
                if matches!(m.row.work, Work::Words) { 2 * STEPS_OF_WORDS } else { STEPS }
            ));
        }
        notes.extend(parts(m, measured));
        notes.extend(m.failures.iter().map(|failure| format!("{}: {}", m.row.name, failure.replace('\n', " / "))));
    }
    notes
}

/// Where our time for a picture from words goes, by what its networks take in their own rows.
fn parts(m: &Measured, measured: &[Measured]) -> Option<String> {
    if !matches!(m.row.work, Work::Words) {
        return None;
    }
    let ours = |what: &str| {
        let of = |m: &&Measured| matches!(&m.row.work, Work::Network(task) if task.what == what);
        measured.iter().find(of)?.ours()?.ms()
    };
    let (all, evaluations) = (m.ours()?.ms()?, 2 * STEPS_OF_WORDS);
    let (network, decoding) = (evaluations as f64 * ours("forward")?, ours("decode")?);
    Some(format!(
        "{}: of our {all:.0} ms, {evaluations} evaluations take {network:.0} ms and decoding {decoding:.0} ms at the pace of their own rows; \
         {:.0} ms are left for the start, the weights, the words, first touches of memory and the PNG.",
        m.row.name,
        all - network - decoding
    ))
}

/// How much of the peer's memory is not the work's but Python's and its libraries': our whole over the rest of theirs.
fn libraries(m: &Measured) -> Option<String> {
    let (least, ours) = (m.least()?, m.ours()?.peak_mb()?);
    let (peak, before) = (least.peak_mb()?, least.said("libraries_mb")?);
    Some(format!(
        "{}: {before:.0} of PyTorch's {peak:.0} MB are there before the first run (interpreter, libraries, weights); \
         all of ours is {:.2}× the rest.",
        m.row.name,
        ours / (peak - before)
    ))
}

fn number(value: Option<f64>, shown: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".into(), shown)
}

fn milliseconds(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", 100.0 * ratio)
}

#[cfg(test)]
mod tests {
    use super::super::figures::example;
    use super::super::rows::{PIPELINES, ROWS};
    use super::*;

    #[test]
    fn our_time_for_a_picture_from_words_is_taken_apart() {
        let rows = [(&PIPELINES[0], 4000.0), (&PIPELINES[1], 4500.0), (&PIPELINES[2], 37_000.0)];
        let measured = rows.map(|(row, ms)| example(row, &[("ours", true, &[(ms, 4000.0)])]));
        let notes = notes(&measured);
        let told = "of our 37000 ms, 8 evaluations take 32000 ms and decoding 4500 ms at the pace of their own rows; 500 ms are left";
        assert!(notes.iter().any(|note| note.contains(told)), "{notes:?}");
        assert_eq!(parts(&measured[2], &measured[1..]), None);
    }

    #[test]
    fn a_line_says_everything() {
        let eager: &[_] = &[(2268.0, 1700.0), (2270.0, 1700.0), (2260.0, 1700.0)];
        let ours: &[_] = &[(1134.0, 935.0), (1140.0, 935.0), (1130.0, 935.0)];
        let table = table(&[example(&ROWS[0], &[("eager", false, eager), ("ours", true, ours)])]);
        let line = "| reference: step, batch 32 | ≥ 2.0×, memory ≤ 0.55× | eager | 2268 | 1134 | **2.00×** (1.99–2.00) | 1700 | 935 | 0.55× | yes |";
        assert_eq!(table.lines().nth(2), Some(line));
    }

    #[test]
    fn a_row_without_a_rival_promises_nothing() {
        let table = table(&[example(&ROWS[3], &[("ours", true, &[(9.5, 100.0)])])]);
        assert_eq!(
            table.lines().nth(2),
            Some("| reference: forward, batch 1 | ≥ 2.0× | – | – | 9.5 | – | – | 100 | – | – |")
        );
    }

    #[test]
    fn memory_of_libraries_is_told_where_memory_has_a_goal() {
        let rows = [&ROWS[0], &ROWS[1]];
        let entries: &[_] = &[("eager", false, &[(2.0, 1700.0)] as &[_]), ("ours", true, &[(1.0, 910.0)])];
        let notes = notes(&rows.map(|row| example(row, entries)));
        assert_eq!(notes.len(), 2);
        assert!(notes[1].contains("400 of PyTorch's 1700 MB") && notes[1].contains("0.70× the rest"), "{}", notes[1]);
    }

    #[test]
    fn neighbours_are_told() {
        let mut m = example(&ROWS[1], &[("eager", false, &[(2.0, 1.0)]), ("ours", true, &[(1.0, 1.0)])]);
        assert!(
            noise(std::slice::from_ref(&m))
                .ends_with("No other program had more than 10.0 % of the machine meanwhile.")
        );
        m.series[0].runs[0].neighbours = 0.43;
        assert!(table(std::slice::from_ref(&m)).ends_with("| disturbed |"));
        assert!(noise(&[m]).ends_with("in the middle round: reference: forward, batch 32 (43.0 %)."));
    }

    #[test]
    fn failures_and_compiled_rows_are_told() {
        let mut m = example(
            &ROWS[1],
            &[("eager", false, &[(2.0, 1.0)]), ("compile", false, &[]), ("ours", true, &[(1.0, 1.0)])],
        );
        m.failures.push("compile: no compiler".into());
        let notes = notes(&[m]);
        assert_eq!(notes[0], "torch.compile was tried in every row.");
        assert_eq!(notes[1], "reference: forward, batch 32: compile: no compiler");
    }
}
