//! The threads that share the CPU's work, kept awake while there is some.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether threads are kept awake already. No result depends on it.
static AWAKE: AtomicBool = AtomicBool::new(false);

/// Runs `f` on one of rayon's threads, while the others wait for its operations without falling asleep.
///
/// An operation may take less time than waking a thread does, and a pass through a network is hundreds of them. From
/// outside of the pool each would wake a thread twice; from within, the others would doze off between them.
///
/// Of passes that run at once only the first keeps threads awake, and so does only the outer one of two that are nested:
/// two waiting for each other's end would wait for ever.
pub fn on_threads<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let first = !AWAKE.swap(true, Ordering::AcqRel);
    let _awake = first.then(|| Unset(&AWAKE));
    let busy = AtomicBool::new(first);
    rayon::scope(|scope| {
        let own = rayon::current_thread_index();
        let busy = &busy;
        if first {
            // On every thread but this one, which would wait for itself.
            scope.spawn_broadcast(move |_, context| {
                while Some(context.index()) != own && busy.load(Ordering::Relaxed) {
                    if rayon::yield_now() != Some(rayon::Yield::Executed) {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let _busy = Unset(busy);
        f()
    })
}

/// Takes a flag down when it is dropped, also in a panic.
struct Unset<'a>(&'a AtomicBool);

impl Drop for Unset<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::on_threads;
    use rayon::prelude::*;

    fn work() -> u64 {
        let each = |i| (0..200).fold(i, |a: u64, b| a ^ (a << 1).wrapping_add(b));
        (0..64u64).into_par_iter().map(each).reduce(|| 0, u64::wrapping_add)
    }

    /// Passes at once, and nested as in training: none may wait for another's end.
    #[test]
    fn many_nested_passes_at_once_end() {
        let expected = work();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let (first, second) = on_threads(|| (on_threads(work), on_threads(work)));
                        assert_eq!([first, second], [expected; 2]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_ends_the_waiting_and_is_passed_on() {
        assert!(std::panic::catch_unwind(|| on_threads(|| panic!("on purpose"))).is_err());
        assert_eq!(on_threads(|| 7), 7);
    }
}
