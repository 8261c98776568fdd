//! Feature networks and resize filters against torchvision, pytorch-fid, clean-fid, Pillow and PyTorch: see
//! xtask/golden/features.py.

mod common;

use common::*;
use undiffuse_features::graph::Graph;
use undiffuse_features::resize::Resize;
use undiffuse_features::{FEATURES, FeatureNetwork, Features, Weights, built_in, folders};

#[test]
fn resize_filters_equal_those_of_the_python_tools() {
    let golden = Golden::open();
    let mut seen = 0;
    for name in golden.names() {
        let parts: Vec<&str> = name.split('.').collect();
        let ["resize", filter, picture, h, w] = parts[..] else { continue };
        let kind: Resize = serde_json::from_value(filter.into()).unwrap();
        let [picture, h, w] = [picture, h, w].map(|n| n.parse().unwrap());
        let got = kind.planes(&golden.picture(picture), h, w);
        let (_, truth) = golden.tensor(&name);
        let worst = got.iter().zip(&truth).map(|(g, t)| (g - t).abs()).fold(0.0, f32::max);
        // 8-bit filters are equal; the others up to single precision, on the scale of 0 to 255.
        let allowed = if filter.starts_with("pillow") { 0.0 } else { 1e-4 };
        assert!(got.len() == truth.len() && worst <= allowed, "{name}: error {worst}");
        seen += 1;
    }
    assert_eq!(seen, 20);
}

/// Features of fixtures `TAG.0`, `TAG.1`, … against the golden ones.
fn check(network: &dyn Features, tag: &str, golden: &Golden) {
    let names = golden.names().into_iter().filter(|name| name.rsplit_once('.').is_some_and(|(t, _)| t == tag));
    let mut seen = 0;
    for name in names {
        let picture = golden.picture(name.rsplit_once('.').unwrap().1.parse().unwrap());
        let mut got = vec![];
        network.extract(&[picture], &mut got);
        let error = error(&got, &golden.tensor(&name).1);
        println!("{name}: error {error:.1e}");
        assert!(error < 1e-4, "{name}: error {error:e}");
        seen += 1;
    }
    assert!(seen >= 2, "{tag} has fixtures");
}

#[test]
fn mobilenet_equals_torchvision() {
    check(&by_formula("mobilenet-v2"), "mobilenet-v2", &Golden::open());
}

#[test]
fn inception_equals_pytorch_fid() {
    for tag in ["inception-v3-fid", "inception-v3-fid-clean"] {
        check(&by_formula(tag), tag, &Golden::open());
    }
}

/// With the real weights, where they are installed; xtask/checks/features.py installs them and runs this.
#[test]
fn mobilenet_with_imagenet_weights_equals_torchvision() {
    let files = ["safetensors", "pth"].map(|ending| format!("mobilenet_v2-b0353104.{ending}"));
    let places = folders().into_iter().flat_map(|folder| files.clone().map(|file| folder.join(file)));
    let Some(path) = places.into_iter().find(|p| p.is_file()) else {
        println!("skipped: no weights in {:?}", folders());
        return;
    };
    let weights = Weights::open(&path).unwrap();
    let network = FeatureNetwork::new(&built_in("mobilenet-v2").unwrap(), &weights.tensors).unwrap();
    check(&network, "mobilenet-real", &Golden::open());
}

fn user_network() -> FeatureNetwork {
    let weights = Weights::open(&fixture("user-network.safetensors")).unwrap();
    let graph: Graph = serde_json::from_str(&weights.graph.unwrap()).unwrap();
    FeatureNetwork::new(&graph, &weights.tensors).unwrap()
}

#[test]
fn a_network_of_ones_own_equals_pytorch() {
    let golden = Golden::open();
    let network = user_network();
    let (shape, truth) = golden.tensor("user");
    assert_eq!(shape, [3, network.dims()]);
    let mut got = vec![];
    network.extract(&[0, 1, 2].map(|i| golden.picture(i)), &mut got);
    let error = error(&got, &truth);
    assert!(error < 1e-5, "error {error:e}");
}

#[test]
fn vectors_depend_on_neither_batch_nor_threads() {
    let golden = Golden::open();
    let pictures: Vec<_> = (0..7).map(|i| golden.picture(i % 4)).collect();
    let bits = |network: &FeatureNetwork, threads: usize, batch: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut out = vec![];
        pool.install(|| pictures.chunks(batch).for_each(|pictures| network.extract(pictures, &mut out)));
        out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    for network in [by_formula("mobilenet-v2"), user_network()] {
        let whole = bits(&network, 1, 7);
        for (threads, batch) in [(1, 1), (2, 7), (3, 2), (5, 3)] {
            assert!(
                bits(&network, threads, batch) == whole,
                "{}: {threads} threads, batches of {batch}",
                network.name()
            );
        }
    }
}

#[test]
fn fingerprints_tell_weights_layers_and_filters_apart() {
    let graph = |tag| built_in(tag).unwrap();
    let of = |graph: &Graph| FeatureNetwork::from_fn(graph, formula).unwrap().fingerprint().to_owned();
    let plain = of(&graph("mobilenet-v2"));
    assert_eq!(plain, of(&graph("mobilenet-v2")));
    let mut resized = graph("mobilenet-v2");
    resized.input.resize = Resize::PillowBicubic;
    assert_ne!(plain, of(&resized));
    let moved = |name: &str, shape: &[usize]| {
        let mut values = formula(name, shape);
        values[0] += f32::from(u8::from(name == "features.18.1.bias")) * 1e-3;
        values
    };
    assert_ne!(plain, FeatureNetwork::from_fn(&graph("mobilenet-v2"), moved).unwrap().fingerprint());
}

#[test]
fn networks_that_cannot_be_say_why() {
    let build = |layers: &str| {
        let text = format!(
            r#"{{"name":"bad","input":{{"size":8,"channels":3,"resize":"clean-bicubic","mean":[0,0,0],"std":[1,1,1]}},"layers":[{layers}]}}"#
        );
        let graph: Graph = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        FeatureNetwork::from_fn(&graph, formula).map(|network| network.dims())
    };
    assert_eq!(build(r#"{"layer":"global-pool"}"#), Ok(3));
    for (layers, message) in [
        ("", "end with `global-pool`"),
        (r#"{"layer":"conv","name":"a","out":4,"kernel":9},{"layer":"global-pool"}"#, "`a`: a filter of (9, 9)"),
        (r#"{"layer":"conv","name":"a","out":0,"kernel":1},{"layer":"global-pool"}"#, "`a` has 0 channels"),
        (r#"{"layer":"conv","name":"a","out":4,"kernel":1,"stride":0},{"layer":"global-pool"}"#, "stride 0"),
        (r#"{"layer":"conv","name":"a","out":4,"kernel":1,"depthwise":true},{"layer":"global-pool"}"#, "as many"),
        (r#"{"layer":"conv","name":"a","out":3,"kernel":1,"padding":65535},{"layer":"global-pool"}"#, "numbers"),
        (r#"{"layer":"max-pool","kernel":2,"padding":2},{"layer":"global-pool"}"#, "does not fit"),
        (r#"{"layer":"linear","name":"a","out":4}"#, "put `global-pool` or `flatten`"),
        (r#"{"layer":"global-pool"},{"layer":"flatten"}"#, "`flatten` needs a map"),
        (r#"{"layer":"branches","branches":[]},{"layer":"global-pool"}"#, "no branch"),
        (
            r#"{"layer":"branches","branches":[[],[{"layer":"max-pool","kernel":2}]]},{"layer":"global-pool"}"#,
            "different sizes",
        ),
        (
            r#"{"layer":"residual","layers":[{"layer":"conv","name":"a","out":4,"kernel":1}]},{"layer":"global-pool"}"#,
            "a residual adds",
        ),
        (r#"{"layer":"deconv"}"#, "unknown variant `deconv`"),
        (r#"{"layer":"global-pool","size":3}"#, "unknown field"),
    ] {
        let error = build(layers).unwrap_err();
        assert!(error.contains(message), "{layers}: {error}");
    }
    let deep = r#"{"layer":"residual","layers":["#.repeat(20) + &"]}".repeat(20);
    assert!(build(&deep).unwrap_err().contains("deep"), "{:?}", build(&deep));
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let graph = built_in("mobilenet-v2").unwrap();
    let missing = FeatureNetwork::new(&graph, &Default::default()).err().unwrap();
    assert!(missing.contains("tensor `features.0.0.weight` is missing"), "{missing}");
    let wrong = |name: &str, shape: &[usize]| formula(name, &shape[1..]);
    let wrong = FeatureNetwork::from_fn(&graph, wrong).err().unwrap();
    assert!(wrong.contains("features.0.0.weight"), "{wrong}");
    let nan = |name: &str, shape: &[usize]| {
        let mut values = formula(name, shape);
        values[0] = f32::NAN;
        values
    };
    let nan = FeatureNetwork::from_fn(&graph, nan).err().unwrap();
    assert!(nan.contains("NaN"), "{nan}");
}

#[test]
fn every_way_to_features_is_in_the_table_once() {
    let mut tags: Vec<_> = FEATURES.iter().map(|kind| kind.tag).collect();
    assert_eq!(tags[0], "mobilenet-v2", "the default comes first");
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), FEATURES.len());
}
