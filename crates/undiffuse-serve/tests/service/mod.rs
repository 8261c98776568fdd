//! A service in this process on a free port, with small networks of random weights, and a client that can send anything.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod words;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use undiffuse::math::noise;
use undiffuse::math::prelude::{ParameterizationKind, ScheduleKind, SolverKind, SpacingKind};
use undiffuse::math::recipe::{Clip, Recipe};
use undiffuse::model::Card;
use undiffuse::nn::networks::unet2d::{DownBlockType, SampleSize, UNet2DConfig, UpBlockType};
use undiffuse::nn::{NetworkConfig, params};
use undiffuse::{Model, device};
use undiffuse_serve::options::RequestLimits;
use undiffuse_serve::{ServeOptions, Server};

/// The header of a JSON body.
pub const JSON: (&str, &str) = ("content-type", "application/json");

/// Saves a network with random weights for grey pictures, as `save_model_of`.
pub fn save_model(to: &Path, seed: u64) {
    save_model_of(to, 1, seed);
}

/// Saves a network with random weights for pictures of 8x8 pixels in this many channels, of four classes, with guidance.
pub fn save_model_of(to: &Path, channels: usize, seed: u64) {
    let device = device::open("cpu").unwrap();
    let config = UNet2DConfig {
        sample_size: Some(SampleSize::Square(8)),
        in_channels: channels,
        out_channels: channels,
        down_block_types: vec![DownBlockType::DownBlock2D; 2],
        up_block_types: vec![UpBlockType::UpBlock2D; 2],
        block_out_channels: vec![16, 16],
        layers_per_block: 1,
        norm_num_groups: 4,
        add_attention: false,
        num_class_embeds: Some(5),
        ..UNet2DConfig::default()
    };
    let mut stream = 0;
    let network = params::map(NetworkConfig::from(config).network(&device).unwrap(), |_, value| {
        let mut values = vec![0.0; value.dims()[0]];
        noise::normal(seed, stream, 0, &mut values);
        stream += 1;
        params::from_host(values.iter().map(|v| v * 0.1).collect(), &device)
    });
    let recipe = Recipe {
        clip: Clip::Range(1.0),
        ..Recipe::new(
            "cosine".parse::<ScheduleKind>().unwrap(),
            "v".parse::<ParameterizationKind>().unwrap(),
            "trailing".parse::<SpacingKind>().unwrap(),
            "ddim".parse::<SolverKind>().unwrap(),
        )
    };
    let classes = ["ant", "bee", "cat", "dog"].map(String::from).to_vec();
    let card = Card { classes, null_class: Some(4), ..Card::default() };
    Model::new(network, recipe, card).unwrap().save(to).unwrap();
}

/// A service that ends, and whose folder goes, when this is dropped.
pub struct Service {
    pub folder: TempDir,
    pub addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts with one model, `grey`; `change` may set other options.
    pub fn start(change: impl FnOnce(&mut ServeOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        save_model(&folder.path().join("models/grey"), 1);
        Self::open(folder, change)
    }

    /// Starts on a folder that is there.
    pub fn open(folder: TempDir, change: impl FnOnce(&mut ServeOptions)) -> Self {
        let mut options = ServeOptions {
            limits: RequestLimits { batch: 8, ..RequestLimits::default() },
            memory: Some(1 << 30),
            ..ServeOptions::new(vec![folder.path().join("models")], folder.path(), device::open("cpu").unwrap())
        };
        change(&mut options);
        let server = Server::bind(options).unwrap();
        let addr = server.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(server.run(async { drop(stopped.await) })).unwrap();
        });
        Self { folder, addr, stop: Some(stop), thread: Some(thread) }
    }

    /// Still answers, and still makes a picture.
    pub fn lives(&self) {
        assert_eq!(self.get("/healthz").status, 200);
        let made = self.post("/api/v1/generate", &json!({"model": "grey", "steps": 2}));
        assert_eq!(made.status, 200, "{made}");
    }

    /// Ends it, and leaves its folder.
    pub fn into_folder(mut self) -> TempDir {
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// A new connection that gives up after a minute.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends these bytes and reads one answer; the server hanging up while it is sent to is no matter if it answered.
    pub fn send(&self, bytes: &[u8]) -> Option<Answer> {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        Answer::read(&mut stream)
    }

    /// A request with these headers and a body.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("host: {}\r\n", self.addr);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || method == "POST" {
            head += &format!("content-length: {}\r\n", body.len());
        }
        head += "connection: close\r\n\r\n";
        self.send(&[head.as_bytes(), body].concat()).unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], &[])
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().expect("the service ends in order");
        }
    }
}

/// An answer, its body read by its length, by chunks, or to the end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads one answer; `None` where the server said nothing before it hung up.
    pub fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) | Err(_) if head.is_empty() => return None,
                other => panic!("the answer breaks off ({other:?}) after {:?}", String::from_utf8_lossy(&head)),
            }
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Self { status, head, body: Vec::new() };
        if status == 204 || status == 304 || status < 200 {
            return Some(answer);
        }
        if let Some(length) = answer.header("content-length").map(|n| n.parse::<usize>().unwrap()) {
            answer.body = vec![0; length];
            stream.read_exact(&mut answer.body).unwrap();
        } else {
            stream.read_to_end(&mut answer.body).unwrap();
            if answer.header("transfer-encoding") == Some("chunked") {
                answer.body = unchunked(&answer.body);
            }
        }
        Some(answer)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// A refusal's code; the answer must be a whole problem document.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self}");
        for part in ["title", "detail"] {
            assert!(problem[part].as_str().is_some_and(|text| !text.is_empty()), "{part} of {self}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{}{}", self.head, body.chars().take(1000).collect::<String>())
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let (Some(size), start) = (size, end + 2) else { break };
        if size == 0 || start + size > bytes.len() {
            break;
        }
        body.extend_from_slice(&bytes[start..start + size]);
        bytes = &bytes[(start + size + 2).min(bytes.len())..];
    }
    body
}
