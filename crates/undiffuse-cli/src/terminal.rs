//! The alternate screen: entered once, left on every way out.

use std::io::{self, IsTerminal, Stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{Frame, Terminal};

// A process has one terminal; a panic or a signal in any thread must be able to give it back.
static ENTERED: AtomicBool = AtomicBool::new(false);
static DRAWING: Mutex<()> = Mutex::new(());

/// Whether a dashboard can be drawn: a person sits at a capable terminal, and the program is in its foreground.
pub fn capable() -> bool {
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !dumb && foreground()
}

/// A background job that changes the terminal's mode would be stopped by the system.
#[cfg(unix)]
fn foreground() -> bool {
    rustix::termios::tcgetpgrp(io::stdout()).is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
fn foreground() -> bool {
    true
}

/// The alternate screen, as long as this is alive.
pub struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Enters the alternate screen.
    pub fn enter() -> io::Result<Screen> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                leave();
                before(info);
            }));
        });
        ENTERED.store(true, Ordering::SeqCst);
        let entered = enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), EnterAlternateScreen))
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        entered.map(Screen).inspect_err(|_| leave())
    }

    /// Draws a frame; `false` when the screen was left or is gone.
    pub fn draw(&mut self, render: impl FnOnce(&mut Frame)) -> bool {
        // A poisoned lock only says that a drawing panicked, after which the screen was left.
        let _drawing = DRAWING.lock().unwrap_or_else(|e| e.into_inner());
        entered() && self.0.draw(render).is_ok()
    }

    /// Forgets what was drawn, so that the next frame is drawn whole.
    pub fn clear(&mut self) {
        let _ = self.0.clear();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Whether the alternate screen is on.
pub fn entered() -> bool {
    ENTERED.load(Ordering::SeqCst)
}

/// Gives the terminal back as it was; does nothing when it is given back already.
pub fn leave() {
    if !ENTERED.swap(false, Ordering::SeqCst) {
        return;
    }
    // A frame that is being written is waited for, but not for long: it may be this thread's own, in a panic.
    let patience = Instant::now() + Duration::from_millis(200);
    let mut drawing = DRAWING.try_lock();
    while drawing.is_err() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
        drawing = DRAWING.try_lock();
    }
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}
