//! The dashboard's picture: a pure drawing of a [`Run`] at any size.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Borders, Clear, Gauge, Paragraph, Wrap};

use super::curve::Curve;
use super::gallery::Colors;
use super::plot::{FAINT, MARK, Plot};
use super::run::{Run, View, Weight};
use super::text::{count, duration, number, speed};

const LOSS: Color = Color::Cyan;
const GRADIENT: Color = Color::Magenta;
const RATE: Color = Color::Green;

/// Below this only a few lines of text are shown.
const SMALLEST: (u16, u16) = (50, 14);

const HELP: &str = "\
q   stop: the step is finished, everything saved
p   curves and samples, samples alone, curves alone
z   fewer and larger samples, or more and smaller
?   this help

loss            weighted squared error of the network's
                answer; dots are steps, the line their
                running mean
◆ validation    the same on pictures that are held out:
                when it rises while the loss falls, the
                model learns by heart
gradient norm   before clipping; a sudden rise says that
                the learning rate is too high

Ctrl-C stops like q; a second one ends at once.";

/// Draws the whole screen.
pub fn draw(frame: &mut Frame, run: &mut Run, colors: Colors) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        return small(frame, area, run);
    }
    let events = match area.height {
        ..20 => 2,
        20..36 => 4,
        _ => 7,
    };
    let rows = [2, 1, 1].map(Constraint::Length).into_iter();
    let rows = rows.chain([Constraint::Min(5), Constraint::Length(events), Constraint::Length(1)]);
    let [header, gauge, status, middle, log, keys] = Layout::vertical(rows).areas(area);
    frame.render_widget(Paragraph::new(facts(run)), header);
    progress(frame, gauge, run);
    frame.render_widget(Paragraph::new(numbers(run)), status);
    let [left, gap, right] = match run.view {
        View::Both => [50, 1, 50],
        View::Samples => [0, 0, 100],
        View::Curves => [100, 0, 0],
    };
    let columns = [Constraint::Fill(left), Constraint::Length(gap), Constraint::Fill(right)];
    let [left, _, right] = Layout::horizontal(columns).areas(middle);
    curves(frame, left, run);
    samples(frame, right, run, colors);
    happenings(frame, log, run);
    frame.render_widget(Paragraph::new(footer()), keys);
    if run.help {
        help(frame, area);
    }
}

fn faint(text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), Style::new().fg(FAINT))
}

fn strong(text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), Style::new().add_modifier(Modifier::BOLD))
}

/// A titled area: its inside, below a line with the title.
fn panel(frame: &mut Frame, area: Rect, title: Line) -> Rect {
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().fg(FAINT))
        .title_style(Style::new().fg(Color::Reset))
        .title(title);
    let inside = block.inner(area);
    frame.render_widget(block, area);
    inside
}

/// The two lines about data, network and run.
fn facts(run: &Run) -> Vec<Line<'static>> {
    let setting = &run.setting;
    let Some(s) = &run.started else { return vec![Line::from(strong("undiffuse train"))] };
    let color = if s.channels == 1 { "grey" } else { "colour" };
    let mut parts = vec![format!("{} pictures {}×{} {color}", count(s.images as u64), s.size, s.size)];
    if !s.classes.is_empty() {
        parts.push(format!("{} classes", s.classes.len()));
    }
    if s.held_out > 0 {
        parts.push(format!("{} held out", count(s.held_out as u64)));
    }
    parts.push(format!("{:.2} M parameters", s.parameters as f64 / 1e6));
    let title = vec![
        Span::styled("undiffuse", Style::new().fg(LOSS).add_modifier(Modifier::BOLD)),
        faint("  "),
        strong(s.run.display().to_string()),
        faint(format!("  {} on {}, {}", setting.preset, setting.device, setting.data)),
    ];
    vec![Line::from(title), Line::from(parts.join(" · "))]
}

fn progress(frame: &mut Frame, area: Rect, run: &Run) {
    let label = match (&run.step, run.until) {
        (Some((step, _)), Some(until)) => format!("{} of {} images", count(step.nimg), count(until)),
        (Some((step, _)), None) => format!("{} images, measuring the speed", count(step.nimg)),
        (None, _) => "the first step".into(),
    };
    let share = run.share();
    let label = share.map_or(label.clone(), |share| format!("{label} · {:.0} %", (share * 100.0).floor()));
    let gauge = Gauge::default()
        .gauge_style(Style::new().fg(LOSS).bg(Color::Black))
        .use_unicode(true)
        .ratio(share.unwrap_or(0.0))
        .label(Span::styled(label, Style::new().fg(Color::White).add_modifier(Modifier::BOLD)));
    frame.render_widget(gauge, area);
}

/// Speed and times; or that the run is about to stop.
fn numbers(run: &Run) -> Line<'static> {
    if run.stopping {
        let style = Style::new().fg(Color::Black).bg(MARK);
        return Line::styled(" stopping after this step, then everything is saved… ", style);
    }
    let mut parts = Vec::new();
    if let Some((step, _)) = &run.step {
        parts.push(strong(format!("{} images/s", speed(step.images_per_second))));
    }
    if let Some(left) = run.left() {
        parts.push(strong(format!("{} left", duration(left))));
    }
    let budget = &run.setting.budget;
    let of = if budget.is_empty() { String::new() } else { format!(" of {budget}") };
    parts.push(Span::raw(format!("{}{of} gone", duration(run.seconds()))));
    if let Some((step, _)) = &run.step {
        parts.push(Span::raw(format!("step {}", count(step.step))));
    }
    let separated = parts.into_iter().enumerate();
    Line::from_iter(separated.flat_map(|(i, part)| [faint(if i > 0 { " · " } else { "" }), part]))
}

fn curves(frame: &mut Frame, area: Rect, run: &Run) {
    if area.is_empty() {
        return;
    }
    let small = match area.height {
        ..12 => 0,
        12..20 => 4,
        20..32 => 6,
        _ => 9,
    };
    let [top, bottom] = Layout::vertical([Constraint::Min(1), Constraint::Length(small)]).areas(area);
    let smoothed = run.loss.smoothed();
    let mut title = vec![Span::styled("loss ", Style::new().fg(LOSS))];
    title.extend(smoothed.last().map(|p| strong(format!("{} ", number(p.1)))));
    if let Some(validation) = run.validation.last() {
        title
            .extend([Span::styled("◆ validation ", Style::new().fg(MARK)), strong(format!("{} ", number(validation)))]);
    }
    let inside = panel(frame, top, Line::from(title));
    let dots = run.loss.points();
    if let (Some((step, _)), true) = (&run.step, area.width >= 55) {
        let end = Line::from(faint(format!(" at {} images ", count(step.nimg)))).right_aligned();
        frame.render_widget(Paragraph::new(end), Rect { height: 1, width: top.width - 2, ..top });
    }
    Plot { dots, line: smoothed, marks: run.validation.points(), color: LOSS, from_zero: false }.draw(frame, inside);
    let [left, _, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(1), Constraint::Fill(1)]).areas(bottom);
    let mut little = |area: Rect, name: &str, curve: &Curve, line: Vec<(f64, f64)>, color: Color, from_zero: bool| {
        let value = curve.last().map(|v| strong(format!("{} ", number(v))));
        let title = [Span::styled(format!("{name} "), Style::new().fg(color))].into_iter().chain(value);
        let inside = panel(frame, area, Line::from_iter(title));
        Plot { line, color, from_zero, ..Plot::default() }.draw(frame, inside);
    };
    if small > 0 {
        little(left, "gradient", &run.gradient, run.gradient.smoothed(), GRADIENT, false);
        little(right, "rate", &run.lr, run.lr.points(), RATE, true);
    }
}

fn samples(frame: &mut Frame, area: Rect, run: &mut Run, colors: Colors) {
    if area.is_empty() {
        return;
    }
    let wanted = run.wanted();
    let title = match &run.gallery {
        Some(gallery) => vec![Span::raw("samples "), faint(format!("at {} images ", count(gallery.nimg)))],
        None => vec![Span::raw("samples ")],
    };
    let inside = panel(frame, area, Line::from(title));
    match &mut run.gallery {
        Some(gallery) => gallery.draw(frame.buffer_mut(), inside, wanted, colors),
        None => {
            let text = Paragraph::new(faint("the first ones appear here while it trains")).wrap(Wrap { trim: true });
            frame.render_widget(text.centered(), middle(inside, inside.width, 2));
        }
    }
}

fn happenings(frame: &mut Frame, area: Rect, run: &Run) {
    let inside = panel(frame, area, Line::from("log "));
    // Warnings come first: a later note must not push them out of sight.
    let room = inside.height as usize;
    let mut shown: Vec<usize> = (0..run.log.len()).rev().collect();
    shown.sort_by_key(|&i| run.log[i].weight == Weight::Note);
    let warnings = run.log.iter().filter(|e| e.weight == Weight::Warning).count().min(room.div_ceil(2));
    let notes = shown.iter().filter(|&&i| run.log[i].weight == Weight::Note).take(room - warnings).copied();
    let mut shown: Vec<usize> = shown.iter().take(warnings).copied().chain(notes).collect();
    shown.sort_unstable();
    let line = |&i: &usize| {
        let entry = &run.log[i];
        let text = match entry.weight {
            Weight::Note => Span::raw(entry.text.clone()),
            Weight::Warning => Span::styled(format!("warning: {}", entry.text), Style::new().fg(Color::Red)),
        };
        Line::from(vec![faint(format!("{:>6}  ", duration(entry.seconds))), text])
    };
    frame.render_widget(Paragraph::new(shown.iter().map(line).collect::<Vec<_>>()), inside);
}

fn footer() -> Line<'static> {
    let keys = [("q", "stop and save"), ("p", "view"), ("z", "zoom"), ("?", "help")];
    Line::from_iter(keys.iter().flat_map(|(key, what)| [strong(*key), faint(format!(" {what}   "))]))
}

fn help(frame: &mut Frame, area: Rect) {
    let lines = HELP.lines().count() as u16;
    let place = middle(area, 60.min(area.width), (lines + 2).min(area.height));
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .title(" help ")
        .padding(ratatui::widgets::Padding::horizontal(1));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(HELP).block(block), place);
}

/// A screen too small for panels: the numbers that matter most, first.
fn small(frame: &mut Frame, area: Rect, run: &Run) {
    let mut lines = Vec::new();
    if run.stopping {
        lines.push(Line::styled("stopping…", Style::new().fg(MARK)));
    }
    if let Some((step, _)) = &run.step {
        let percent = run.share().map_or(String::new(), |share| format!("{:.0} % · ", (share * 100.0).floor()));
        lines.push(Line::from(strong(format!("{percent}{}", count(step.nimg)))));
        lines.push(Line::from(format!("loss {}", number(run.loss.smoothed().last().map_or(f64::NAN, |p| p.1)))));
        lines.push(Line::from(format!("{} images/s", speed(step.images_per_second))));
    }
    if let Some(left) = run.left() {
        lines.push(Line::from(format!("{} left", duration(left))));
    }
    lines.push(footer());
    frame.render_widget(Paragraph::new(lines), area);
}

/// A rectangle of `width × height` in the middle of `area`.
fn middle(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}
