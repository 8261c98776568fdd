//! The live screen of a training run.
//!
//! One thread owns the screen, the keys and the [`Run`]; the trainer's thread only sends it events. So
//! a key is answered at once, however long a step takes, and drawing never holds up a step.

use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use undiffuse::train::Event;

use super::gallery::Colors;
use super::lines::Lines;
use super::run::{Run, Setting};
use super::{Watch, screen};
use crate::common;
use crate::terminal::{self, Screen};

/// Keys and events are looked for this often.
const TICK: Duration = Duration::from_millis(100);
/// The least time between two frames, unless a key was pressed.
const FRAME: Duration = Duration::from_millis(200);
/// The most time between two frames: clocks tick.
const CLOCK: Duration = Duration::from_secs(1);

/// The screen; dropping it gives the terminal back.
pub struct Dashboard {
    events: Option<Sender<Event>>,
    thread: Option<JoinHandle<()>>,
    lines: Lines,
}

impl Dashboard {
    /// Takes the terminal.
    pub fn open(setting: Setting) -> io::Result<Dashboard> {
        let screen = Screen::enter()?;
        let (events, received) = channel();
        let thread = thread::Builder::new()
            .name("dashboard".into())
            .spawn(move || follow(screen, Run::new(setting), &received))
            .inspect_err(|_| terminal::leave())?;
        Ok(Dashboard { events: Some(events), thread: Some(thread), lines: Lines::default() })
    }
}

impl Watch for Dashboard {
    fn show(&mut self, event: &Event) {
        let sent = terminal::entered() && self.events.as_ref().is_some_and(|to| to.send(event.clone()).is_ok());
        // The screen may be lost (a closed window, a panic somewhere that was caught); the run goes on.
        if !sent {
            self.lines.show(event);
        }
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        drop(self.events.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Draws until the sender is gone or the screen is left.
fn follow(mut screen: Screen, mut run: Run, events: &Receiver<Event>) {
    let colors = Colors::detect();
    let mut drawn: Option<Instant> = None;
    let mut news = false;
    loop {
        let mut now = drawn.is_none();
        if pressed(&mut run, &mut screen) {
            now = true;
        }
        loop {
            match events.try_recv() {
                Ok(event) => {
                    run.apply(&event);
                    news = true;
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        if common::interrupted() && !run.stopping {
            run.stopping = true;
            now = true;
        }
        let age = drawn.map_or(CLOCK, |when| when.elapsed());
        if now || (news && age >= FRAME) || age >= CLOCK {
            if !screen.draw(|frame| screen::draw(frame, &mut run, colors)) {
                return;
            }
            (drawn, news) = (Some(Instant::now()), false);
        }
    }
}

/// Waits a tick for keys and does what they say; whether there was one, or another size.
fn pressed(run: &mut Run, screen: &mut Screen) -> bool {
    let mut any = false;
    let mut wait = TICK;
    loop {
        match event::poll(wait).and_then(|ready| ready.then(event::read).transpose()) {
            Ok(Some(Input::Key(key))) if key.kind != KeyEventKind::Release => act(key, run, screen),
            Ok(Some(Input::Resize(..))) => {}
            Ok(Some(_)) => continue,
            Ok(None) => return any,
            Err(_) => {
                // No keys from this terminal; the screen still shows the run.
                thread::sleep(wait);
                return any;
            }
        }
        any = true;
        wait = Duration::ZERO;
    }
}

fn act(key: KeyEvent, run: &mut Run, screen: &mut Screen) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => common::interrupt(),
        KeyCode::Char('l') if control => screen.clear(),
        KeyCode::Char('q') if !common::interrupted() => common::interrupt(),
        KeyCode::Char('p') => run.turn(),
        KeyCode::Char('z') => run.zoom(),
        KeyCode::Char('?' | 'h') => run.help = !run.help,
        _ => run.help = false,
    }
}
