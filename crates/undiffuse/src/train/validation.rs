//! The loss of a network on pictures whose times and noise never change, so that any two numbers can be compared.

use undiffuse_nn::Network;

use super::draws::Drawer;
use super::state::loss;

/// Held-out pictures that a run's validation looks at, at most.
pub const PICTURES: usize = 256;

/// The loss of each of the pictures `indices`, `part` of them at a time.
///
/// The times are spread evenly over the pictures and the noise is picture number's own, so two networks on the same pictures,
/// or one network on two sets of as many, differ by nothing else.
pub fn losses(network: &Network, drawer: &Drawer<'_>, indices: &[usize], part: usize) -> Vec<f64> {
    losses_labelled(network, drawer, indices, part, None)
}

/// The same, with every picture called `label` where one is given, such as "no class".
pub fn losses_labelled(
    network: &Network,
    drawer: &Drawer<'_>,
    indices: &[usize],
    part: usize,
    label: Option<u32>,
) -> Vec<f64> {
    let data = drawer.data;
    let parts = indices.chunks(part.max(1)).enumerate();
    let of = |(i, part_of): (usize, &[usize])| {
        let mut draws = drawer.validation(part_of, i * part.max(1), indices.len());
        if let (Some(labels), Some(label)) = (&mut draws.labels, label) {
            labels.fill(label as f32);
        }
        loss(network, draws, [part_of.len(), data.channels(), data.height(), data.width()], None).1
    };
    parts.flat_map(of).collect()
}
