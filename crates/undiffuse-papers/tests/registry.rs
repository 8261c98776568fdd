//! Every experiment of the registry, in seconds.

use undiffuse_papers::{EXPERIMENTS, ExperimentOptions, find};

#[test]
fn quick_runs_of_all_go_through() {
    for experiment in EXPERIMENTS {
        let folder = tempfile::tempdir().unwrap();
        let options = ExperimentOptions { quick: true, ..ExperimentOptions::new(folder.path()) };
        let mut heard = 0.0f64;
        let report = experiment.run(&options, &mut |event| heard = heard.max(event.progress)).unwrap();
        assert!(report.rows.iter().all(|row| row.ours.is_finite()), "{}: {:#?}", experiment.name, report.rows);
        assert!((0.0..=1.0).contains(&heard), "{}: progress {heard}", experiment.name);
        for figure in &report.figures {
            assert!(std::fs::metadata(figure).unwrap().len() > 1000, "{}", figure.display());
        }
    }
}

#[test]
fn names_are_unique_and_unknown_ones_get_the_list() {
    for experiment in EXPERIMENTS {
        assert!(std::ptr::eq(find(experiment.name).unwrap(), experiment));
    }
    let message = find("hartbeat").err().unwrap().to_string();
    assert!(message.contains("did you mean `heartbeat`?"), "{message}");
    assert!(EXPERIMENTS.iter().all(|e| message.contains(e.name)), "{message}");
}
