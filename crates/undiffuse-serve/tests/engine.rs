//! The engine as the API uses it, on small networks with random weights.

#[path = "engine/models.rs"]
mod models;
#[path = "engine/restarts.rs"]
mod restarts;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use models::{cpu, grey, me, model, options};
use tokio::sync::mpsc;
use undiffuse::Model;
use undiffuse::data::{Image, decode, encode_png, read_png_text};
use undiffuse::denoise::{Ask, Cond, Denoise};
use undiffuse::nn::params;
use undiffuse::request::{self, Asks, SampleSettings};
use undiffuse::sample::Noise;
use undiffuse_serve::engine::{Engine, JobQuery};
use undiffuse_serve::job::{Generate, Job, JobState, Update};
use undiffuse_serve::options::ServeOptions;

/// An engine whose evaluations take time, and are counted.
fn slow(options: &ServeOptions, millis: u64) -> (Engine, Arc<AtomicU64>) {
    let pictures = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&pictures);
    let evaluate = move |model: &Model, x: undiffuse::burn::tensor::Tensor<4>, at: &[_], cond: &Cond| {
        counter.fetch_add(at.len() as u64, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(millis));
        model.reader().denoise(x, at, cond)
    };
    (Engine::open_with(options, Box::new(evaluate)).unwrap(), pictures)
}

/// Everything that happens to a job, to its end.
async fn all(mut updates: mpsc::Receiver<Update>) -> Vec<Update> {
    let mut seen = Vec::new();
    while let Some(update) = tokio::time::timeout(Duration::from_secs(60), updates.recv()).await.unwrap() {
        seen.push(update);
    }
    seen
}

async fn ended(engine: &Engine, id: &str) -> Job {
    match all(engine.watch(id).await.unwrap()).await.pop() {
        Some(Update::State(job)) if job.state.is_final() => *job,
        other => panic!("the last update is {other:?}"),
    }
}

fn pixels(png: &[u8]) -> Image {
    decode::decode(png, &undiffuse::data::Options::default()).unwrap().image
}

/// What the library makes of a request, one picture at a time.
fn alone(model: &Model, asked: &Generate, init: Option<&Image>, mask: Option<&Image>) -> Vec<Image> {
    let settings = SampleSettings {
        solver: asked.solver.as_ref().map(|s| s.parse().unwrap()),
        spacing: asked.spacing.as_ref().map(|s| s.parse().unwrap()),
        steps: asked.steps,
        eta: asked.eta,
        guidance: asked.guidance,
        guidance_rescale: asked.guidance_rescale,
        guidance_interval: asked.guidance_interval,
        ..SampleSettings::default()
    };
    let settings = settings.over(model).unwrap();
    let mut model = model.clone().with(settings.clone());
    if let (Some(w), Some(h)) = (asked.width, asked.height) {
        model.resize(h, w).unwrap();
    }
    let n = asked.n.unwrap_or(1);
    let cond = asked.asked.cond(&model.conditioner, n).unwrap();
    let plan = match init {
        Some(_) => model.plan_from(asked.strength.unwrap_or(0.6)).unwrap(),
        None => model.plan().unwrap(),
    };
    let origin = init.map(|init| {
        let mask = mask.map(|mask| request::mask(&model, mask));
        model.origin(request::picture(&model, init), mask, asked.strength.unwrap_or(0.6))
    });
    let origin = origin.unwrap_or_default();
    let denoiser = origin.keeping(model.denoiser(&settings));
    let picture = |k: usize| {
        let noise = Noise::Seeds(vec![asked.seed.unwrap_or(0) + k as u64]);
        let cond = origin.told(cond.select([k]));
        let x = model.sample_at(&origin, &*denoiser, &plan, noise, &cond).finish().unwrap();
        model.images(x).remove(0)
    };
    (0..n).map(picture).collect()
}

fn photo(width: usize, height: usize, channels: usize) -> Image {
    Image::new(width, height, channels, (0..width * height * channels).map(|i| (i * 37 % 251) as u8).collect())
}

fn base64(image: &Image) -> String {
    STANDARD.encode(encode_png(image, &[]).unwrap())
}

/// Different solvers, steps, guidance, sizes, starts and clients at once: every picture is the one that the library makes alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_do_not_depend_on_what_shares_their_batch() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let (engine, _) = slow(&options, 1);
    let (init, mask) = (photo(10, 12, 3), {
        let mut mask = photo(10, 12, 1);
        mask.pixels.iter_mut().enumerate().for_each(|(i, p)| *p = if i % 10 < 5 { 255 } else { 0 });
        mask
    });
    let start = Generate { init_image: Some(base64(&init)), ..grey(3, 12) };
    let solver = |s: &str, asked: Generate| Generate { solver: Some(s.into()), ..asked };
    let colour = Generate {
        model: Some("colour".into()),
        ..solver("heun", Generate { n: Some(5), steps: Some(4), ..Generate::default() })
    };
    let asked = vec![
        (grey(9, 6), false, false),
        (solver("ddpm", Generate { guidance: Some(2.5), seed: Some(40), ..grey(7, 5) }), false, false),
        (solver("euler-ancestral", Generate { asked: Asks::of("class", ["dog", "none"]), ..grey(4, 9) }), false, false),
        (solver("dpmpp-2m", Generate { spacing: Some("karras".into()), ..grey(3, 7) }), false, false),
        (Generate { strength: Some(0.5), ..start.clone() }, true, false),
        (
            Generate { mask: Some(format!("data:image/png;base64,{}", base64(&mask))), guidance: Some(3.0), ..start },
            true,
            true,
        ),
        (colour.clone(), false, false),
        (Generate { width: Some(12), height: Some(4), ..grey(5, 5) }, false, false),
        (Generate { init_image: Some(base64(&photo(9, 9, 1))), ..colour.clone() }, true, false),
        (solver("ddpm", colour), false, false),
        (
            Generate {
                guidance: Some(2.5),
                guidance_rescale: Some(0.7),
                guidance_interval: Some([0.2, 20.0]),
                ..grey(3, 5)
            },
            false,
            false,
        ),
    ];
    let mut jobs = Vec::new();
    for (k, (asked, ..)) in asked.iter().enumerate() {
        jobs.push(engine.submit(asked.clone(), format!("client {}", k % 4), None).await.unwrap());
    }
    for (k, (job, (asked, from_image, masked))) in jobs.iter().zip(&asked).enumerate() {
        let done = ended(&engine, &job.id).await;
        assert_eq!((done.state, done.done, done.error), (JobState::Done, asked.n.unwrap(), None));
        let model = Model::load(options.paths[0].join(asked.model.as_ref().unwrap()), &cpu()).unwrap();
        let grey_photo = photo(9, 9, 1);
        let init = from_image.then_some(if k == 8 { &grey_photo } else { &init });
        for (index, expected) in alone(&model, asked, init, masked.then_some(&mask)).into_iter().enumerate() {
            let png = engine.image(&job.id, index).await.unwrap();
            let found = pixels(&png);
            assert_eq!(found.to_channels(expected.channels), expected, "request {k}, picture {index}");
            let (key, text) = read_png_text(&png).unwrap().remove(0);
            let facts: serde_json::Value = serde_json::from_str(&text).unwrap();
            let seed = asked.seed.unwrap_or(0) + index as u64;
            assert_eq!(
                (key.as_str(), &facts["seed"], &facts["steps"]),
                ("undiffuse", &seed.into(), &asked.steps.into())
            );
            assert_eq!(facts["init_image"], if *from_image { true.into() } else { serde_json::Value::Null });
        }
    }
    let gauges = engine.gauges();
    assert_eq!((gauges.done, gauges.failed, gauges.running, gauges.queued, gauges.pictures), (11, 0, 0, 0, 0));
    assert!(gauges.batched > gauges.batches * 2, "evaluations were shared: {gauges:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_job_of_another_client_overtakes() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = slow(&options(folder.path()), 1);
    let large = engine.submit(grey(200, 10), "a".into(), None).await.unwrap();
    let later = engine.submit(grey(1, 10), "a".into(), None).await.unwrap();
    let small = engine.submit(grey(2, 10), "b".into(), None).await.unwrap();
    assert_eq!(later.position, Some(0), "only jobs that wait are counted");
    ended(&engine, &small.id).await;
    let large = engine.job(&large.id).await.unwrap();
    assert!(large.state == JobState::Running && large.done < 100, "{} of the large one are done", large.done);
    assert_eq!(engine.job(&later.id).await.unwrap().state, JobState::Queued);
    let running =
        engine.jobs(JobQuery { state: Some(JobState::Running), limit: 9, ..JobQuery::default() }).await.unwrap();
    assert_eq!(running.iter().map(|job| &job.id).collect::<Vec<_>>(), [&large.id]);
    let older =
        engine.jobs(JobQuery { before: Some(small.id.clone()), limit: 1, ..JobQuery::default() }).await.unwrap();
    assert_eq!(older[0].id, later.id);
    engine.cancel(&large.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_says_when_to_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.limits.queue = 2;
    let (engine, _) = slow(&options, 5);
    let mut taken = Vec::new();
    let refused = loop {
        match engine.submit(grey(8, 100), me(), None).await {
            Ok(job) => taken.push(job.id),
            Err(problem) => break problem,
        }
    };
    assert_eq!((taken.len(), refused.status, refused.code.as_str()), (3, 429, "queue_full"));
    assert!(refused.retry_after.is_some_and(|s| (1..=600).contains(&s)));
    engine.cancel(&taken[1]).await.unwrap();
    engine.submit(grey(1, 1), me(), None).await.unwrap();
    for id in taken {
        engine.cancel(&id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_stops_computing_and_a_deleted_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, pictures) = slow(&options(folder.path()), 5);
    let job = engine.submit(grey(8, 1000), me(), None).await.unwrap();
    let mut watcher = engine.watch(&job.id).await.unwrap();
    while !matches!(watcher.recv().await.unwrap(), Update::Progress(_)) {}
    let cancelled = engine.cancel(&job.id).await.unwrap();
    assert_eq!((cancelled.state, cancelled.done), (JobState::Cancelled, 0));
    assert!(matches!(all(watcher).await.last(), Some(Update::State(job)) if job.state == JobState::Cancelled));
    let before = pictures.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(pictures.load(Ordering::Relaxed) <= before + 8, "at most the evaluation that ran went on");
    assert_eq!(engine.gauges().pictures, 0);
    assert_eq!(engine.cancel(&job.id).await.unwrap(), cancelled);
    engine.delete(&job.id).await.unwrap();
    assert_eq!(engine.job(&job.id).await.unwrap_err().status, 404);
    assert_eq!(engine.watch(&job.id).await.unwrap_err().status, 404);
    assert_eq!(engine.delete(&job.id).await.unwrap_err().status, 404);
    assert_eq!(engine.cancel("../../etc/passwd").await.unwrap_err().status, 404);
    assert_eq!(engine.gauges().stored_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_gets_the_same_job() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let engine = Engine::open(&options).unwrap();
    let key = || Some("once".to_string());
    let submits = (0..8).map(|_| engine.submit(grey(1, 2), me(), key()));
    let ids: Vec<String> = futures_util::future::join_all(submits).await.into_iter().map(|j| j.unwrap().id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(engine.submit(grey(2, 2), me(), key()).await.unwrap_err().status, 409);
    let other = engine.submit(grey(2, 2), "another client".into(), key()).await.unwrap();
    assert_ne!(other.id, ids[0]);
    ended(&engine, &ids[0]).await;
    engine.close(Duration::from_secs(10)).await;
    let engine = Engine::open(&options).unwrap();
    assert_eq!(engine.submit(grey(1, 2), me(), key()).await.unwrap().id, ids[0], "keys survive a restart");
    engine.delete(&ids[0]).await.unwrap();
    assert_ne!(engine.submit(grey(1, 2), me(), key()).await.unwrap().id, ids[0]);
}

/// Who goes away before the job has a name wants it no more; who has a key will ask again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_submission_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = slow(&options(folder.path()), 5);
    for (key, state) in [(None, JobState::Cancelled), (Some("key".to_string()), JobState::Running)] {
        // Begun, and never asked again; a machine that was faster than that gets another.
        let submit = loop {
            let (own, key) = (engine.clone(), key.clone());
            let mut submit = Box::pin(async move { own.submit(grey(8, 500), me(), key).await });
            match std::future::poll_fn(|cx| Poll::Ready(submit.as_mut().poll(cx))).await {
                Poll::Pending => break submit,
                Poll::Ready(job) => drop(engine.delete(&job.unwrap().id).await),
            }
        };
        let newest = || async { engine.jobs(JobQuery { limit: 1, ..JobQuery::default() }).await.unwrap().pop() };
        let old = newest().await.map(|job| job.id);
        drop(submit);
        let found = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                match newest().await {
                    Some(job) if Some(&job.id) != old.as_ref() && job.state == state => return job,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        });
        engine.cancel(&found.await.unwrap().id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_fails_the_guilty_job_alone() {
    let folder = tempfile::tempdir().unwrap();
    let evaluate = |model: &Model, x: undiffuse::burn::tensor::Tensor<4>, at: &[_], cond: &Cond| {
        std::thread::sleep(Duration::from_millis(2));
        assert!(!cond.asks.contains(&Ask::Class(3)), "no dogs");
        model.reader().denoise(x, at, cond)
    };
    let engine = Engine::open_with(&options(folder.path()), Box::new(evaluate)).unwrap();
    let class = |name: &str| Generate { asked: Asks::of("class", [name]), ..grey(4, 10) };
    let good = engine.submit(class("cat"), "a".into(), None).await.unwrap();
    let bad = engine.submit(class("dog"), "b".into(), None).await.unwrap();
    let also = engine.submit(class("bee"), "c".into(), None).await.unwrap();
    let bad = ended(&engine, &bad.id).await;
    let error = bad.error.unwrap();
    assert_eq!((bad.state, error.code.as_str()), (JobState::Failed, "internal"));
    assert!(error.detail.contains("no dogs"), "{}", error.detail);
    assert_eq!(ended(&engine, &good.id).await.state, JobState::Done);
    assert_eq!(ended(&engine, &also.id).await.state, JobState::Done);
    assert_eq!(engine.gauges().failed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_may_not_compute_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.limits.seconds = 0;
    let engine = Engine::open(&options).unwrap();
    let job = engine.submit(grey(1, 5), me(), None).await.unwrap();
    let job = ended(&engine, &job.id).await;
    assert_eq!((job.state, job.error.unwrap().code.as_str()), (JobState::Failed, "too_long"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_see_every_frame_and_picture() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(&options(folder.path())).unwrap();
    let asked = Generate { frames: true, guidance: Some(2.0), ..grey(3, 6) };
    let job = engine.submit(asked, me(), None).await.unwrap();
    let live = all(engine.watch(&job.id).await.unwrap()).await;
    let late = all(engine.watch(&job.id).await.unwrap()).await;
    let frames = |updates: &[Update]| -> Vec<_> {
        updates.iter().filter_map(|u| if let Update::Frame(f) = u { Some((**f).clone()) } else { None }).collect()
    };
    let images = |updates: &[Update]| updates.iter().filter(|u| matches!(u, Update::Image(_))).count();
    assert_eq!((frames(&live).len(), images(&live), images(&late)), (7, 3, 3));
    assert_eq!(frames(&live), frames(&late));
    assert_eq!(frames(&live), engine.frames(&job.id).await.unwrap());
    let rows: Vec<_> = frames(&live).iter().map(|f| (f.row, f.rows, f.denoised.is_some())).collect();
    assert_eq!((rows[0], rows[6]), ((0, 6, false), (6, 6, true)));
    let last = frames(&live).pop().unwrap();
    let sheet = pixels(&STANDARD.decode(last.x.strip_prefix("data:image/png;base64,").unwrap()).unwrap());
    assert_eq!((sheet.width, sheet.height), (24, 8));
    assert_eq!(sheet.crop(16, 0, 8, 8), pixels(&engine.image(&job.id, 2).await.unwrap()));
    let many = Generate { frames: true, ..grey(17, 6) };
    assert_eq!(engine.submit(many, me(), None).await.unwrap_err().field.as_deref(), Some("n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cannot_be_are_refused_by_field() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(&options(folder.path())).unwrap();
    let solver = |s: &str| Generate { solver: Some(s.into()), ..grey(1, 1000) };
    let image = Some(base64(&photo(8, 8, 1)));
    let bomb = Some(base64(&Image::filled(9000, 9000, &[0])));
    let refused: Vec<(&str, u16, Generate)> = vec![
        ("", 404, Generate { model: Some("../grey".into()), ..grey(1, 1) }),
        ("model", 422, Generate::default()),
        ("n", 422, grey(0, 1)),
        ("n", 422, grey(5000, 1)),
        ("steps", 422, grey(1, 0)),
        ("steps", 422, grey(1, 1001)),
        ("seeds", 422, Generate { seeds: Some(vec![1]), ..grey(2, 1) }),
        ("seed", 422, Generate { seeds: Some(vec![1]), seed: Some(1), ..grey(1, 1) }),
        ("seeds", 422, Generate { seeds: Some(vec![]), n: None, ..grey(1, 1) }),
        ("solver", 422, solver("nonsense")),
        ("solver", 422, solver("langevin:per_level=1000000000")),
        ("solver", 422, solver("restart:repeats=100000000")),
        ("solver", 422, Generate { init_image: image.clone(), ..solver("ddim-inverse") }),
        ("spacing", 422, Generate { spacing: Some("karras:rho=".into()), ..grey(1, 5) }),
        ("eta", 422, Generate { eta: Some(f64::NAN), ..grey(1, 1) }),
        ("eta", 422, Generate { eta: Some(1.0), ..solver("heun") }),
        ("guidance", 422, Generate { guidance: Some(f64::INFINITY), ..grey(1, 1) }),
        ("guidance", 422, Generate { guidance: Some(2.0), model: Some("colour".into()), ..grey(1, 1) }),
        ("guidance_rescale", 422, Generate { guidance_rescale: Some(1.5), ..grey(1, 1) }),
        ("guidance_rescale", 422, Generate { guidance_rescale: Some(0.5), model: Some("colour".into()), ..grey(1, 1) }),
        ("guidance_interval", 422, Generate { guidance_interval: Some([5.0, 0.3]), ..grey(1, 1) }),
        ("guidance_interval", 422, Generate { guidance_interval: Some([f64::NAN, 5.0]), ..grey(1, 1) }),
        ("clip_skip", 422, Generate { clip_skip: Some(0), ..grey(1, 1) }),
        ("emphasis", 422, Generate { emphasis: Some("none".into()), ..grey(1, 1) }),
        ("class", 422, Generate { asked: Asks::of("class", ["horse"]), ..grey(1, 1) }),
        ("width", 422, Generate { width: Some(7), ..grey(1, 1) }),
        ("width", 422, Generate { width: Some(usize::MAX), ..grey(1, 1) }),
        ("height", 422, Generate { height: Some(1 << 20), ..grey(1, 1) }),
        ("height", 422, Generate { height: Some(0), ..grey(1, 1) }),
        ("strength", 422, Generate { strength: Some(0.5), ..grey(1, 1) }),
        ("strength", 422, Generate { strength: Some(1.5), init_image: image.clone(), ..grey(1, 1) }),
        ("mask", 422, Generate { mask: image.clone(), ..grey(1, 1) }),
        ("mask", 422, Generate { mask: Some(base64(&photo(9, 8, 1))), init_image: image, ..grey(1, 1) }),
        ("init_image", 422, Generate { init_image: Some("%%%".into()), ..grey(1, 1) }),
        ("init_image", 422, Generate { init_image: Some("aGVsbG8=".into()), ..grey(1, 1) }),
        ("init_image", 422, Generate { init_image: bomb, ..grey(1, 1) }),
    ];
    for (field, status, asked) in refused {
        let shown = format!("{asked:?}").chars().take(300).collect::<String>();
        let problem = engine.submit(asked, me(), None).await.expect_err(&shown);
        assert_eq!((problem.field.as_deref().unwrap_or(""), problem.status), (field, status), "{shown}: {problem:?}");
    }
    assert_eq!(engine.gauges().queued, 0);
    // Refusals leave no place taken.
    let job = engine.submit(grey(1, 1), me(), None).await.unwrap();
    assert_eq!(ended(&engine, &job.id).await.state, JobState::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_found_loaded_let_go_and_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    let twin: PathBuf = folder.path().join("elsewhere/grey");
    model(1, 9).save(&twin).unwrap();
    std::fs::create_dir_all(options.paths[0].join("broken/unet")).unwrap();
    std::fs::write(options.paths[0].join("broken/unet/config.json"), "{").unwrap();
    options.paths.push(twin.clone());
    // A config that asks for a hundred thousand times what its weights hold.
    let hostile = options.paths[0].join("hostile");
    model(1, 1).save(&hostile).unwrap();
    let config = std::fs::read_to_string(hostile.join("unet/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["block_out_channels"] = vec![1 << 20; 2].into();
    std::fs::write(hostile.join("unet/config.json"), config.to_string()).unwrap();
    // One model can be read and worked with, but not beside another.
    let numbers = params::count(&model(3, 1).network) as u64;
    options.memory = Some(3 * 4 * numbers + 50_000);
    let engine = Engine::open(&options).unwrap();
    let models = engine.models();
    assert_eq!(models.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["colour", "grey", "grey-2"]);
    let grey_info = &models[1];
    assert_eq!(
        (grey_info.shape, grey_info.class_count, grey_info.guidance, grey_info.loaded),
        ([1, 8, 8], 4, true, false)
    );
    assert_eq!(models[0].parameters, numbers);
    let run = |id: &str| {
        let (engine, asked) = (engine.clone(), Generate { model: Some(id.into()), ..grey(1, 2) });
        async move {
            let job = engine.submit(asked, me(), None).await.unwrap();
            ended(&engine, &job.id).await;
            pixels(&engine.image(&job.id, 0).await.unwrap())
        }
    };
    let expected = || alone(&Model::load(&twin, &cpu()).unwrap(), &grey(1, 2), None, None).remove(0);
    assert_eq!(run("grey-2").await, expected());
    assert!(engine.models()[2].loaded);
    run("colour").await;
    assert_eq!(engine.models().iter().map(|m| m.loaded).collect::<Vec<_>>(), [true, false, false]);
    run("grey").await;
    for id in ["broken", "hostile"] {
        let asked = Generate { model: Some(id.into()), ..grey(1, 1) };
        let broken = engine.submit(asked, me(), None).await.unwrap_err();
        assert_eq!((broken.status, broken.field.as_deref()), (422, Some("model")), "{id}");
    }
    model(1, 10).save(&twin).unwrap();
    assert_eq!(run("grey-2").await, expected());
    let old = engine.gauges();
    model(1, 11).save(&twin).unwrap();
    assert_eq!(run("grey-2").await, expected());
    assert_eq!(engine.gauges().model_bytes, old.model_bytes);
    options.memory = Some(100_000);
    options.store = folder.path().join("other");
    let small = Engine::open(&options).unwrap();
    let refused = small.submit(grey(1, 1), me(), None).await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (503, "no_memory"));
}
