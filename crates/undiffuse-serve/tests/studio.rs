//! The studio in a real browser: what people do at its pages, and how these look.

#[path = "studio/chrome.rs"]
mod chrome;
#[path = "studio/fixtures.rs"]
mod fixtures;
mod service;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrome::{Chrome, Look, Page};
use serde_json::{Value, json};
use service::Service;
use undiffuse_serve::Options;

/// A service and a tab of a browser; `None` where there is no browser and none is required.
fn open(change: impl FnOnce(&mut Options)) -> Option<(Chrome, Service, Page)> {
    let mut chrome = Chrome::start()?;
    let page = chrome.page();
    Some((chrome, Service::start(change), page))
}

/// The fingerprint of what a canvas or picture shows.
fn pixels(page: &mut Page, selector: &str) -> Value {
    page.eval(&format!("proof.pixels(document.querySelector({}))", json!(selector)))
}

/// Puts the focus on a control.
fn focus(page: &mut Page, name: &str) {
    page.until(&format!("proof.control({})", json!(name)));
    page.eval(&format!("proof.control({}).focus()", json!(name)));
}

/// Presses a key at the control that has the focus, waits until a selector's text has changed, and returns that.
fn turned(page: &mut Page, key: &str, selector: &str) -> String {
    let text = format!("document.querySelector({}).textContent", json!(selector));
    let before = page.eval(&text);
    page.key(key);
    page.until(&format!("{text} !== {before}"));
    page.eval(&text).as_str().unwrap().to_owned()
}

/// Waits until the page says this.
fn says(page: &mut Page, text: &str) {
    page.until(&format!("document.querySelector('main').innerText.includes({})", json!(text)));
}

#[test]
fn ink_spreads() {
    let Some((_chrome, service, mut page)) = open(|_| {}) else { return };
    page.go(&service.url("/#/ink"));
    page.until("document.querySelector('canvas.sum')?.width === 8");
    let picture = service.folder.path().join("rainbow.png");
    std::fs::write(&picture, fixtures::rainbow(48, 32)).unwrap();
    page.drop_files(".drop", &[&picture]);
    says(&mut page, "48 × 32 pixels; it does not leave your browser.");
    page.until("document.querySelector('canvas.sum').width === 48");

    // From the picture to noise: by pointer, then by keys.
    page.click("Time");
    let mut seen = vec![(String::new(), pixels(&mut page, "canvas.sum"))];
    for key in ["Home", "ArrowRight", "End"] {
        let said = turned(&mut page, key, ".left");
        seen.push((said, pixels(&mut page, "canvas.sum")));
    }
    for (k, (said, pixels)) in seen.iter().enumerate() {
        assert!(seen[..k].iter().all(|other| other.0 != *said && other.1 != *pixels), "{seen:?}");
    }
    let share = |k: usize| seen[k].0.trim_start_matches(['<', '>', ' ']).split(' ').next().unwrap().parse::<f64>().unwrap();
    assert!(share(1) > 99.9 && share(2) > 99.0 && share(3) < 0.1, "{seen:?}");
    says(&mut page, "To the eye nothing is left.");

    // Another seed is other noise, another schedule another way there.
    page.write("Seed of the noise", "5");
    page.until(&format!("proof.pixels(document.querySelector('canvas.sum')) !== {}", seen[3].1));
    let bent = |page: &mut Page| page.eval("[...document.querySelectorAll('.curves .curve')].map((c) => c.getAttribute('d')).join()");
    let cosine = bent(&mut page);
    page.choose("Schedule", "linear");
    page.until("location.hash.includes('schedule=linear') && location.hash.includes('seed=5') && location.hash.includes('at=100')");
    let linear = bent(&mut page);
    assert_ne!(cosine, linear);

    // It plays, and the address leads back to what is seen.
    page.click("Play");
    page.until("proof.control('Pause') && Number(proof.control('Time').value) > 10");
    page.click("Pause");
    focus(&mut page, "Time");
    turned(&mut page, "End", ".left");
    page.until("location.hash.includes('at=100')");
    let address = page.eval("location.href");
    page.go(address.as_str().unwrap());
    page.until("document.querySelector('.left')?.textContent && document.querySelector('canvas.sum').width > 1");
    assert_eq!(bent(&mut page), linear);
    assert_eq!(page.eval("proof.control('Seed of the noise').value"), "5");
    page.must_be_content("ink spreads");
}
