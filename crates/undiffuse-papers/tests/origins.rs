//! What is promised of the 2015 experiments beside their numbers.

use undiffuse_papers::{ExperimentOptions, ExperimentReport, find};

fn quick(name: &str, seed: u64) -> ExperimentReport {
    let folder = tempfile::tempdir().unwrap();
    let options = ExperimentOptions { quick: true, seed, ..ExperimentOptions::new(folder.path()) };
    let report = find(name).unwrap().run(&options, &mut |_| ()).unwrap();
    ExperimentReport { figures: Vec::new(), ..report }
}

/// Training, measuring and sampling depend on the seed and on nothing else.
#[test]
fn a_seed_is_a_run() {
    for name in ["heartbeat", "swiss-roll", "swiss-roll-posterior"] {
        let first = quick(name, 3);
        assert_eq!(first, quick(name, 3), "{name}");
        assert_ne!(first, quick(name, 4), "{name}");
    }
}

/// However bad the model is, its bound stays below the truth.
#[test]
fn barely_trained_models_do_not_beat_the_truth() {
    for name in ["heartbeat", "swiss-roll"] {
        let report = quick(name, 5);
        let row = |what: &str| report.rows.iter().find(|row| row.what.starts_with(what)).unwrap();
        let (k, truth) = (row("K"), row("truth"));
        assert!(k.ours < truth.ours && k.ours < k.paper.unwrap(), "{name}: {k:?} {truth:?}");
    }
}
