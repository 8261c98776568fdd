//! The loss of a network on pictures whose times and noise never change, so that any two numbers can be compared.

use super::draws::Drawer;
use super::loss::{self, Context, Loss};
use super::networks::Networks;

/// Held-out pictures that a run's validation looks at, at most.
pub const PICTURES: usize = 256;

/// The loss of each of the pictures `indices`, `part` of them at a time.
///
/// The times are spread evenly over the pictures and the noise is picture number's own, so two networks on the same pictures,
/// or one network on two sets of as many, differ by nothing else.
pub fn losses(loss: &dyn Loss, networks: &Networks, drawer: &Drawer<'_>, indices: &[usize], part: usize) -> Vec<f64> {
    measure(loss, networks, drawer, indices, part, false)
}

/// The same, with nothing asked of any picture.
pub fn losses_unconditional(
    loss: &dyn Loss,
    networks: &Networks,
    drawer: &Drawer<'_>,
    indices: &[usize],
    part: usize,
) -> Vec<f64> {
    measure(loss, networks, drawer, indices, part, true)
}

fn measure(
    loss: &dyn Loss,
    networks: &Networks,
    drawer: &Drawer<'_>,
    indices: &[usize],
    part: usize,
    unconditional: bool,
) -> Vec<f64> {
    let parts = indices.chunks(part.max(1)).enumerate();
    let of = |(i, part_of): (usize, &[usize])| {
        let mut draws = drawer.validation(part_of, i * part.max(1), indices.len());
        if unconditional {
            draws.ask = draws.ask.unconditional();
        }
        let (conditioner, noise) = (drawer.conditioner, drawer.noise);
        let context = Context { networks, conditioner, noise, draws: &draws, dropout: None };
        loss::values(&loss.losses(&context))
    };
    parts.flat_map(of).collect()
}
