//! Every metric against the tools of the field, on the same numbers (`xtask/golden/metrics.py`).

use std::collections::BTreeSet;
use std::fs;

use safetensors::SafeTensors;
use serde_json::Value;
use undiffuse_metrics::moments::Gaussian;
use undiffuse_metrics::{METRICS, MetricOptions, Rows, Sets, cmmd, frechet, kid, manifold, sliced};

const TENSORS: &[u8] = include_bytes!("fixtures/metrics.safetensors");
const NUMBERS: &str = include_str!("fixtures/metrics.json");

fn tensor(name: &str) -> (Vec<f32>, usize) {
    let file = SafeTensors::deserialize(TENSORS).unwrap();
    let view = file.tensor(name).unwrap();
    let values = view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    (values, view.shape()[1])
}

fn numbers() -> Value {
    serde_json::from_str(NUMBERS).unwrap()
}

fn close(what: &str, found: f64, want: &Value, tolerance: f64) {
    let want = want.as_f64().unwrap_or_else(|| panic!("{what}: no number {want}"));
    assert!((found - want).abs() <= tolerance * want.abs(), "{what}: {found}, not {want}");
}

fn each_case(check: impl Fn(&str, Rows, Rows, &Value)) {
    let numbers = numbers();
    let cases = numbers["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 3);
    for (name, want) in cases {
        let ((real, dims), (generated, _)) = (tensor(&format!("{name}.real")), tensor(&format!("{name}.generated")));
        check(name, Rows::new(&real, dims), Rows::new(&generated, dims), want);
    }
}

/// The figures of whole metrics, as reports have them. Whatever JSON lies in `fixtures/` with `figures` is read: each has the
/// two sets by the name of a case or as numbers. A new metric brings such a file; one without is named here.
#[test]
fn every_metric_has_a_golden() {
    let mut compared = BTreeSet::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|word| word != "json") {
            continue;
        }
        let file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for want in file["figures"].as_array().into_iter().flatten() {
            let tag = want["figure"].as_str().unwrap();
            let metric = METRICS.iter().find(|metric| metric.itself.iter().any(|(own, _)| *own == tag)).unwrap();
            let ((real, dims), (generated, _)) = (side(want, "real"), side(want, "generated"));
            let sets = Sets { real: Rows::new(&real, dims), generated: Rows::new(&generated, dims) };
            let figures = (metric.measure)(&sets, &MetricOptions::default()).unwrap();
            let found = figures.iter().find(|figure| figure.tag == tag).unwrap();
            let what = format!("{tag} by {} ({})", want["by"], path.display());
            close(&what, found.value, &want["value"], want["tolerance"].as_f64().unwrap());
            compared.insert(metric.tag);
        }
    }
    let missing: Vec<_> = METRICS.iter().map(|metric| metric.tag).filter(|tag| !compared.contains(tag)).collect();
    let what = "compared with no number from outside: put some into a file in tests/fixtures (CONTRIBUTING.md)";
    assert!(missing.is_empty(), "{missing:?} is {what}");
}

/// One side of a golden figure, and its dimensions.
fn side(of: &Value, side: &str) -> (Vec<f32>, usize) {
    let Some(case) = of["case"].as_str() else {
        let values = of[side].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
        return (values, of["dims"].as_u64().unwrap() as usize);
    };
    let (mut values, dims) = tensor(&format!("{case}.{side}"));
    values.truncate(of["images"].as_u64().map_or(values.len(), |n| n as usize * dims));
    (values, dims)
}

/// pytorch-fid and torch-fidelity; closer, the nuclear norm of a product of factors.
#[test]
fn frechet_distances() {
    each_case(|name, real, generated, want| {
        let found = frechet::distance(&Gaussian::of(real), &Gaussian::of(generated)).unwrap();
        let want = &want["frechet"];
        close(name, found, &want["pytorch_fid"], 1e-6);
        close(name, found, &want["torch_fidelity"], 1e-6);
        close(name, found, &want["nuclear_norm"], 2e-7);
    });
}

/// torch-fidelity on its own subsets, and the definition over all pairs.
#[test]
fn kernel_distances() {
    each_case(|name, real, generated, want| {
        let indices = |value: &Value| value.as_array().unwrap().iter().map(|i| i.as_u64().unwrap() as usize).collect();
        let subsets: Vec<[Vec<usize>; 2]> = want["kid"]["subsets_generated_real"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| [indices(&pair[1]), indices(&pair[0])])
            .collect();
        let found = kid::kid_of_subsets(real, generated, &subsets);
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        let variance = found.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / found.len() as f64;
        close(name, mean, &want["kid"]["torch_fidelity_mean"], 1e-4);
        close(name, variance.sqrt(), &want["kid"]["torch_fidelity_std"], 1e-4);
        close(name, kid::kid(real, generated).value, &want["kid"]["all"], 1e-5);

        let n = want["cmmd"]["images"].as_u64().unwrap() as usize;
        close(name, cmmd::cmmd(real.first(n), generated.first(n)).value, &want["cmmd"]["value"], 1e-4);
    });
}

/// prdc with three and five neighbours, torch-fidelity with three.
#[test]
fn manifolds() {
    each_case(|name, real, generated, want| {
        let share = |inside: &[bool]| inside.iter().filter(|x| **x).count() as f64 / inside.len() as f64;
        for (k, table) in [(3, "prdc_3"), (5, "prdc_5"), (3, "torch_fidelity_3")] {
            let found = manifold::compare(real, generated, [k, k]);
            let density = found.density.iter().sum::<f64>() / found.density.len() as f64;
            let figures = [
                ("precision", share(&found.precision)),
                ("recall", share(&found.recall)),
                ("density", density),
                ("coverage", share(&found.coverage)),
            ];
            for (figure, found) in figures {
                match &want["manifold"][table][figure] {
                    Value::Null => assert!(table.starts_with("torch")),
                    want => close(&format!("{name} {table} {figure}"), found, want, 1e-6),
                }
            }
        }
    });
}

/// Assignments by scipy, of unequal numbers of points too.
#[test]
fn wasserstein_distances() {
    let numbers = numbers();
    let rows = numbers["wasserstein"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let points = |side: &str| -> Vec<f32> {
            row[side].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
        };
        let (a, b) = (points("a"), points("b"));
        close("wasserstein", sliced::wasserstein(&a, &b), &row["squared"], 1e-9);
        let whole = sliced::sliced(Rows::new(&a, 1), Rows::new(&b, 1), 3, 0).squared;
        close("sliced in one dimension", whole, &row["squared"], 1e-9);
    }
}
