//! The threads that share the CPU's work, kept awake while there is some.

use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `f` on one of rayon's threads, while the others wait for its operations without falling asleep.
///
/// An operation may take less time than waking a thread does, and a pass through a network is hundreds of them. From
/// outside of the pool each would wake a thread twice; from within, the others would doze off between them.
pub fn on_threads<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let done = AtomicBool::new(false);
    rayon::scope(|scope| {
        let own = rayon::current_thread_index();
        let done = &done;
        // On every thread but this one: here it would wait for itself.
        scope.spawn_broadcast(move |_, context| {
            while Some(context.index()) != own && !done.load(Ordering::Relaxed) {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    std::thread::yield_now();
                }
            }
        });
        let _guard = SetWhenDropped(done);
        f()
    })
}

/// Ends the waiting, also when `f` panics.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
