//! Ink and the toy: pictures that become noise and come back, and walkers in the plane.

use serde_json::{Value, json};

use crate::chrome::Page;
use crate::service::Service;
use crate::{content, eventually, fixtures, focus, open, says};

/// The fingerprint of what a canvas or picture shows in the next frame.
fn pixels(page: &mut Page, selector: &str) -> Value {
    let shown = format!("proof.pixels(document.querySelector({}))", json!(selector));
    page.eval(&format!("new Promise(requestAnimationFrame).then(() => {shown})"))
}

/// Presses a key at the control that has the focus, waits until a selector's text has changed, and returns that.
fn turned(page: &mut Page, key: &str, selector: &str) -> String {
    let text = format!("document.querySelector({}).textContent", json!(selector));
    let before = page.eval(&text);
    page.key(key);
    page.until(&format!("{text} !== {before}"));
    page.eval(&text).as_str().unwrap().to_owned()
}

/// What Ink asks for is for looking at: it does not stay among the jobs.
pub fn nothing_is_left(service: &Service) {
    eventually("jobs are left", || (service.get("/api/v1/jobs").json()["jobs"] == json!([])).then_some(()));
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
    let share =
        |k: usize| seen[k].0.trim_start_matches(['<', '>', ' ']).split(' ').next().unwrap().parse::<f64>().unwrap();
    assert!(share(1) > 99.9 && share(2) > 99.0 && share(3) < 0.1, "{seen:?}");
    says(&mut page, "To the eye nothing is left.");

    // Another seed is other noise, another schedule another way there.
    page.write("Seed of the noise", "5");
    page.until(&format!("proof.pixels(document.querySelector('canvas.sum')) !== {}", seen[3].1));
    let bent = |page: &mut Page| {
        page.eval("[...document.querySelectorAll('.curves .curve')].map((c) => c.getAttribute('d')).join()")
    };
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
    content(&mut page, "ink spreads");
    // The sample that it began with is not left behind, nor one whose page was left.
    page.go(&service.url("/#/ink"));
    page.click("Toy");
    nothing_is_left(&service);
}

/// The two pictures of a walk.
pub const HELD: &str = ".column canvas";
pub const GUESS: &str = ".column .guess canvas";

/// Waits until Ink has walked and says this. Where walks take long, a change of the settings alone begins none.
pub fn walked(page: &mut Page, words: &str) {
    let begin = "Walk with these settings";
    page.until(&format!("proof.control('{begin}') || document.querySelector('main').innerText.includes('{words}')"));
    if page.eval(&format!("Boolean(proof.control('{begin}'))")) == true {
        page.click(begin);
    }
    says(page, words);
}

#[test]
fn ink_comes_back() {
    let Some((_chrome, service, mut page)) = open(|_| {}) else { return };
    page.go(&service.url("/#/ink"));
    page.click("And un-spreads");
    // The walk that it begins with is over, and remembered, before another is asked for.
    says(&mut page, "Done. Move the slider back and forth.");
    page.until("location.hash.includes('seed=0')");
    page.write("Seed", "7");
    page.until("location.hash.includes('/reverse/') && location.hash.includes('seed=7')");
    walked(&mut page, "Done. Move the slider back and forth.");

    // Back and forth: each moment is again what it was.
    focus(&mut page, "Moment");
    let at = |page: &mut Page, key: &str| {
        turned(page, key, "#view-reverse .player output");
        (pixels(page, HELD), pixels(page, GUESS))
    };
    let noise = at(&mut page, "Home");
    let next = at(&mut page, "ArrowRight");
    let picture = at(&mut page, "End");
    let differ = noise.0 != next.0 && next.0 != picture.0 && noise.1 != picture.1 && noise.0 != noise.1;
    assert!(differ && picture.0 == picture.1, "{noise:?} {next:?} {picture:?}");
    at(&mut page, "ArrowLeft");
    assert_eq!(at(&mut page, "End"), picture);
    assert_eq!(at(&mut page, "Home"), noise);

    // The same noise, walked in two ways.
    page.choose("Compare with", "a quarter of the steps");
    walked(&mut page, "Done: the same noise, walked in two ways.");
    let other = "[aria-label=\"Walk B\"] canvas";
    focus(&mut page, "Moment");
    assert_eq!(at(&mut page, "Home").0, noise.0);
    assert_eq!(pixels(&mut page, other), noise.0);
    assert_eq!(at(&mut page, "End").0, picture.0);
    assert_ne!(pixels(&mut page, other), picture.0);
    says(&mut page, "% of the range on average");

    // What was started from the address is the same, too.
    page.until("location.hash.includes('b.steps=')");
    let address = page.eval("location.href");
    page.go(address.as_str().unwrap());
    says(&mut page, "Done: the same noise, walked in two ways.");
    assert_eq!(pixels(&mut page, HELD), picture.0);
    assert_eq!(page.eval("proof.control('Seed').value"), "7");
    content(&mut page, "ink comes back");
    nothing_is_left(&service);
}

#[test]
fn walkers_find_the_data() {
    let Some((_chrome, service, mut page)) = open(|_| {}) else { return };
    page.go(&service.url("/#/toy"));
    says(&mut page, "On average the walkers are");
    let plane = "[aria-label=\"Plane A\"] canvas";
    focus(&mut page, "Level");
    let far = turned(&mut page, "Home", "#toy-words");
    // Nothing but the data and the walkers.
    let all = pixels(&mut page, plane);
    for layer in ["Walkers' trails", "Score"] {
        page.click(layer);
    }
    let first = pixels(&mut page, plane);
    assert_ne!(all, first);
    focus(&mut page, "Level");
    assert!(far.starts_with("Level 0 of 25:") && far.contains("nothing is decided yet"), "{far}");
    page.click("Play");
    page.until("Number(proof.control('Level').value) > 3");
    page.click("Pause");
    focus(&mut page, "Level");
    let near = turned(&mut page, "End", "#toy-words");
    assert!(near.starts_with("Level 25 of 25:") && near.contains("of the walkers have arrived"), "{near}");
    let last = pixels(&mut page, plane);
    assert_ne!(last, first, "walkers have moved");
    page.click("Walkers' trails");
    assert_ne!(pixels(&mut page, plane), last, "trails are drawn");

    page.click("Compare with another solver");
    says(&mut page, "B: euler, 10 evaluations");
    page.click("Compare with another solver");

    // One's own points, by pointer and by keys.
    page.choose("Shape", "own");
    says(&mut page, "3 points.");
    page.stroke(plane, &[(0.7, 0.3)]);
    says(&mut page, "4 points.");
    page.eval(&format!("document.querySelector({}).focus()", json!(plane)));
    page.key("ArrowUp");
    page.key("Enter");
    says(&mut page, "5 points.");
    page.click("Clear");
    says(&mut page, "The plane is empty");
    content(&mut page, "the toy");
}
