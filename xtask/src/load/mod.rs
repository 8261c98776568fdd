//! `cargo xtask load`: many clients at a service, some of them bad, and whether it keeps its promises.

mod clients;
mod http;
mod process;
mod tally;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use clients::World;
use http::Service;
use process::Started;
use tally::Tally;

/// Put a service under load: clients that generate, follow, cancel, hang up and send nonsense, all at once. Fails if a job is
/// lost, a seed gives two pictures, an answer is a 5xx without Retry-After, or memory does not stay flat
#[derive(clap::Args)]
pub struct Args {
    /// A service that runs; one is started when not given
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["program", "model"], required_unless_present = "program")]
    addr: Option<String>,
    /// What the service wants to be shown
    #[arg(long, env = "UNDIFFUSE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The program to start, such as target/release/undiffuse; its `sample` command is the measure of images a second
    #[arg(long, requires = "model")]
    program: Option<PathBuf>,
    /// The run or model that it serves
    #[arg(long)]
    model: Option<PathBuf>,
    /// Clients at a time
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// How long they go on
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Steps of every request
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Arguments for the service, after `--`
    #[arg(last = true)]
    more: Vec<String>,
}

/// Runs the chore.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("undiffuse-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = measure(args, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    result
}

fn measure(args: &Args, folder: &Path) -> anyhow::Result<()> {
    let offline = || match (&args.program, &args.model) {
        (Some(program), Some(model)) => process::offline(program, model, folder, args.steps, 256).map(Some),
        _ => Ok(None),
    };
    let before = offline()?;
    let started = match (&args.program, &args.model) {
        (Some(program), Some(model)) => Some(Started::new(program, model, folder, &args.more)?),
        _ => None,
    };
    let service = match (&started, &args.addr) {
        (Some(started), _) => started.service.clone(),
        (None, addr) => Service { addr: addr.clone().context("--addr or --program")?, token: args.token.clone() },
    };
    let models = service.json("/api/v1/models")?;
    let model = models["models"].get(0).context("the service has no model")?;
    let classes =
        model["classes"].as_array().into_iter().flatten().filter_map(|class| Some(class.as_str()?.to_owned()));
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let world = World::new(service.clone(), end, args.steps, classes.collect());
    let seen = put(&world, args.clients, started.as_ref())?;
    let lost = lost(&world)?;
    let peak = started.as_ref().map(|started| started.memory().1);
    let ended = started.map(Started::end).transpose()?;
    let after = offline()?;

    println!("{}", seen.tally.table());
    println!("{} requests of {} clients in {} s.\n", seen.tally.requests(), args.clients, args.seconds);
    let accepted = world.accepted.lock().map_or(0, |accepted| accepted.len());
    println!("- jobs accepted: {accepted}; lost: {}", lost.len());
    println!("- different pictures compared by seed: {}", world.different());
    println!("- images: {:.0}, {:.1}/s", seen.images, seen.pace);
    if let (Some(before), Some(after)) = (before, after) {
        println!("- `undiffuse sample`, alone on the machine: {before:.1}/s before, {after:.1}/s after");
    }
    let quarters = [0, 1, 2, 3].map(|k| format!("{:.0}", seen.memory_of(k)));
    println!("- resident memory, mean of each quarter of the time: {} MiB", quarters.join(", "));
    if let Some(peak) = peak {
        println!("- peak resident memory: {peak:.0} MiB");
    }
    if let Some(ended) = ended {
        println!("- the end, from SIGTERM: {:.1} s", ended.as_secs_f64());
    }
    verdict(world.faults.into_inner().unwrap_or_default(), &lost, &seen)
}

/// What was seen of a service under load.
struct Seen {
    tally: Tally,
    /// Resident memory, once a second, in MiB.
    memory: Vec<f64>,
    /// Images made while requests came, and how many a second.
    images: f64,
    pace: f64,
}

impl Seen {
    /// The mean of a quarter of the time.
    fn memory_of(&self, quarter: usize) -> f64 {
        let n = self.memory.len();
        mean(&self.memory[quarter * n / 4..(quarter + 1) * n / 4])
    }
}

/// Lets so many clients at the service until the world ends.
fn put(world: &World, clients: usize, started: Option<&Started>) -> anyhow::Result<Seen> {
    let (service, start) = (&world.service, Instant::now());
    let images = service.metric("undiffuse_images_total")?;
    Ok(thread::scope(|scope| {
        let clients: Vec<_> = (1..=clients).map(|k| scope.spawn(move || clients::client(world, k as u64))).collect();
        let mut memory = Vec::new();
        while Instant::now() < world.end {
            memory.push(started.map_or_else(|| rss(service), |started| started.memory().0));
            thread::sleep(Duration::from_secs(1));
        }
        // A client may have to wait for its last answer: the clock of pictures stops with the requests.
        let images = service.metric("undiffuse_images_total").unwrap_or(f64::NAN) - images;
        let pace = images / start.elapsed().as_secs_f64();
        let mut tally = Tally::default();
        for client in clients {
            match client.join() {
                Ok(done) => tally.merge(done),
                Err(_) => drop(world.faults.lock().map(|mut faults| faults.push("a client panicked".into()))),
            }
        }
        Seen { tally, memory, images, pace }
    }))
}

/// Prints the faults, and fails where there are any or memory grows.
fn verdict(faults: Vec<String>, lost: &[String], seen: &Seen) -> anyhow::Result<()> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for fault in faults.iter().chain(lost) {
        *counts.entry(fault).or_default() += 1;
    }
    for (fault, count) in counts.iter().take(40) {
        println!("- FAULT, {count} times: {fault}");
    }
    ensure!(faults.is_empty() && lost.is_empty(), "{} faults, {} jobs lost", faults.len(), lost.len());
    // The store's cache and the pool of buffers fill up in the beginning.
    let grown = 100.0 * (seen.memory_of(3) / seen.memory_of(1) - 1.0);
    ensure!(seen.memory.len() < 40 || grown < 10.0, "memory grows: {grown:.0} % from the second quarter to the last");
    Ok(())
}

/// What is wrong with the jobs that were accepted, when all have ended.
fn lost(world: &World) -> anyhow::Result<Vec<String>> {
    let accepted = world.accepted.lock().map_or_else(|_| Vec::new(), |accepted| accepted.clone());
    let mut lost = Vec::new();
    for (id, must_be_done) in accepted {
        match clients::wait(&world.service, &id, Duration::from_secs(300)) {
            Ok(job) if job["state"] == "done" || (job["state"] == "cancelled" && !must_be_done) => {}
            Ok(job) => lost.push(format!("{id} ended as {job}")),
            Err(e) => lost.push(format!("{id}: {e:#}")),
        }
    }
    for state in ["queued", "running"] {
        let left = world.service.json(&format!("/api/v1/jobs?state={state}"))?;
        let left = left["jobs"].as_array().map_or(0, Vec::len);
        if left > 0 {
            lost.push(format!("{left} jobs are {state} when nobody waits"));
        }
    }
    Ok(lost)
}

fn rss(service: &Service) -> f64 {
    service.metric("undiffuse_process_resident_memory_bytes").unwrap_or(0.0) / f64::from(1 << 20)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
