//! The dashboard drawn from made-up events, without a training.

use std::path::PathBuf;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use undiffuse::data::{Image, grid};
use undiffuse::train::{Event, Preview, Started, Step};

use super::gallery::Colors;
use super::run::{Run, Setting, View};
use super::screen;
use super::summary::Summary;

fn started(nimg: u64, run: PathBuf) -> Event {
    Event::Started(Started {
        run,
        images: 9900,
        held_out: 100,
        size: 28,
        channels: 1,
        classes: (0..10).map(|i| format!("class {i}")).collect(),
        parameters: 1_234_567,
        nimg,
        warnings: vec!["3 pictures are there twice".into()],
    })
}

fn step(step: u64) -> Event {
    let loss = 0.1 + 0.9 / (1.0 + step as f64 / 20.0) + 0.02 * (step as f64 * 2.7).sin();
    let (lr, gradient_norm) = (1e-3 * (1.0 - step as f64 / 2001.0), 2.0 / (1.0 + step as f64 / 50.0) + 0.1);
    let seconds = step as f64 * 0.35;
    Event::Step(Step {
        step,
        nimg: step * 64,
        loss,
        gradient_norm,
        lr,
        images_per_second: 182.4,
        seconds,
        until: Some(128_000),
    })
}

fn preview(nimg: u64) -> Event {
    let tile = |i: usize| Image::new(28, 28, 1, (0..784).map(|p| (p % 28 * 9 + i * 3) as u8).collect());
    let tiles: Vec<_> = (0..60).map(tile).collect();
    Event::Preview(Preview {
        nimg,
        path: PathBuf::from(format!("runs/x/samples/{nimg:09}.png")),
        grid: grid(&tiles, 10, 2),
    })
}

fn events() -> Vec<Event> {
    let mut events = vec![started(0, "runs/x".into())];
    events.push(Event::Planned { until: 128_000, images_per_second: 182.4, seconds_left: 350.0 });
    for i in 1..=1000 {
        events.push(step(i));
        if i % 250 == 0 {
            events.push(Event::Validated { nimg: i * 64, loss: 0.25 });
            events.push(preview(i * 64));
            events.push(Event::Saved { nimg: i * 64, path: "runs/x/checkpoints/1".into() });
        }
    }
    events
}

fn run() -> Run {
    let setting = Setting { preset: "edm".into(), data: "photos".into(), device: "cpu".into(), budget: "10m".into() };
    let mut run = Run::new(setting);
    events().iter().for_each(|e| run.apply(e));
    run
}

fn draw(run: &mut Run, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen::draw(frame, run, Colors::True)).unwrap();
    terminal
}

fn text(terminal: &Terminal<TestBackend>) -> String {
    terminal.backend().to_string()
}

fn assert_shows(text: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(text.contains(part), "no {part:?} in\n{text}"));
}

const ALWAYS: [&str; 14] = [
    "undiffuse  runs/x  edm on cpu, photos",
    "9,900 pictures 28×28 grey · 10 classes · 100 held out",
    "1.23 M parameters",
    "64,000 of 128,000 images · 50 %",
    "182 images/s",
    "5m50s left",
    "of 10m gone",
    "step 1,000",
    "loss 0.1",
    "◆ validation 0.2500",
    "samples at 64,000 images",
    "warning: 3 pictures are there twice",
    "saved runs/x/checkpoints/1",
    "q stop and save",
];

#[test]
fn shows_everything_on_small_and_large_terminals() {
    let mut run = run();
    for (width, height) in [(80, 24), (120, 40), (200, 60)] {
        let text = text(&draw(&mut run, width, height));
        assert_shows(&text, &ALWAYS);
        assert_shows(&text, &["gradient 0.195", "rate 5.0e-4"]);
        let dots = text.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count();
        assert!(dots > 60, "{dots} cells of curve at {width}×{height}\n{text}");
        let pixels = text.chars().filter(|&c| c == '▀').count();
        assert!(pixels > 6 * 50, "{pixels} cells of pictures at {width}×{height}\n{text}");
    }
}

#[test]
fn a_tiny_terminal_shows_the_numbers() {
    assert_shows(&text(&draw(&mut run(), 20, 5)), &["50 % · 64,000", "loss 0.1", "182 images/s", "5m50s left"]);
}

#[test]
fn no_size_and_no_moment_panics() {
    let mut fresh = Run::new(Setting::default());
    let mut early = Run::new(Setting::default());
    early.apply(&started(0, "runs/x".into()));
    early.apply(&step(1));
    let mut late = run();
    late.help = true;
    late.stopping = true;
    for view in [View::Both, View::Samples, View::Curves] {
        late.view = view;
        for (width, height) in
            [(0, 0), (1, 1), (20, 5), (50, 14), (51, 15), (80, 19), (80, 24), (300, 14), (50, 100), (400, 120)]
        {
            for run in [&mut fresh, &mut early, &mut late] {
                draw(run, width, height);
            }
        }
        late.zoom();
    }
}

#[test]
fn pictures_are_drawn_in_their_colours() {
    let terminal = draw(&mut run(), 120, 40);
    let greys = terminal.backend().buffer().content().iter().filter(|cell| {
        cell.symbol() == "▀" && matches!((cell.fg, cell.bg), (Color::Rgb(r, g, b), Color::Rgb(..)) if r == g && g == b)
    });
    assert!(greys.count() > 300);
}

#[test]
fn views_and_zooms_take_turns() {
    let mut run = run();
    run.turn();
    let samples = text(&draw(&mut run, 80, 24));
    assert!(!samples.contains("gradient") && samples.contains("samples at"));
    run.turn();
    let curves = text(&draw(&mut run, 80, 24));
    assert!(curves.contains("gradient") && !curves.contains("samples at"));
    run.turn();
    assert_eq!(run.view, View::Both);
    let first = run.wanted();
    run.zoom();
    assert_ne!(run.wanted(), first);
}

#[test]
fn a_stop_and_the_help_are_seen() {
    let mut run = run();
    run.stopping = true;
    assert_shows(&text(&draw(&mut run, 80, 24)), &["stopping after this step"]);
    run.help = true;
    assert_shows(&text(&draw(&mut run, 80, 24)), &["help", "Ctrl-C stops like q", "learns by heart"]);
}

#[test]
fn a_resumed_run_shows_its_earlier_curves_but_not_what_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let lines = (1..=100).map(|i| {
        format!(
            "{{\"event\":\"step\",\"step\":{i},\"nimg\":{},\"loss\":0.5,\"gradient_norm\":1.0,\"lr\":0.001}}\n",
            i * 64
        )
    });
    let mut log: String = lines.collect();
    log.push_str("{\"event\":\"validation\",\"nimg\":3200,\"loss\":0.6}\n{\"event\":\"st");
    std::fs::write(folder.path().join("metrics.jsonl"), log).unwrap();
    let mut run = Run::new(Setting::default());
    run.apply(&started(3200, folder.path().to_owned()));
    assert_eq!(run.loss.points().len(), 50);
    assert_eq!(run.validation.points(), [(3200.0, 0.6)]);
}

#[test]
fn the_summary_names_every_place_and_the_next_command() {
    let mut summary = Summary::default();
    events().iter().for_each(|e| summary.see(e));
    assert!(summary.lines().is_empty(), "nothing is done yet");
    summary.see(&Event::Finished { nimg: 64_000, model: "runs/x/model".into() });
    assert_shows(
        &summary.lines().join("\n"),
        &[
            "done: 64,000 images in 5m50s",
            "runs/x/model",
            "runs/x/samples/000064000.png",
            "validation  0.2500",
            "make more:  undiffuse sample runs/x -n 64 --seed 1",
        ],
    );
}
