//! Words in the studio: prompts, what to keep away from, LoRAs.

use serde_json::json;
use undiffuse_serve::ServeOptions;

use crate::{content, first_picture, folders_of_words, newest, nothing_is_left_of_ink, open, says};

/// The tiny pipeline of `xtask/golden/stable_diffusion.py`.
pub fn add(options: &mut ServeOptions) {
    folders_of_words::copy(&folders_of_words::root().join("base"), &options.paths[0].join("words"));
}

#[test]
fn pictures_are_asked_for_in_words() {
    let Some((_chrome, service, mut page)) = open(add) else { return };
    page.go(&service.url("/#/generate/words"));
    page.until("proof.control('Prompt')");
    page.write("Pictures", "2");
    page.write("Steps", "2");
    page.write("Guidance", "3");
    page.write("Seed", "7");
    // Words that would be markup, or turn what is beside them around.
    let hostile = "<img src=x onerror=\"document.title='taken'\"> \u{202e}gnorts";
    page.write("Prompt", hostile);
    page.write("Negative prompt", "blurry <b>");
    page.write("Width", "24");
    content(&mut page, "a prompt");
    page.click("Generate 2 pictures");
    let job = newest(&mut page, "done");
    let made = service.get(&format!("/api/v1/jobs/{job}")).json();
    assert_eq!(made["request"]["prompt"], json!([hostile]));
    assert_eq!((&made["images"][1]["negative"], &made["request"]["width"]), (&json!("blurry <b>"), &json!(24)));
    // Once above the pictures, as they are all of it.
    let asked = format!("{hostile} · not blurry <b>");
    assert_eq!(page.eval("document.querySelector('.job .asked').textContent"), asked);
    assert_eq!(page.eval("document.querySelectorAll('.thumb .what').length"), 0);
    assert_eq!(
        page.eval("document.querySelectorAll('.job img[onerror], .job b').length + (document.title === 'taken')"),
        0
    );
    page.eval("document.querySelector('.thumb').click()");
    page.until("document.querySelector('dialog[open] img').complete");
    content(&mut page, "a picture of words");
    page.eval("document.querySelector('dialog[open] .close').click()");

    // The picture brings its words back, and these the picture.
    let file = service.folder.path().join("words.png");
    std::fs::write(&file, first_picture(&service, &job)).unwrap();
    page.write("Prompt", "something else");
    page.write("Negative prompt", "");
    page.drop_files(".results", &[&file]);
    says(&mut page, "The form has the settings of words.png.");
    assert_eq!(page.eval("proof.control('Prompt').value"), hostile);
    assert_eq!(page.eval("proof.control('Negative prompt').value"), "blurry <b>");
    page.click("Generate");
    page.until("document.querySelectorAll('.job').length === 2");
    let again = newest(&mut page, "done");
    assert_eq!(first_picture(&service, &again), first_picture(&service, &job));

    // A prompt a line.
    page.write("Prompt", "a red heart\na blue one");
    page.click("Each line is a prompt of its own");
    says(&mut page, "2 prompts take turns.");
    page.write("Pictures", "4");
    page.click("Generate 4 pictures");
    page.until("document.querySelectorAll('.job').length === 3");
    let turns = newest(&mut page, "done");
    let made = service.get(&format!("/api/v1/jobs/{turns}")).json();
    assert_eq!(made["images"][3]["prompt"], "a blue one");
    let shown =
        "[...document.querySelector('.job').querySelectorAll('.asked, .thumb .what')].map((e) => e.textContent)";
    let each = ["a red heart · a blue one · not blurry <b>", "a red heart", "a blue one", "a red heart", "a blue one"];
    assert_eq!(page.eval(shown), json!(each));
    // What the service refuses is said at the words.
    page.expect("422");
    page.write("Prompt", &"x".repeat(4001));
    page.click("Generate 4 pictures");
    says(&mut page, "4001 letters, and 4000 are allowed here.");
    content(&mut page, "a prompt that is too long");

    // The chips of a model of classes are as they were.
    page.choose("Model", "grey");
    page.until("proof.control('bee') && !document.querySelector('.prompt:not([hidden])')");
    page.go(&service.url("/#/ink/reverse/model=words&prompt=a%20red%20heart&steps=3"));
    says(&mut page, "Done. Move the slider back and forth.");
    assert_eq!(page.eval("proof.control('Prompt').value"), "a red heart");
    page.until("proof.colourful(document.querySelector('.column .guess canvas'))");
    content(&mut page, "ink of words");
    nothing_is_left_of_ink(&service, 3);
}

/// What most pictures are made without is folded away, goes into the request, and comes back with the picture.
#[test]
fn more_of_guidance_and_words_is_chosen() {
    let Some((_chrome, service, mut page)) = open(add) else { return };
    page.go(&service.url("/#/generate/words"));
    page.until("proof.control('Prompt')");
    for (name, text) in [("Pictures", "1"), ("Steps", "2"), ("Guidance", "3"), ("Prompt", "a (red:1.4) heart")] {
        page.write(name, text);
    }
    assert_eq!(page.eval("proof.control('Layers left out')"), json!(null));
    page.click("More of guidance and words");
    for (name, text) in [("Guidance scaled back", "0.7"), ("up to noise", "5"), ("Layers left out", "1")] {
        page.write(name, text);
    }
    page.choose("Brackets in words", "no-norm");
    content(&mut page, "more of guidance and words");
    page.click("Generate");
    let job = newest(&mut page, "done");
    let request = service.get(&format!("/api/v1/jobs/{job}")).json()["request"].clone();
    let told = ["guidance_rescale", "guidance_interval", "clip_skip", "emphasis"].map(|name| request[name].clone());
    assert_eq!(told, [json!(0.7), json!([0.0, 5.0]), json!(1), json!("no-norm")]);
    let file = service.folder.path().join("more.png");
    std::fs::write(&file, first_picture(&service, &job)).unwrap();
    page.click("The model's own settings");
    assert_eq!(page.eval("proof.control('Layers left out')"), json!(null));
    page.drop_files(".results", &[&file]);
    says(&mut page, "The form has the settings of more.png.");
    assert_eq!(page.eval("proof.control('Guidance scaled back').value"), "0.7");
    page.click("Generate");
    page.until("document.querySelectorAll('.job').length === 2");
    let again = newest(&mut page, "done");
    assert_eq!(first_picture(&service, &again), first_picture(&service, &job));
    // What is out of range is said where it stands, and unfolded.
    page.expect("422");
    page.write("Layers left out", "2");
    page.click("Generate");
    says(&mut page, "leave none to read with.");
    // A model of classes reads no words.
    page.choose("Model", "grey");
    page.click("More of guidance");
    page.until("proof.control('Guidance scaled back') && !proof.control('Layers left out')");
    nothing_is_left_of_ink(&service, 2);
}

#[test]
fn loras_are_named_by_chips() {
    let change = |options: &mut ServeOptions| {
        add(options);
        let folder = options.reports.with_file_name("loras");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folders_of_words::root().join("../lora/kohya.safetensors");
        for name in ["ink", "more ink"] {
            std::fs::copy(&file, folder.join(format!("{name}.safetensors"))).unwrap();
        }
        options.loras = Some(folder);
    };
    let Some((_chrome, service, mut page)) = open(change) else { return };
    page.go(&service.url("/#/generate/words"));
    page.until("proof.control('Prompt')");
    page.write("Pictures", "1");
    page.write("Steps", "2");
    page.write("Prompt", "a red heart");
    page.click("more ink");
    page.click("ink");
    let prompt = "a red heart <lora:more ink:1> <lora:ink:1>";
    assert_eq!(page.eval("proof.control('Prompt').value"), prompt);
    assert_eq!(page.eval("proof.control('ink').getAttribute('aria-pressed')"), "true");
    page.click("more ink");
    assert_eq!(page.eval("proof.control('Prompt').value"), "a red heart <lora:ink:1>");
    content(&mut page, "a prompt with a LoRA");
    page.click("Generate");
    let job = newest(&mut page, "done");
    let made = service.get(&format!("/api/v1/jobs/{job}")).json();
    assert_eq!(made["images"][0]["prompt"], "a red heart <lora:ink:1>");
    // The picture brings it back.
    let file = service.folder.path().join("ink.png");
    std::fs::write(&file, first_picture(&service, &job)).unwrap();
    page.write("Prompt", "something else");
    page.drop_files(".results", &[&file]);
    says(&mut page, "The form has the settings of ink.png.");
    assert_eq!(page.eval("proof.control('Prompt').value"), "a red heart <lora:ink:1>");
    // Models of classes have none.
    page.choose("Model", "grey");
    page.until("proof.control('bee') && !proof.control('ink')");
}
