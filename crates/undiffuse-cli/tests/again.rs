//! `sample` as it writes and `inspect` as it reads: pictures are made again by the command that they carry, and nothing is lost
//! on the way.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use undiffuse::data::{Image, Options, encode_png, read_png_text};
use undiffuse::nn::weights::{Named, to_bytes};

const PROGRAM: &str = env!("CARGO_BIN_EXE_undiffuse");

/// Runs a line of a shell in `folder`, `undiffuse` being this program.
fn shell(folder: &Path, line: &str) -> Output {
    let line = format!("undiffuse() {{ '{PROGRAM}' \"$@\"; }}; {line}");
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(folder).env("UNDIFFUSE_CACHE", folder.join("cache"));
    command.env("RAYON_NUM_THREADS", "1").stdin(Stdio::null()).output().unwrap()
}

/// Runs a line, expects an exit code, and returns what was printed.
fn run(folder: &Path, code: i32, line: &str) -> String {
    let output = shell(folder, line);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{line}\n{text}");
    assert!(!text.contains("panicked"), "{line}\n{text}");
    text
}

fn refused(folder: &Path, line: &str, words: &[&str]) {
    let said = run(folder, 2, line);
    words.iter().for_each(|word| assert!(said.contains(word), "{line}: `{word}` is missing in {said}"));
}

fn inspected(folder: &Path, picture: &str) -> Value {
    let output = shell(folder, &format!("undiffuse inspect '{picture}' --json"));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{picture}: {e}"))
}

fn save(path: &Path, image: &Image) {
    std::fs::write(path, encode_png(image, &[]).unwrap()).unwrap();
}

fn open(path: &Path) -> Image {
    Image::open(path, &Options::default()).unwrap()
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => assert!(std::fs::copy(entry.path(), to).is_ok()),
        }
    }
}

/// A folder with a model of pictures of 8×8 pixels in the classes `bar` and `-dot`, in `run's end`, and one of the same pictures
/// that is asked by two numbers, in `numbers`; a pipeline of words, in `words`; `photo.png`, and masks.
fn studio() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        for k in 0..16usize {
            let class = at.join("data").join(["bar", "-dot"][k % 2]);
            std::fs::create_dir_all(&class).unwrap();
            let pixels = (0..64).map(|i| if i % 8 == k % 7 { 255 - k as u8 } else { (i * k % 50) as u8 }).collect();
            let image = Image::new(8, 8, 1, pixels);
            save(&class.join(format!("{k:02}.png")), &image);
            std::fs::create_dir_all(at.join("told")).unwrap();
            save(&at.join(format!("told/{k:02}.png")), &image);
        }
        let told = |k: usize| format!("{{\"file_name\": \"{k:02}.png\", \"place\": {}, \"grey\": -{k}}}\n", k % 7);
        std::fs::write(at.join("told/metadata.jsonl"), (0..16).map(told).collect::<String>()).unwrap();
        let small = "--set network.width=8 --set network.multiply=[1,2] --set network.groups=4 --set network.head_dim=8 \
                     --set train.batch=8 --set sample.steps=3";
        run(at, 0, &format!("undiffuse train --data data --run \"run's end\" --images 32 {small}"));
        let told = "--set condition=embedding:place,grey";
        run(at, 0, &format!("undiffuse train --data told --run numbers --images 32 {small} {told}"));
        let rows = [Named { name: "embedding".into(), shape: vec![2, 2], values: vec![0.25, -1.0, 6.0, 1e-7] }];
        std::fs::write(at.join("rows.safetensors"), to_bytes(&rows, None)).unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../undiffuse/tests/fixtures/stable_diffusion/base"), &at.join("words"));
        copy(&at.join("words"), &at.join("paints"));
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../undiffuse/tests/fixtures/stable_diffusion/nine"), &at.join("paints"));
        let loras = Path::new(env!("CARGO_MANIFEST_DIR")).join("../undiffuse/tests/fixtures/lora");
        std::fs::copy(loras.join("kohya.safetensors"), at.join("ink.safetensors")).unwrap();
        std::fs::copy(loras.join("processors.safetensors"), at.join("an old one")).unwrap();
        let lines = [r#"{"prompt": "a horse", "negative": "blue"}"#, r#"{"prompt": "(a cat", "negative": "(x)"}"#];
        std::fs::write(at.join("prompts.txt"), lines.join("\n")).unwrap();
        let weights = at.join("run's end/model/unet/diffusion_pytorch_model");
        std::fs::copy(weights.with_extension("safetensors"), weights.with_extension("fp16.safetensors")).unwrap();
        save(&at.join("photo.png"), &Image::new(8, 8, 1, (0..64).map(|i| (i * 4) as u8).collect()));
        // White at the right; the left is black in one mask, and white but transparent in the other.
        let half = |left: &'static [u8]| (0..64).flat_map(move |i| if i % 8 < 4 { left.to_vec() } else { vec![255; left.len()] });
        save(&at.join("mask.png"), &Image::new(8, 8, 1, half(&[0]).collect()));
        save(&at.join("clear.png"), &Image::new(8, 8, 4, half(&[255, 255, 255, 0]).collect()));
        run(at, 0, "undiffuse nll \"run's end\" --data data -n 2 --only bound --evaluations 2 --out nll");
        let up = "--solver ddim-inverse --steps 4 --init-image photo.png --raw noise.safetensors --out up";
        run(at, 0, &format!("undiffuse sample \"run's end\" -n 3 {up}"));
        folder
    });
    folder.path()
}

/// What is asked of `sample` besides the model, three pictures of two classes unless it says otherwise.
const CASES: &[&str] = &[
    "--seed 18446744073709551614",
    "--solver ddim --eta 0.5 --spacing karras:rho=5 --steps 4 --guidance=-2",
    "--adaptive 0.05",
    "--solver ddpm --steps 3 --optimal-variance nll/nll.json",
    "--steps 3 --corrector 0.1 --corrections 2",
    "--size 12x4",
    "--init-image photo.png --strength 0.5",
    "--init-image photo.png --strength 0",
    "--init-image photo.png --strength 1 --mask mask.png",
    "--observed photo.png --observed-noise 0.2 --mask clear.png",
    "--solver ddim --init-noise noise.safetensors",
    "--solver ddim-inverse --init-image photo.png",
    "--class none",
    "--variant fp16",
    "--device cpu",
];

/// The same of a model that is asked by numbers.
const NUMBERS: &[&str] = &[
    "--embedding 1,3",
    "--embedding=-0.1,3 --embedding=-1.5e-7,16777216 --embedding none --guidance 2",
    "--embedding rows.safetensors",
    "--seed 7",
];

/// The same of a pipeline of words and latents.
const WORDS: &[&str] = &[
    "--prompt 'a red heart' --prompt '(blue:1.3) circles' --steps 2",
    "--prompts prompts.txt --steps 2",
    "--prompt 'a horse' --negative=-blue --guidance 4 --guidance-rescale 0.5 --guidance-interval 0.3:5 --steps 3",
    "--prompt 'a (red) heart' --clip-skip 1 --emphasis no-norm --steps 2",
    "--prompt 'a horse' --init-image photo.png --strength 0.5 --mask mask.png --steps 4",
    "--tiles 8 --steps 2",
    "--prompt 'a red heart' --lora ink.safetensors:0.7 --lora 'an old one' --lora ink.safetensors:-0.2 --steps 2",
];

/// Options of models that are asked by pictures, which `unclip.rs` makes and tries.
const PICTURES: &[&str] = &["picture", "small"];

/// Options on which no bits depend, and one that follows from the noise.
const NEUTRAL: &[&str] = &["number", "batch", "threads", "out", "raw", "overwrite", "plain", "help", "init-index"];

#[test]
fn every_option_makes_the_same_bits_again() {
    let folder = studio();
    let help = run(folder, 0, "undiffuse sample --help");
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    for option in lines.filter_map(|line| line.split(' ').find(|word| word.starts_with("--"))) {
        let option = option.trim_matches(|c: char| !c.is_ascii_lowercase());
        let tries = |case: &&str| case.split(['=', ' ']).any(|word| word.strip_prefix("--") == Some(option));
        let tried = CASES.iter().chain(NUMBERS).chain(WORDS).any(tries);
        assert!(tried || [NEUTRAL, PICTURES].concat().contains(&option), "--{option} is not tried");
    }
    let classes = CASES.iter().map(|case| {
        let number = if case.contains("--init-noise") { "" } else { "-n 3" };
        let class = if case.contains("--class") { "" } else { "--class bar,-dot" };
        format!("\"run's end\" {number} {class} {case}")
    });
    let numbers = NUMBERS.iter().map(|case| format!("numbers -n 3 {case}"));
    let words = WORDS.iter().map(|case| format!("words -n 3 {case}"));
    let paint = "paints -n 3 --prompt 'a horse' --init-image photo.png --mask mask.png --steps 2";
    let words = words.chain([paint.to_owned(), format!("{paint} --strength 0.5")]);
    for (k, case) in classes.chain(numbers).chain(words).enumerate() {
        run(folder, 0, &format!("undiffuse sample {case} --out first{k}"));
        let mut files: Vec<_> =
            std::fs::read_dir(folder.join(format!("first{k}"))).unwrap().map(|e| e.unwrap()).collect();
        files.sort_by_key(std::fs::DirEntry::file_name);
        assert_eq!(files.len(), 3, "{case}");
        let picture = files[1].file_name().into_string().unwrap();
        let found = inspected(folder, &format!("first{k}/{picture}"));
        assert_eq!(found["missing"], json!([]), "{case}");
        let again = found["again"].as_str().unwrap();
        run(folder, 0, &format!("{again} --out again{k} --batch 1"));
        let read = |from: &str| std::fs::read(folder.join(format!("{from}{k}")).join(&picture));
        assert!(read("first").unwrap() == read("again").unwrap_or_default(), "{case}\n{again}");
        assert_eq!(std::fs::read_dir(folder.join(format!("again{k}"))).unwrap().count(), 1, "{again}");
    }
}

#[test]
fn what_is_missing_is_said() {
    let folder = studio();
    let facts =
        json!({ "model": "served", "seed": 1, "init_image": true, "strength": 0.5, "steps": 3, "solver": "ddim" });
    let png = encode_png(&Image::filled(2, 2, &[0]), &[("undiffuse".into(), facts.to_string())]).unwrap();
    std::fs::write(folder.join("served.png"), png).unwrap();
    let said = run(folder, 0, "undiffuse inspect served.png");
    for words in [
        "undiffuse sample served -n 1 --seed 1 --solver ddim --steps 3 --init-image FILE --strength 0.5",
        "there is no `served` here",
        "--init-image: the picture does not say which file it was",
    ] {
        assert!(said.contains(words), "`{words}` is missing in {said}");
    }
    // Another model in the place of the one that made it.
    run(folder, 0, "undiffuse sample \"run's end\" -n 1 --class bar --out moved");
    let old = std::fs::read(folder.join("moved/00000000-bar.png")).unwrap();
    let text = read_png_text(&old).unwrap()[0].1.replace("\"images_seen\":32", "\"images_seen\":64");
    let png = encode_png(&open(&folder.join("moved/00000000-bar.png")), &[("undiffuse".into(), text)]).unwrap();
    std::fs::write(folder.join("older.png"), png).unwrap();
    assert!(inspected(folder, "older.png")["missing"][0].as_str().unwrap().contains("trained otherwise"));
}

#[test]
fn foreign_text_does_not_reach_the_terminal_raw() {
    let folder = studio();
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\r\u{202e}x\nagain  rm -rf ~";
    let facts =
        json!({ "model": hostile, "seed": hostile, "class": hostile, "label": 1, "mask": hostile, "command": hostile });
    let text = [
        ("undiffuse".into(), facts.to_string()),
        ("Comment".into(), hostile.to_owned()),
        ("parameters".into(), hostile.to_owned()),
    ];
    std::fs::write(folder.join("hostile.png"), encode_png(&Image::filled(2, 2, &[0]), &text).unwrap()).unwrap();
    let name = "esc\u{1b}[31m\u{9b}.png";
    std::fs::copy(folder.join("hostile.png"), folder.join(name)).unwrap();
    for line in [
        "undiffuse inspect hostile.png".to_owned(),
        "undiffuse inspect hostile.png --json".to_owned(),
        format!("undiffuse inspect '{name}'"),
        format!("undiffuse sample '{name}'"),
        format!("undiffuse sample \"run's end\" --init-image '{name}' --mask '{name}x'"),
    ] {
        let output = shell(folder, &line);
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(!said.is_empty());
        let raw = |c: &char| (c.is_control() && *c != '\n') || *c == '\u{202e}';
        assert_eq!(said.chars().find(raw), None, "{line}: {said:?}");
        assert!(!said.lines().any(|line| line.starts_with("again  rm")), "{said}");
    }
    assert_eq!(inspected(folder, "hostile.png")["text"]["Comment"], hostile);
}

#[test]
fn settings_of_another_program_are_read() {
    let folder = studio();
    let text = "a bar\nNegative prompt: dots\nSteps: 4, Sampler: Euler a, Schedule type: Karras, CFG scale: 2, Seed: 5, \
                Size: 8x8, Model: run's end, Lora hashes: \"a: 1, b: 2\", Version: v1.10.1";
    let png = encode_png(&Image::filled(2, 2, &[0]), &[("parameters".into(), text.into())]).unwrap();
    std::fs::write(folder.join("theirs.png"), png).unwrap();
    let found = inspected(folder, "theirs.png");
    let again = "undiffuse sample 'run'\\''s end' -n 1 --seed 5 --class bar --solver euler-ancestral --spacing karras --steps 4 \
                 --guidance 2.0";
    assert_eq!((found["again"].as_str(), &found["missing"]), (Some(again), &json!([])));
    let said = run(folder, 0, "undiffuse inspect theirs.png");
    for words in ["Negative prompt: dots", "not the same picture", "negative prompt is left out", "“Lora hashes”"] {
        assert!(said.contains(words), "`{words}` is missing in {said}");
    }
    run(folder, 0, &format!("{again} --out theirs"));
    // A model that is nowhere, a picture that it started from.
    let text = text.replace("run's end", "epic").replace("Version", "Denoising strength: 0.7, Version");
    let png = encode_png(&Image::filled(2, 2, &[0]), &[("parameters".into(), text)]).unwrap();
    std::fs::write(folder.join("epic.png"), png).unwrap();
    let said = run(folder, 0, "undiffuse inspect epic.png");
    for words in ["undiffuse sample MODEL -n 1", "--init-image FILE --strength 0.7", "“epic” is not here"] {
        assert!(said.contains(words), "`{words}` is missing in {said}");
    }
}

#[test]
fn what_is_transparent_in_a_mask_is_kept_and_no_strength_changes_nothing() {
    let folder = studio();
    let photo = open(&folder.join("photo.png"));
    let sample = |case: &str, out: &str| {
        run(folder, 0, &format!("undiffuse sample \"run's end\" -n 1 --class bar {case} --out {out}"));
        open(&folder.join(out).join("00000000-bar.png"))
    };
    let half = |image: &Image, right: bool| -> Vec<u8> {
        (0..64).filter(|i| (i % 8 >= 4) == right).map(|i| image.pixels[i]).collect()
    };
    let from = "--init-image photo.png --strength 1 --mask";
    let (clear, black) = (sample(&format!("{from} clear.png"), "clear"), sample(&format!("{from} mask.png"), "black"));
    assert_eq!(clear, black);
    assert_eq!(half(&clear, false), half(&photo, false));
    assert_ne!(half(&clear, true), half(&photo, true));
    let seen = "--observed photo.png --observed-noise 0.01 --mask";
    assert_eq!(sample(&format!("{seen} clear.png"), "seen-clear"), sample(&format!("{seen} mask.png"), "seen-black"));
    // Grey counts as white from 128 up.
    save(&folder.join("greys.png"), &Image::new(8, 8, 1, (0..64).map(|i| if i % 8 < 4 { 127 } else { 128 }).collect()));
    assert_eq!(sample(&format!("{from} greys.png"), "greys"), black);

    for (k, more) in ["", "--mask mask.png", "--steps 7 --solver ddpm", "--corrector 0.1", "--raw kept.safetensors"]
        .iter()
        .enumerate()
    {
        assert_eq!(
            sample(&format!("--init-image photo.png --strength 0 {more}"), &format!("kept{k}")),
            photo,
            "{more}"
        );
    }
    // Above 0 there is at least one step.
    assert_ne!(sample("--init-image photo.png --strength 0.01", "touched"), photo);
    refused(folder, "undiffuse sample \"run's end\" --init-image photo.png --strength 1.5", &["between 0 and 1"]);
}

#[test]
fn nothing_is_overwritten_or_mixed_unless_it_is_asked_for() {
    let folder = studio();
    let sample = |more: &str| format!("undiffuse sample \"run's end\" -n 1 --class bar --steps 2 {more}");
    run(folder, 0, &sample("--seed 1 --out used"));
    refused(folder, &sample("--seed 2 --out used"), &["--out used", "00000001-bar.png", "--overwrite"]);
    run(folder, 0, &sample("--seed 2 --out used --overwrite"));
    let names = || -> Vec<String> {
        let names = std::fs::read_dir(folder.join("used")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(), ["00000002-bar.png"]);
    // Only pictures of this program are removed.
    std::fs::copy(folder.join("photo.png"), folder.join("used/photo.png")).unwrap();
    refused(folder, &sample("--out used --overwrite"), &["used/photo.png", "another folder"]);
    assert_eq!(names().len(), 2);
    // The sheet lies beside the folder, where something else may be.
    std::fs::copy(folder.join("photo.png"), folder.join("free-grid.png")).unwrap();
    refused(folder, &sample("--out free"), &["free-grid.png", "would be overwritten"]);
    // Two runs without --out are two folders.
    for name in ["run's end", "run's end-2"] {
        run(folder, 0, &sample(""));
        assert!(folder.join("samples").join(name).join("00000000-bar.png").is_file());
    }

    refused(
        folder,
        &sample("--out r1 --init-noise noise.safetensors --raw ./noise.safetensors").replace("-n 1", ""),
        &["what is read"],
    );
    std::fs::write(folder.join("mine.safetensors"), "mine").unwrap();
    refused(folder, &sample("--out r2 --raw mine.safetensors"), &["is there already", "--overwrite"]);
    refused(folder, &sample("--out r3 --raw data"), &["is a folder"]);
    let said = run(folder, 1, &sample("--out r4 --raw no/such/raw.safetensors"));
    assert!(said.contains("cannot write `no/such/raw.safetensors`"), "{said}");
    // Said before anything was made.
    assert!((1..5).all(|k| !folder.join(format!("r{k}")).exists()));
    assert_eq!(std::fs::read(folder.join("mine.safetensors")).unwrap(), b"mine");
    run(folder, 0, &sample("--out r2 --raw mine.safetensors --overwrite"));
    assert!(std::fs::metadata(folder.join("mine.safetensors")).unwrap().len() > 256);
}

/// A limit on the length of files stands for a disk that is full.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_half_pictures() {
    let folder = studio();
    let said = run(folder, 1, "trap '' XFSZ; ulimit -f 0; undiffuse sample \"run's end\" -n 1 --steps 2 --out full");
    assert!(said.contains("cannot write `full/"), "{said}");
    assert_eq!(std::fs::read_dir(folder.join("full")).unwrap().count(), 0);
}

/// What is wrong with words is told, and what is lost of them.
#[test]
fn words_are_asked_for_with_care() {
    let folder = studio();
    for (line, words) in [
        ("words --class 3", &["--class: this model was trained without classes"][..]),
        ("\"run's end\" --prompt x", &["--prompt: this model was not trained on words"]),
        ("\"run's end\" --negative 3", &["--negative: the model has no class `3`"]),
        ("\"run's end\" --clip-skip 1", &["--clip-skip: this model reads no words"]),
        ("words --clip-skip 2", &["--clip-skip: 2 layers of the text encoder's 2"]),
        ("words --emphasis loud", &["`loud` is none of original, no-norm, none"]),
        ("words --guidance-rescale 2", &["--guidance-rescale: must be a number from 0"]),
        ("words --guidance-interval 5:1", &["--guidance-interval: takes two noise levels"]),
        ("words --guidance-interval 5", &["LOW:HIGH"]),
        ("words --tiles 12", &["--tiles: the codec `autoencoder` works in tiles", "multiple of 8 pixels, not 12"]),
        ("\"run's end\" --tiles 8", &["--tiles: the codec `pixels`"]),
        ("words --size 15x16", &["--size: the codec `autoencoder` makes a pixel of 2×2"]),
        ("paints --prompt x", &["paints into pictures", "--init-image", "--mask"]),
        ("words --observed photo.png", &["--observed: pixels are observed", "AutoencoderKL"]),
        ("words --prompts photo.png", &["--prompts `photo.png` is not UTF-8"]),
        (
            "words --prompts bad.txt",
            &["--prompts `bad.txt`, line 2: it has a field `seed`; known are `prompt` and `negative`"],
        ),
    ] {
        std::fs::write(folder.join("bad.txt"), "a\n{\"prompt\": \"b\", \"seed\": 3}\n").unwrap();
        refused(folder, &format!("undiffuse sample {line}"), words);
    }
    refused(folder, "undiffuse sample words --lora :0.5", &["--lora", "FILE.safetensors:SCALE"]);
    let said = "--lora ink.safetensors:0.5";
    refused(folder, "undiffuse sample words --prompt 'a <lora:ink:0.5> heart'", &["`<lora:ink:0.5>`", said]);
    for (model, lora, told) in [
        ("words", "photo.png", "`photo.png` is not a complete safetensors file"),
        ("words", "rows.safetensors", "`rows.safetensors` is no LoRA: `embedding`"),
        ("words", "none:2", "cannot read `none`"),
        ("\"run's end\"", "ink.safetensors", "`ink.safetensors` is a LoRA of another model"),
    ] {
        let said = run(folder, 1, &format!("undiffuse sample {model} --lora {lora}"));
        assert!(said.contains(told), "{said}");
    }
    let long = "a red heart ".repeat(200);
    let said = run(folder, 0, &format!("undiffuse sample words --steps 1 --out long --prompt '{long}'"));
    assert!(
        said.contains("note: the prompt is too long") && said.contains("heart") && said.contains("1 picture"),
        "{said}"
    );
    let said = run(folder, 1, "undiffuse nll words --data data -n 2 --out no-nll");
    assert!(said.contains("words: it diffuses the latents of its AutoencoderKL"), "{said}");
    let said = run(folder, 0, "undiffuse inspect words");
    for words in
        ["the latents of its AutoencoderKL", "prompts", "CLIPTextModel, 10 tokens at a time", "guidance 7.5", "16×16"]
    {
        assert!(said.contains(words), "`{words}` is missing in {said}");
    }
}
