//! The studio in a real browser: what people do at its pages, and how these look.

#[path = "studio/chrome.rs"]
mod chrome;
#[path = "studio/fitting.rs"]
mod fitting;
#[path = "studio/fixtures.rs"]
mod fixtures;
#[path = "../../undiffuse/tests/folders_of_words/mod.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod folders_of_words;
#[path = "studio/ink.rs"]
mod ink;
mod service;
#[path = "studio/trainings.rs"]
mod trainings;
#[path = "studio/words.rs"]
mod words;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrome::{Chrome, Look, Page};
use ink::{GUESS, HELD, walked};
use serde_json::json;
use service::Service;
use undiffuse::data::decode::decode;
use undiffuse_serve::ServeOptions;

/// A service and a tab of a browser; `None` where there is no browser and none is required.
fn open(change: impl FnOnce(&mut ServeOptions)) -> Option<(Chrome, Service, Page)> {
    let mut chrome = Chrome::start()?;
    let page = chrome.page();
    Some((chrome, Service::start(change), page))
}

/// Puts the focus on a control.
fn focus(page: &mut Page, name: &str) {
    page.until(&format!("proof.control({})", json!(name)));
    page.eval(&format!("proof.control({}).focus()", json!(name)));
}

/// Fails if the page complains of something, or axe-core of the page.
fn content(page: &mut Page, about: &str) {
    page.must_be_content(about);
    let faults = page.accessibility().unwrap_or_default();
    assert!(faults.is_empty(), "{about}: {faults:#?}");
}

/// Waits until this gives something.
fn eventually<T>(what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = f() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Waits until the page says this.
fn says(page: &mut Page, text: &str) {
    page.until(&format!("document.querySelector('main').innerText.includes({})", json!(text)));
}

/// Waits until the newest card of the page Generate says so; its job's id.
fn newest(page: &mut Page, state: &str) -> String {
    page.until(&format!("document.querySelector('.job')?.dataset.state === {}", json!(state)));
    page.eval("document.querySelector('.job').dataset.job").as_str().unwrap().to_owned()
}

/// The bytes of the first picture of a job.
fn first_picture(service: &Service, job: &str) -> Vec<u8> {
    let answer = service.get(&format!("/api/v1/jobs/{job}/images/0"));
    assert_eq!(answer.status, 200, "{answer}");
    answer.body
}

/// Waits for a whole ZIP in this folder.
fn downloaded(folder: &Path) -> Vec<u8> {
    let whole = |bytes: &Vec<u8>| bytes.windows(4).any(|w| w == b"PK\x05\x06");
    eventually("no ZIP comes", || {
        let entry = std::fs::read_dir(folder)
            .ok()?
            .map(Result::unwrap)
            .find(|e| e.path().extension() == Some("zip".as_ref()))?;
        std::fs::read(entry.path()).ok().filter(whole)
    })
}

#[test]
fn pictures_are_made_and_made_again() {
    let Some((_chrome, service, mut page)) = open(|_| {}) else { return };
    for height in [640, 800, 1400] {
        page.look(Look { dark: false, width: 1280, height });
        page.go(&service.url("/#/generate"));
        page.until("proof.control('Generate 8 pictures')");
        let seen = "proof.control('Generate 8 pictures').getBoundingClientRect().bottom <= innerHeight";
        assert_eq!(page.eval(seen), true, "the button is out of sight in a window {height} high");
    }
    page.write("Seed", "41");
    page.write("Pictures", "3");
    page.click("bee");
    page.click("Generate 3 pictures");
    let job = newest(&mut page, "done");
    page.until("document.querySelectorAll('.job .thumb img').length === 3");
    page.until("[...document.querySelectorAll('.job .thumb img')].every((img) => img.naturalWidth === 8)");
    says(&mut page, "seed 43");

    // All of them in a file.
    let folder = service.folder.path().join("downloads");
    page.call("Page.setDownloadBehavior", json!({"behavior": "allow", "downloadPath": folder}));
    page.click("Download ZIP");
    let zip = downloaded(&folder);
    assert_eq!(zip.windows(4).filter(|w| w == b"PK\x01\x02").count(), 3, "a ZIP of three files");

    // A picture brings its settings back, and these the picture.
    let file = service.folder.path().join("bee.png");
    std::fs::write(&file, first_picture(&service, &job)).unwrap();
    page.write("Seed", "9");
    page.click("bee");
    page.click("cat");
    page.drop_files(".results", &[&file]);
    says(&mut page, "The form has the settings of bee.png.");
    assert_eq!(page.eval("proof.control('Seed').value"), "41");
    assert_eq!(
        page.eval("[...document.querySelectorAll('.chip[aria-pressed=true]')].map((c) => c.textContent).join()"),
        "bee"
    );
    page.click("Generate");
    page.until("document.querySelectorAll('.job').length === 2");
    let again = newest(&mut page, "done");
    assert_eq!(first_picture(&service, &again), first_picture(&service, &job));

    // A long job is given up.
    page.write("Pictures", "64");
    page.write("Steps", "1000");
    page.click("Generate 64 pictures");
    page.until("document.querySelectorAll('.job').length === 3");
    newest(&mut page, "running");
    content(&mut page, "a job at work");
    page.click("Cancel");
    newest(&mut page, "cancelled");
    assert_eq!(page.eval("document.querySelector('.job .badge').textContent"), "cancelled");
    page.until(
        "[...document.querySelectorAll('[role=status]')].some((s) => s.textContent === 'The job is cancelled.')",
    );
    content(&mut page, "pictures");
}

#[test]
fn a_part_is_painted_anew() {
    let Some((_chrome, service, mut page)) = open(|_| {}) else { return };
    page.go(&service.url("/#/generate"));
    page.write("Pictures", "1");
    page.click("Generate");
    let before = newest(&mut page, "done");
    page.eval("document.querySelector('.thumb').click()");
    page.until("document.querySelector('dialog[open] img').complete");
    content(&mut page, "a picture");
    page.click("Paint into it");
    says(&mut page, "Paint over what is to be repainted, then press Generate.");
    page.stroke(".easel", &[(0.1, 0.2), (0.5, 0.2), (0.9, 0.2)]);
    says(&mut page, "is painted and will be repainted");
    content(&mut page, "the easel");
    page.write("Seed", "5");
    page.click("Generate");
    page.until("document.querySelectorAll('.job').length === 2");
    let again = newest(&mut page, "done");
    says(&mut page, "from a picture, strength 1");
    let grey = |bytes: Vec<u8>| decode(&bytes, &Default::default()).unwrap().image.pixels;
    let (before, after) = (grey(first_picture(&service, &before)), grey(first_picture(&service, &again)));
    assert_eq!(before[40..], after[40..], "what was not painted over stays");
    assert_ne!(before[..32], after[..32], "what was painted over is new");
    content(&mut page, "painting");
    // In another visit what it was painted into is not there any more, which is said.
    let file = service.folder.path().join("painted.png");
    std::fs::write(&file, first_picture(&service, &again)).unwrap();
    page.go(&service.url("/#/ink"));
    page.go(&service.url("/#/generate"));
    page.drop_files(".results", &[&file]);
    says(&mut page, "give that one under “Start from”");
    assert_eq!(page.eval("document.querySelector('.start input:checked').value"), "paint");
    assert_eq!(page.eval("proof.control('Seed').value"), "5");
    content(&mut page, "settings of a painted picture");
}

#[test]
fn colours_stay_colours() {
    let colour = |options: &mut ServeOptions| service::save_model_of(&options.paths[0].join("hues"), 3, 3);
    let Some((_chrome, service, mut page)) = open(colour) else { return };
    page.go(&service.url("/#/generate/hues"));
    page.write("Pictures", "1");
    page.click("A picture");
    page.click("Generate");
    says(&mut page, "Drop a picture to start from");
    let picture = service.folder.path().join("rainbow.png");
    std::fs::write(&picture, fixtures::rainbow(48, 32)).unwrap();
    page.drop_files(".start .drop", &[&picture]);
    says(&mut page, "As the model sees it: 8 × 8 pixels.");
    page.until("proof.colourful(document.querySelector('.start canvas'))");
    page.click("Generate");
    let job = newest(&mut page, "done");
    assert_eq!(decode(&first_picture(&service, &job), &Default::default()).unwrap().image.channels, 3);
    says(&mut page, "from a picture, strength 0.6");
    page.until("proof.colourful(document.querySelector('.job .thumb img'))");
    // A grey model sees the same picture in grey.
    page.choose("Model", "grey");
    says(&mut page, "As the model sees it: 8 × 8 pixels, grey.");
    assert_eq!(page.eval("proof.colourful(document.querySelector('.start canvas'))"), false);
    content(&mut page, "colours");

    page.go(&service.url("/#/ink"));
    page.until("document.querySelector('canvas.sum')?.width === 8");
    page.paste(&fixtures::rainbow(40, 24), "rainbow.png");
    says(&mut page, "40 × 24 pixels; it does not leave your browser.");
    page.until("proof.colourful(document.querySelector('canvas.sum'))");
    page.click("And un-spreads");
    says(&mut page, "Done. Move the slider back and forth.");
    page.choose("Model", "hues");
    page.until("location.hash.includes('model=hues')");
    walked(&mut page, "Done. Move the slider back and forth.");
    for canvas in [HELD, GUESS] {
        page.until(&format!("proof.colourful(document.querySelector('{canvas}'))"));
    }
    content(&mut page, "ink in colours");
}

/// As [`ink::nothing_is_left`], beside jobs of the page Generate.
fn nothing_is_left_of_ink(service: &Service, jobs: usize) {
    let count = || service.get("/api/v1/jobs").json()["jobs"].as_array().unwrap().len();
    eventually("jobs are left", || (count() == jobs).then_some(()));
}

#[test]
fn a_full_queue_is_waited_for() {
    let Some((_chrome, service, mut page)) = open(|options| options.limits.queue = 2) else { return };
    page.go(&service.url("/#/generate"));
    let long = json!({"model": "grey", "n": 64, "steps": 1000});
    let mut taken = Vec::new();
    loop {
        let answer = service.post("/api/v1/jobs", &long);
        match answer.status {
            202 => taken.push(answer.json()["id"].as_str().unwrap().to_owned()),
            status => break assert_eq!(status, 429, "{answer}"),
        }
    }
    page.expect("429");
    page.write("Pictures", "2");
    page.click("Generate 2 pictures");
    says(&mut page, "The service has as many jobs as it takes.");
    content(&mut page, "a full queue");
    page.click("Do not wait");
    page.until("!document.querySelector('main').innerText.includes('as many jobs as it takes')");
    for id in taken {
        assert_eq!(service.post(&format!("/api/v1/jobs/{id}/cancel"), &json!({})).status, 200);
    }
    page.click("Generate 2 pictures");
    newest(&mut page, "done");
    content(&mut page, "room again");
}

#[test]
fn a_token_is_asked_for() {
    let Some((_chrome, service, mut page)) = open(|options| options.token = Some("the-right-words".into())) else {
        return;
    };
    page.expect("401");
    page.go(&service.url("/#/generate"));
    page.write("Token", "the wrong words");
    page.click("Sign in");
    page.until("document.querySelector('dialog .problem').textContent.startsWith('That is not the token.')");
    content(&mut page, "signing in");
    page.expect("401");
    page.write("Token", "the-right-words");
    page.key("Enter");
    says(&mut page, "Generate 8 pictures");
    content(&mut page, "a token");
    page.until("!document.getElementById('sign-out').hidden");
    page.expect("401");
    page.click("Sign out");
    page.until("Boolean(document.querySelector('dialog[open]'))");
    content(&mut page, "signed out");
    // Somebody else, with the address that the program printed; what was under way at the sign-out is refused yet.
    page.expect("401");
    page.call("Network.clearBrowserCookies", json!({}));
    page.go(&service.url("/#token=the-right-words"));
    page.until("document.querySelector('.left')?.textContent && !location.href.includes('token')");
    content(&mut page, "an address with a token");
}

/// Reports: two of the same protocol, one of another, and one that cannot be read.
fn reports(options: &mut ServeOptions) {
    let at = |name: &str| options.reports.join(name);
    fixtures::report(&at("one"), 3.0, 25);
    fixtures::report(&at("two"), 2.0, 25);
    fixtures::report(&at("other"), 1.0, 50);
    fixtures::unreadable_report(&at("future"));
}

#[test]
fn reports_are_compared() {
    let Some((_chrome, service, mut page)) = open(reports) else { return };
    page.go(&service.url("/#/report"));
    says(&mut page, "1 report cannot be read");
    says(&mut page, "future");
    page.click("Compare one");
    says(&mut page, "1 other was made by the same protocol");
    page.click("Compare two");
    page.eval("proof.control('Compare').click()");
    says(&mut page, "A is better in 0 figures, B in 1; 1 of 2 show no difference beyond chance.");
    page.click("one");
    says(&mut page, "Only 200 pictures were judged.");
    page.click("The whole report, with its pictures");
    page.until("document.querySelector('iframe')");

    page.expect("409");
    page.choose("Other report", "other");
    page.click("Compare");
    says(&mut page, "different protocols");
    says(&mut page, "Steps");
    content(&mut page, "reports");
}

/// Every page with what it says when it is whole.
const PAGES: [(&str, &str); 10] = [
    ("ink", "pixels; it does|Painted by"),
    ("ink/reverse", "Done. Move the slider"),
    ("toy", "On average the walkers are"),
    ("generate/grey", "Generate 8 pictures"),
    ("generate/words", "Negative prompt"),
    ("train", "6,400 pictures"),
    ("train/flowers", "At 6,400 pictures, after"),
    ("report", "1 report cannot be read"),
    ("report/one", "Only 200 pictures were judged."),
    ("report/one/two", "A is better in"),
];

const LOOKS: [(&str, Look); 3] = [
    ("light", Look { dark: false, width: 1280, height: 900 }),
    ("dark", Look { dark: true, width: 1280, height: 900 }),
    ("phone", Look { dark: false, width: 390, height: 844 }),
];

#[test]
fn every_page_is_whole() {
    let change = |options: &mut ServeOptions| {
        fixtures::run(&options.paths[0].join("flowers"));
        reports(options);
        words::add(options);
    };
    let Some((_chrome, service, mut page)) = open(change) else { return };
    let shots = std::env::var_os("UNDIFFUSE_SCREENSHOTS").map(PathBuf::from);
    let mut faults = Vec::new();
    for (name, look) in LOOKS {
        page.look(look);
        for (address, whole) in PAGES {
            let about = format!("{}-{name}", address.replace('/', "-"));
            page.go(&service.url(&format!("/#/{address}")));
            page.until(&format!("/{whole}/.test(document.querySelector('main').innerText)"));
            page.must_be_content(&about);
            let wide = page.eval("proof.wide()");
            faults.extend(wide.as_array().unwrap().iter().map(|line| format!("{about} is too wide: {line}")));
            let cut = page.eval("proof.cut(document.querySelector('nav'))");
            faults.extend(cut.as_array().unwrap().iter().map(|line| format!("{about} hides a page: {line}")));
            faults.extend(page.accessibility().into_iter().flatten().map(|line| format!("{about}: {line}")));
            if let Some(folder) = &shots {
                page.screenshot(&folder.join(format!("{about}.png")));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn any_address_shows_a_page() {
    let Some((_chrome, service, mut page)) = open(|_| {}) else { return };
    for address in ["#/%", "#/toString", "#/nowhere/at/all", "#main", "#/ink/forward/seed=%&at=x"] {
        page.go(&service.url(&format!("/{address}")));
        says(&mut page, "The ink spreads");
        page.until("document.querySelector('.left')?.textContent");
        page.must_be_content(address);
    }
    // What is not there is said, and the way to what is.
    for (address, words, code) in [("train/%", "there is no run", "404"), ("report/%ff", "there is no report", "404")] {
        page.expect(code);
        page.go(&service.url(&format!("/#/{address}")));
        says(&mut page, words);
        page.must_be_content(address);
    }
    page.go(&service.url("/#/generate/gone"));
    says(&mut page, "The model “gone” is not here.");
    // The link for those who skip the bar leads to the content, and the address stays.
    page.eval("document.querySelector('.skip').click()");
    page.until("document.activeElement.id === 'main' && location.hash.startsWith('#/generate')");
    page.must_be_content("skipping");
}
