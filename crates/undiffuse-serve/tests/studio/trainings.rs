//! Runs in the studio: looked at, laid over each other, started and stopped.

use serde_json::Value;
use undiffuse_serve::ServeOptions;

use crate::{content, fixtures, focus, open, says};

#[test]
fn a_run_is_looked_at() {
    let Some((_chrome, service, mut page)) = open(|options| fixtures::run(&options.paths[0].join("flowers"))) else {
        return;
    };
    page.go(&service.url("/#/train"));
    says(&mut page, "undiffuse serve --allow-train");
    assert_eq!(page.eval("proof.control('New run')"), Value::Null);
    says(&mut page, "quick on flowers");
    page.click("flowers");
    says(&mut page, "At 6,400 pictures, after 1 min 40 s: loss");
    says(&mut page, "finished");
    assert_eq!(page.eval("document.querySelectorAll('.curve').length"), 5);

    // Its grids, the last one first.
    let grid = "document.querySelector('.reel-well img')?.src.split('/').at(-1)";
    page.until(&format!("{grid} === '6400'"));
    focus(&mut page, "Pictures seen");
    page.key("Home");
    page.until(&format!("{grid} === '1600'"));
    page.key("ArrowRight");
    page.until(&format!("{grid} === '3200'"));
    says(&mut page, "At 3,200 pictures, after 50 s: loss");

    page.click("Configuration");
    says(&mut page, "path = \"flowers\"");
    page.click("Log");
    says(&mut page, "step 50: loss 0.41");
    page.click("Examine this run");
    page.until("proof.control('Examine again')");
    says(&mut page, "What it could not look at");
    content(&mut page, "the doctor");
    page.click("Generate with it");
    page.until("document.querySelector('#generate-model')?.value === 'flowers'");
    content(&mut page, "a run");
}

#[cfg(unix)]
#[test]
fn a_run_is_started_and_stopped() {
    let Some((_chrome, service, mut page)) =
        open(|options| options.training = Some(fixtures::training(&options.store)))
    else {
        return;
    };
    page.go(&service.url("/#/train"));
    page.click("New run");
    page.write("Name", "no such/name");
    page.click("Start training");
    assert_eq!(page.eval("proof.control('Name').validity.patternMismatch"), true);
    page.write("Name", "roses");
    page.click("Size, colour");
    page.write("Further settings", "train.lr");
    page.click("Start training");
    says(&mut page, "Line 1, “train.lr”: write KEY=VALUE");
    content(&mut page, "a new run");
    page.write("Further settings", "train.lr=1e-4");
    page.click("Start training");
    page.until("location.hash === '#/train/roses' && document.querySelector('h1 .badge')?.textContent === 'training'");
    // What happens is shown as it happens.
    says(&mut page, "64 pictures");
    page.click("Log");
    says(&mut page, "--set=train.lr=0.0001");
    page.click("Stop…");
    page.until("document.querySelector('dialog[open]')");
    content(&mut page, "stopping");
    // Whoever leaves the page leaves the question.
    page.eval("history.back()");
    page.until("location.hash === '#/train' && !document.querySelector('dialog[open]')");
    page.click("roses");
    page.click("Stop…");
    page.until("document.querySelector('dialog[open]')");
    page.click("Stop and save");
    page.until("document.querySelector('h1 .badge').textContent === 'stopped'");
    content(&mut page, "training");
}

#[test]
fn runs_are_laid_over_each_other() {
    let two = |options: &mut ServeOptions| {
        fixtures::run(&options.paths[0].join("flowers"));
        fixtures::run(&options.paths[0].join("roses"));
        let config = options.paths[0].join("roses/config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace("data/flowers", "data/roses")).unwrap();
    };
    let Some((_chrome, service, mut page)) = open(two) else { return };
    page.go(&service.url("/#/train/flowers"));
    page.choose("Other run", "roses");
    page.click("Compare");
    says(&mut page, "the sizes of their losses do not mean the same");
    says(&mut page, "data.path");
    assert_eq!(page.eval("document.querySelectorAll('.curve').length"), 4);
    // A place in one film marks it in the curves; each has its own.
    let grids = "[...document.querySelectorAll('.reel-well img')].map((i) => i.src.split('/').at(-1)).join()";
    page.until(&format!("{grids} === '6400,6400'"));
    focus(&mut page, "flowers: pictures seen");
    page.key("Home");
    page.until(&format!("{grids} === '1600,6400'"));
    content(&mut page, "two runs");
}
