//! `undiffuse serve`.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use undiffuse::run::RunFolder;
use undiffuse::train::parse_duration;
use undiffuse_serve::Server;
use undiffuse_serve::options::{RequestLimits, ServeOptions, Training, Waits};

use crate::common::{self, Machine, Weights, usage};
use crate::output::{remark, show};

/// Open the studio in the browser, and answer requests for pictures over HTTP.
#[derive(clap::Args)]
pub struct Args {
    /// Models, runs, or folders of them; runs/ when not given
    #[arg(value_name = "MODEL|RUNS_DIR")]
    paths: Vec<PathBuf>,
    /// Where to listen. Beyond this machine only with --token or --insecure
    #[arg(long, default_value = "127.0.0.1:8484", value_name = "HOST:PORT", value_parser = parse_addr)]
    addr: SocketAddr,
    /// What clients must show to be let in
    #[arg(long, env = "UNDIFFUSE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Let anybody in who can reach the address
    #[arg(long, conflicts_with = "token")]
    insecure: bool,
    /// A name that browsers may call this machine by, such as diffusion.example.org; may be repeated
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Let clients start, stop and resume training runs
    #[arg(long)]
    allow_train: bool,
    /// Folder whose entries may be trained on
    #[arg(long, default_value = "data", value_name = "DIR")]
    datasets: PathBuf,
    /// Folder of LoRA files: ink.safetensors in it is <lora:ink:0.8> in a prompt
    #[arg(long, value_name = "DIR")]
    loras: Option<PathBuf>,
    /// Folder of evaluation reports
    #[arg(long, default_value = "eval", value_name = "DIR")]
    reports: PathBuf,
    /// Folder for jobs and their pictures, which survive a restart
    #[arg(long, default_value = "serve", value_name = "DIR")]
    store: PathBuf,
    /// How long finished jobs are kept, such as 12h or 30d
    #[arg(long, default_value = "7d", value_parser = parse_duration)]
    keep: Duration,
    /// How much finished jobs may take together, such as 1GB; the oldest go first
    #[arg(long, default_value = "1GB", value_parser = parse_size)]
    keep_size: u64,
    /// Memory for models and their work, such as 8GB; four fifths of what is free when not given
    #[arg(long, value_parser = parse_size)]
    memory: Option<u64>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    machine: Machine,
}

/// What one request may ask, and how much of everything there is at a time.
#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Jobs that may wait; more are told to come again
    #[arg(long, default_value_t = RequestLimits::default().queue, value_name = "JOBS")]
    max_queue: usize,
    /// Pictures in one evaluation of a network; results do not depend on it
    #[arg(long, default_value_t = RequestLimits::default().batch, value_parser = parse_count)]
    batch: usize,
    /// Pictures in a job
    #[arg(long, default_value_t = RequestLimits::default().n, value_name = "N", value_parser = parse_count)]
    max_n: usize,
    /// Steps of a solver
    #[arg(long, default_value_t = RequestLimits::default().steps, value_name = "STEPS", value_parser = parse_count)]
    max_steps: usize,
    /// Pixels of a picture
    #[arg(long, default_value_t = RequestLimits::default().pixels, value_name = "PIXELS", value_parser = parse_count)]
    max_pixels: usize,
    /// Letters of a prompt
    #[arg(long, default_value_t = RequestLimits::default().prompt, value_name = "LETTERS", value_parser = parse_count)]
    max_prompt: usize,
    /// How long a picture's evaluation may take, in evaluations of one of the model's own size
    #[arg(long, default_value_t = RequestLimits::default().cost, value_name = "TIMES", value_parser = parse_count)]
    max_cost: usize,
    /// Size of a request, such as 16MB
    #[arg(long, default_value = "16MiB", value_parser = parse_size, value_name = "SIZE")]
    max_body: u64,
    /// Computing time of a job, such as 10m
    #[arg(long, default_value = "10m", value_parser = parse_duration, value_name = "TIME")]
    max_time: Duration,
    /// Connections at a time
    #[arg(long, default_value_t = RequestLimits::default().connections, value_name = "N", value_parser = parse_count)]
    max_connections: usize,
    /// Connections of one address at a time, a quarter of all when not given; from this machine always all but an eighth
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_connections_each: Option<usize>,
}

impl From<LimitArgs> for RequestLimits {
    fn from(args: LimitArgs) -> Self {
        Self {
            queue: args.max_queue,
            batch: args.batch,
            n: args.max_n,
            steps: args.max_steps,
            pixels: args.max_pixels,
            prompt: args.max_prompt,
            cost: args.max_cost,
            body: args.max_body as usize,
            seconds: args.max_time.as_secs().max(1),
            connections: args.max_connections,
            connections_each: args.max_connections_each.unwrap_or(args.max_connections.div_ceil(4)),
        }
    }
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let device = args.machine.open()?;
    common::catch_interrupt()?;
    let Args {
        paths,
        addr,
        token,
        insecure,
        hosts,
        allow_train,
        datasets,
        loras,
        reports,
        store,
        keep,
        keep_size,
        memory,
        limits,
        weights,
        machine,
    } = args;
    check(&paths, token.as_deref())?;
    if let Some(wrong) = loras.as_deref().filter(|folder| !folder.is_dir()) {
        return Err(usage(format!("--loras: there is no folder `{}`", wrong.display())));
    }
    if allow_train && !datasets.is_dir() {
        remark(&format!(
            "note: there is no folder `{}`; --datasets names the one whose entries may be trained on",
            datasets.display()
        ));
    }
    let paths = if paths.is_empty() { vec![PathBuf::from("runs")] } else { paths };
    let training = match allow_train {
        true => Some(Training { program: std::env::current_exe()?, datasets, runs: runs(&paths) }),
        false => None,
    };
    let options = ServeOptions {
        paths,
        loras,
        reports,
        store,
        addr,
        token,
        insecure,
        hosts,
        training,
        device,
        device_name: machine.device,
        limits: limits.into(),
        memory,
        variant: weights.variant,
        keep,
        keep_bytes: keep_size,
        waits: Waits::default(),
    };
    let asks = options.token.is_some();
    // A service goes on serving when nobody reads this.
    let ready = |server: &Server| drop(show(&greeting(server, asks)));
    undiffuse_serve::serve(options, ready, common::interrupted)?;
    Ok(ExitCode::SUCCESS)
}

/// What cannot be served, or guarded.
fn check(paths: &[PathBuf], token: Option<&str>) -> anyhow::Result<()> {
    if token.is_some_and(|token| token.len() < 8) {
        return Err(usage("--token: give at least eight characters; `openssl rand -hex 16` makes good ones"));
    }
    let Some(wrong) = paths.iter().find(|path| !path.is_dir()) else { return Ok(()) };
    let name = wrong.display();
    Err(usage(match wrong.exists() {
        true => format!("`{name}` is no folder: name models, runs or folders of them"),
        false => format!("there is nothing at `{name}`: name models, runs or folders of them"),
    }))
}

/// Where it is to be found, and what it serves.
fn greeting(server: &Server, asks_for_token: bool) -> String {
    let address = shown(server.local_addr());
    let signs_in = match asks_for_token {
        true => format!(" (it asks for the token; http://{address}/#token=TOKEN signs in)"),
        false => String::new(),
    };
    let lines = [
        format!("the studio: http://{address}/{signs_in}"),
        format!("the API:    http://{address}/api/openapi.json"),
        models(&server.models()),
        "Ctrl-C ends it: pictures in the making are finished, jobs that wait go on next time\n".into(),
    ];
    lines.join("\n")
}

/// Which models there are, in a line.
fn models(ids: &[String]) -> String {
    match ids {
        [] => "no models yet: `undiffuse train` makes one, `undiffuse serve RUN` names one".into(),
        [one] => format!("the model:  {one}"),
        all => {
            let more = if all.len() > 8 { ", …" } else { "" };
            format!("{} models: {}{more}", all.len(), all[..all.len().min(8)].join(", "))
        }
    }
}

/// Where new runs go: the first folder that is no model or run itself.
fn runs(paths: &[PathBuf]) -> PathBuf {
    let of_runs =
        |path: &&PathBuf| undiffuse::model::ModelFolder::find(path).is_err() && !RunFolder::new(*path).exists();
    paths.iter().find(of_runs).cloned().unwrap_or_else(|| PathBuf::from("runs"))
}

/// An address that a browser on this machine understands.
fn shown(addr: SocketAddr) -> SocketAddr {
    match addr.ip().is_unspecified() {
        true => SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), addr.port()),
        false => addr,
    }
}

/// An address, or a name such as `localhost` with a port.
fn parse_addr(text: &str) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> = text.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| "write an address and a port, such as 127.0.0.1:8484".into())
}

/// A number of things of which there must be one at least.
fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "write a whole number above 0".into())
}

/// `500MB`, `1.5GiB`, or a plain number of bytes.
fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] = &[
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("kb", 1000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("b", 1),
        ("", 1),
    ];
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) =
        UNITS.iter().find_map(|&(name, unit)| Some((text.strip_suffix(name)?, unit))).unwrap_or((&text, 1));
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number * (unit as f64) < 1e18 => Ok((number * unit as f64) as u64),
        _ => Err("write a size such as 500MB or 1.5GiB".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_words() {
        let sizes = ["7", "7b", "1.5 KiB", "2MB", "1GB", "1gib"].map(|text| parse_size(text).unwrap());
        assert_eq!(sizes, [7, 7, 1536, 2_000_000, 1_000_000_000, 1 << 30]);
        for wrong in ["", "GB", "-1MB", "0", "1e30GB", "nan", "5TBB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
