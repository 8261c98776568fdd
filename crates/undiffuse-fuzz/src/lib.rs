//! Damaged inputs, made from good ones, for the tests of everything that reads what others have written.
//!
//! [`fuzz`] gives a reader its corpus and then one damaged input after another. Input *k* of a name and a corpus is the
//! same everywhere, so that what fails once fails again. How long it goes on is `UNDIFFUSE_FUZZ_SECONDS`, two seconds
//! when not given:
//!
//! ```text
//! UNDIFFUSE_FUZZ_SECONDS=600 cargo test --release -p undiffuse-data --test fuzz
//! ```
//!
//! A reader fails by a panic, by taking longer than [`SECONDS`] or, in a test that counts its memory ([`Counted`]), by
//! holding more than [`MEMORY`]. The input that made it fail is written to `target/fuzz/`.

mod damage;
mod memory;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use memory::Counted;

/// The longest that a reader may take for one input, in seconds; a busy machine is allowed for.
pub const SECONDS: u64 = 20;
/// The most that a reader may hold for one input, in bytes.
pub const MEMORY: usize = 512 << 20;

/// One reader at a time, so that each answers for its own time and memory.
static TURN: Mutex<()> = Mutex::new(());

/// Gives `target` each input of the corpus as it is, and then damaged ones until the time is over.
///
/// # Panics
/// When `target` panics, takes too long or holds too much memory: with the number of the input, its beginning as hex, and
/// the file that it was written to.
pub fn fuzz(name: &str, corpus: &[Vec<u8>], target: impl Fn(&[u8])) {
    assert!(!corpus.is_empty(), "{name}: a corpus has at least one input");
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = std::env::var("UNDIFFUSE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let watch = Watch::new(name, corpus);
    let mut round = 0;
    while round < corpus.len() as u64 || Instant::now() < until {
        let input = damage::input(name, corpus, round);
        watch.begin(round);
        let before = memory::restart();
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
        let held = memory::peak().saturating_sub(before);
        if outcome.is_err() {
            panic!("{}", report(name, round, &input, "a panic, see above"));
        }
        assert!(held <= MEMORY, "{}", report(name, round, &input, &format!("{held} bytes held")));
        round += 1;
    }
    println!("{name}: {round} inputs in {seconds} s");
}

/// Fails when an error's text is empty, is the debug form of a value, or could take a terminal over.
///
/// # Panics
/// If it is.
pub fn check_message(text: &str) {
    const DEBUG: [&str; 8] = ["Some(", "Ok(", "Err(", "Error {", "Error(", "kind:", "Custom {", "PhantomData"];
    assert!(!text.trim().is_empty(), "an error without a word");
    let control = text.chars().find(|c| c.is_control() && *c != '\n');
    assert!(control.is_none(), "the control character {control:?} in an error: {text:?}");
    let debug = DEBUG.iter().find(|sign| text.contains(**sign));
    assert!(debug.is_none(), "the debug form of a value in an error: {text}");
}

/// What happened, as a test's message; writes the input to a file.
fn report(name: &str, round: u64, input: &[u8], what: &str) -> String {
    const SHOWN: usize = 256;
    let hex: String = input.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    let rest = if input.len() > SHOWN { "..." } else { "" };
    let file = folder().join(format!("{name}-{round}.bin"));
    let written = std::fs::create_dir_all(folder()).and_then(|()| std::fs::write(&file, input));
    let place = match written {
        Ok(()) => format!("written to {}", file.display()),
        Err(e) => format!("not written to {}: {e}", file.display()),
    };
    format!("{name}, input {round}: {what}\n{} bytes, {place}\n{hex}{rest}", input.len())
}

/// `target/fuzz`, found from where the test itself lies: `target/PROFILE/deps/TEST`.
fn folder() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(3).map_or_else(std::env::temp_dir, PathBuf::from).join("fuzz")
}

/// A thread that ends the test when an input takes too long: nothing else gets a reader out of an endless loop.
struct Watch(Arc<State>);

struct State {
    started: Instant,
    /// The input that is being read; `OVER` at the end.
    round: AtomicU64,
    /// When that began, in seconds since `started`.
    since: AtomicU64,
}

const OVER: u64 = u64::MAX;

impl Watch {
    fn new(name: &str, corpus: &[Vec<u8>]) -> Watch {
        let state = Arc::new(State { started: Instant::now(), round: AtomicU64::new(0), since: AtomicU64::new(0) });
        let (seen, name, corpus) = (state.clone(), name.to_owned(), corpus.to_vec());
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(200));
                let (since, round) = (seen.since.load(Ordering::SeqCst), seen.round.load(Ordering::SeqCst));
                if round == OVER {
                    return;
                }
                if seen.started.elapsed().as_secs().saturating_sub(since) > SECONDS {
                    let input = damage::input(&name, &corpus, round);
                    let report = report(&name, round, &input, &format!("more than {SECONDS} s"));
                    // Not `eprintln`, which a test's harness keeps to itself until the test ends.
                    let _ = writeln!(std::io::stderr(), "{report}");
                    std::process::abort();
                }
            }
        });
        Watch(state)
    }

    fn begin(&self, round: u64) {
        self.0.since.store(self.0.started.elapsed().as_secs(), Ordering::SeqCst);
        self.0.round.store(round, Ordering::SeqCst);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.round.store(OVER, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus() -> Vec<Vec<u8>> {
        vec![b"length=12 of twelve".to_vec(), vec![0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3]]
    }

    #[test]
    fn a_reader_that_trusts_a_length_is_found_out() {
        let trusting = |input: &[u8]| {
            if let [0, 0, 8, 1, _, _, _, length, rest @ ..] = input {
                assert!(rest.len() >= usize::from(*length));
            }
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| fuzz("trusting", &corpus(), trusting)));
        let message = *outcome.unwrap_err().downcast::<String>().unwrap();
        assert!(message.starts_with("trusting, input ") && message.contains(", written to "), "{message}");
    }

    #[test]
    fn the_corpus_comes_first_and_every_input_again() {
        let corpus = corpus();
        let inputs = |name: &str| (0..200).map(|k| damage::input(name, &corpus, k)).collect::<Vec<_>>();
        assert_eq!(inputs("a")[..2], corpus);
        assert_eq!(inputs("a"), inputs("a"));
        assert_ne!(inputs("a"), inputs("b"));
    }

    #[test]
    fn messages_are_words() {
        check_message("it ends inside the 12 labels. Fetch the file again");
        for text in ["", " \n", "Os { code: 2, kind: NotFound }", "found Some(3)", "name \u{1b}[2J"] {
            assert!(catch_unwind(|| check_message(text)).is_err(), "{text:?}");
        }
    }
}
