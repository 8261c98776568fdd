//! Classes and data by their names, through the whole service.

mod common;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::Service;
use serde_json::{Value, json};
use undiffuse::data::read_png_text;
use undiffuse::model::{Card, Provenance};

/// A service of `grey`, of these classes and no class, and of `nameless`, as other programs save models.
fn start(classes: [&str; 4], data: &str) -> Service {
    Service::start(|options| {
        let mut model = common::model();
        model.card.classes = classes.map(String::from).to_vec();
        model.card.provenance = Some(Provenance { data: data.into(), ..Provenance::default() });
        model.save(options.paths[0].join("grey")).unwrap();
        model.card = Card::default();
        model.save(options.paths[0].join("nameless")).unwrap();
    })
}

/// What a picture says of itself.
fn facts(answer: &Value) -> Value {
    let png = BASE64_STANDARD.decode(answer["images"][0]["png"].as_str().unwrap()).unwrap();
    let text = read_png_text(&png).unwrap();
    serde_json::from_str(&text.iter().find(|(key, _)| key == "undiffuse").unwrap().1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classes_keep_their_identity() {
    let service = start(["Cats", "cats", "None", "#3"], "photos");
    let ask = async |model: &str, class: Value| {
        let answer = service.post("/api/v1/generate", json!({"model": model, "steps": 1, "class": class})).await;
        (answer.status, answer.json())
    };
    for (class, name, label) in [
        (json!("Cats"), "Cats", 0),
        (json!("cats"), "cats", 1),
        (json!(["cats"]), "cats", 1),
        (json!("none"), "None", 2),
        (json!("#3"), "#3", 3),
        (json!("#4"), "#4", 4),
        (json!(1), "cats", 1),
    ] {
        let (status, answer) = ask("grey", class.clone()).await;
        assert_eq!((status, &answer["images"][0]["class"]), (200, &json!(name)), "{class}: {answer}");
        let facts = facts(&answer);
        assert_eq!((&facts["class"], &facts["label"]), (&json!(name), &json!(label)), "{class}");
        // As a prompt it is the same class.
        let prompt = json!({"model": "grey", "steps": 1, "prompt": name});
        let made = service.post("/v1/images/generations", prompt).await.json();
        assert_eq!(made["data"][0]["revised_prompt"], name, "{made}");
    }
    for (class, words) in
        [(json!("CATS"), "Cats (#0), cats (#1)"), (json!(5), "it has Cats"), (json!(4), "it has Cats")]
    {
        let (status, answer) = ask("grey", class).await;
        assert_eq!((status, &answer["field"]), (422, &json!("class")));
        assert!(answer["detail"].as_str().unwrap().contains(words), "{answer}");
    }
    let (_, answer) = ask("nameless", json!(3)).await;
    assert_eq!(answer["images"][0]["class"], "3");
    assert_eq!((&facts(&answer)["class"], &facts(&answer)["label"]), (&json!("3"), &json!(3)));
    assert_eq!(ask("nameless", json!("none")).await.0, 422);
    let models = service.get("/api/v1/models").await.json();
    assert_eq!((&models["models"][0]["no_class"], &models["models"][1]["no_class"]), (&json!("#4"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_names_can_be_asked_for() {
    let long = "x".repeat(255);
    let service = start([&long, "b", "c", "d"], "photos");
    let asked = json!({"model": "grey", "steps": 1, "class": long});
    assert_eq!(service.post("/api/v1/generate", asked).await.json()["images"][0]["class"], long);
    assert_eq!(service.post("/api/v1/generate", json!({"model": "grey", "class": "y".repeat(256)})).await.status, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_data_lay_is_nobodys_business() {
    // A card as older versions wrote it.
    let service = start(["a", "b", "c", "d"], "/home/ann/private/photos");
    for path in ["/api/v1/models", "/api/v1/models/grey"] {
        let answer = service.get(path).await;
        let text = answer.text();
        assert!(text.contains(r#""data":"photos""#) && !text.contains("private"), "{text}");
    }
    let answer = service.post("/api/v1/generate", json!({"model": "grey", "steps": 1})).await.json();
    let facts = facts(&answer);
    assert_eq!(facts["trained"]["data"], "photos");
    assert!(!facts.to_string().contains("private"), "{facts}");
}
