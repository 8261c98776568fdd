//! A service on a small network with random weights, and a client that can misbehave.
#![allow(dead_code, reason = "each test program uses its part")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use undiffuse::Model;
use undiffuse::burn::tensor::{Device, Tensor};
use undiffuse::denoise::{Cond, Denoise};
use undiffuse::math::noise;
use undiffuse::math::prelude::{ParameterizationKind, ScheduleKind, SolverKind, SpacingKind};
use undiffuse::math::recipe::{Clip, Recipe};
use undiffuse::model::Card;
use undiffuse::nn::networks::unet2d::{DownBlockType, SampleSize, UNet2DConfig, UpBlockType};
use undiffuse::nn::{NetworkConfig, params};
use undiffuse_serve::engine::Engine;
use undiffuse_serve::options::RequestLimits;
use undiffuse_serve::{ServeError, ServeOptions, Server};

fn cpu() -> Device {
    undiffuse::device::open("cpu").unwrap()
}

/// A network of grey 8x8 pictures of four classes, with guidance.
pub fn model() -> Model {
    let config = UNet2DConfig {
        sample_size: Some(SampleSize::Square(8)),
        in_channels: 1,
        out_channels: 1,
        down_block_types: vec![DownBlockType::DownBlock2D],
        up_block_types: vec![UpBlockType::UpBlock2D],
        block_out_channels: vec![16],
        layers_per_block: 1,
        norm_num_groups: 4,
        add_attention: false,
        num_class_embeds: Some(5),
        ..UNet2DConfig::default()
    };
    let mut stream = 0;
    let network = params::map(NetworkConfig::from(config).network(&cpu()).unwrap(), |_, value| {
        let mut values = vec![0.0; value.dims()[0]];
        noise::normal(1, stream, 0, &mut values);
        stream += 1;
        params::from_host(values.iter().map(|v| v * 0.1).collect(), &cpu())
    });
    let recipe = Recipe {
        clip: Clip::Range(1.0),
        ..Recipe::new(
            "cosine".parse::<ScheduleKind>().unwrap(),
            "eps".parse::<ParameterizationKind>().unwrap(),
            "trailing".parse::<SpacingKind>().unwrap(),
            "ddim".parse::<SolverKind>().unwrap(),
        )
    };
    let classes = ["ant", "bee", "cat", "dog"].map(String::from).to_vec();
    Model::new(network, recipe, Card { classes, null_class: Some(4), ..Card::default() }).unwrap()
}

/// Options for a service of the model `grey` that keeps everything in this folder.
pub fn options(folder: &Path) -> ServeOptions {
    let models = folder.join("models");
    if !models.exists() {
        model().save(models.join("grey")).unwrap();
    }
    ServeOptions {
        limits: RequestLimits { body: 100_000, ..RequestLimits::default() },
        memory: Some(1 << 30),
        ..ServeOptions::new(vec![models], folder, cpu())
    }
}

/// A service that runs until it is told to end or dropped.
pub struct Service {
    pub addr: SocketAddr,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), ServeError>>,
    _folder: Option<tempfile::TempDir>,
}

impl Service {
    /// With these changes to the options.
    pub fn start(change: impl FnOnce(&mut ServeOptions)) -> Self {
        Self::open(change, Engine::open)
    }

    /// One whose evaluations take time.
    pub fn slow(millis: u64) -> Self {
        Self::slow_with(millis, |_| {})
    }

    /// One whose evaluations take time, with these changes to the options.
    pub fn slow_with(millis: u64, change: impl FnOnce(&mut ServeOptions)) -> Self {
        let evaluate = move |model: &Model, x: Tensor<4>, at: &[_], cond: &Cond| {
            std::thread::sleep(Duration::from_millis(millis));
            model.reader().denoise(x, at, cond)
        };
        Self::open(change, |options| Engine::open_with(options, Box::new(evaluate)))
    }

    fn open(
        change: impl FnOnce(&mut ServeOptions),
        open: impl FnOnce(&ServeOptions) -> Result<Engine, String>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(folder.path());
        change(&mut options);
        let server = Server::bind_with(options, open).unwrap();
        let (stop, stopped) = oneshot::channel();
        let addr = server.local_addr();
        let run = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self { addr, stop, run, _folder: Some(folder) }
    }

    /// Asks it to end, and waits.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(Duration::from_secs(20), self.run).await.expect("it ends").unwrap().unwrap();
    }

    /// Sends a request; a body goes as JSON. Headers go as they are, and instead of the usual ones of the same name.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.begin(method, path, headers, body).await;
        let mut bytes = Vec::new();
        timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes)).await.expect("an answer in time").unwrap();
        Answer::parse(&bytes)
    }

    /// Sends a request and leaves the answer in the socket.
    pub async fn begin(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let (host, length) = (self.addr.to_string(), body.len().to_string());
        let mut all = vec![("Host", &*host), ("Connection", "close")];
        if !body.is_empty() {
            all.extend([("Content-Type", "application/json"), ("Content-Length", &*length)]);
        }
        all.retain(|(name, _)| headers.iter().all(|(other, _)| !other.eq_ignore_ascii_case(name)));
        all.extend(headers.iter().filter(|(_, value)| !value.is_empty()));
        let lines: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(format!("{method} {path} HTTP/1.1\r\n{lines}\r\n{body}").as_bytes()).await.unwrap();
        stream
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[], &body.to_string()).await
    }

    /// The job in its final state.
    pub async fn ended(&self, id: &str) -> Value {
        for _ in 0..600 {
            let job = self.get(&format!("/api/v1/jobs/{id}")).await.json();
            if matches!(job["state"].as_str(), Some("done" | "failed" | "cancelled")) {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("job {id} does not end");
    }
}

/// What the service said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no head in {bytes:?}"));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        };
        let mut answer = Self { status, headers: lines.map(pair).collect(), body: bytes[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunk(&answer.body);
        }
        answer
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| &**value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// The code of a problem, of which everything else is as it has to be.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{problem}");
        problem["code"].as_str().unwrap().to_owned()
    }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            break;
        }
        whole.extend_from_slice(&bytes[end + 2..end + 2 + length]);
        bytes = &bytes[end + 4 + length..];
    }
    whole
}
