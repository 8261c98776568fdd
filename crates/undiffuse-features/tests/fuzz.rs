//! Weights and networks that others have written: damaged ones are refused in words, and what is not refused runs.

use std::path::Path;

use undiffuse_data::Image;
use undiffuse_features::graph::{Graph, METADATA_KEY};
use undiffuse_features::{FeatureNetwork, Features as _, Weights};
use undiffuse_fuzz::{Counted, check_message, fuzz};

#[global_allocator]
static MEMORY: Counted = Counted;

/// A refusal as the program prints it.
fn told(refusal: &impl std::fmt::Display) {
    check_message(&undiffuse_data::text::visible(&refusal.to_string(), "\n"));
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

#[test]
fn pickled_weights() {
    fuzz("pth", &[fixture("new.pth"), fixture("old.pth")], |bytes| match Weights::parse(bytes) {
        Ok(weights) => {
            weights.tensors.values().for_each(|t| assert_eq!(t.values.len(), t.shape.iter().product::<usize>()))
        }
        Err(problem) => told(&problem),
    });
}

#[test]
fn networks_of_ones_own() {
    let file = Weights::parse(&fixture("user-network.safetensors")).unwrap();
    let graph = file.graph.clone().unwrap_or_else(|| panic!("no {METADATA_KEY}"));
    fuzz("features-graph", &[graph.into_bytes()], |bytes| {
        let graph: Graph = match serde_json::from_slice(bytes) {
            Ok(graph) => graph,
            Err(e) => return told(&e),
        };
        match FeatureNetwork::new(&graph, &file.tensors) {
            Ok(network) => {
                let (height, width) = graph.input.size.get();
                if height * width > 1 << 14 {
                    return;
                }
                let mut vectors = Vec::new();
                network.extract(&[Image::filled(8, 8, &[128])], &mut vectors);
                assert_eq!(vectors.len(), network.dims());
            }
            Err(problem) => told(&problem),
        }
    });
}
