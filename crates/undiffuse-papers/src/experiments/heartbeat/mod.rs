//! Binary heartbeats [Sohl15, section 3.1.2].

pub mod network;
pub mod pulses;

use network::{Batch, Network, Process};
use pulses::LENGTH;
use undiffuse_math::binomial::Binomial;

use crate::learn::{Learner, Step, cosine};
use crate::{Error, Event, Listener, Options, Report, Row};

/// Trains, measures and draws.
///
/// # Errors
/// A figure that cannot be written.
pub fn run(options: &Options, hear: Listener) -> Result<Report, Error> {
    let steps = options.choose(2000, 80);
    let updates = std::env::var("UPD").ok().and_then(|v| v.parse().ok()).unwrap_or(options.choose(1000, 20));
    let chain = Binomial::linear(steps);
    let n: usize = std::env::var("N").ok().and_then(|v| v.parse().ok()).unwrap_or(4);
    let rate: f64 = std::env::var("LR").ok().and_then(|v| v.parse().ok()).unwrap_or(0.01);
    let mut learner = Learner::new(network::initial(steps, options.seed, 0), &options.device);
    let process = Process::new(&chain, learner.device());
    let start = std::time::Instant::now();
    for k in 0..updates {
        let h = Step { rate: rate * cosine(k, updates), beta2: 0.999, average: 0.02f64.max(1.0 / (k + 1) as f64) };
        let batch = Batch::new(&chain, n, options.seed, 100 + k as u64, learner.device());
        let loss = learner.step(h, |p| network::loss(p, &process, &batch));
        if k % 500 == 0 || k + 1 == updates {
            hear(Event { progress: 0.9 * k as f64 / updates as f64, text: format!("update {k}: {loss:.3} nats {:.1}s", start.elapsed().as_secs_f64()) });
        }
    }
    let network = Network::new(learner.averaged(), steps);
    let mut report = Report::default();
    let (best, excess) = excess(&chain, &network, options.choose(20, 2), options.seed);
    println!("best {best} excess {excess}");
    let ends = LENGTH as f64 * chain.ends();
    report.rows.push(Row::new("K", ends - best - excess, "bits"));
    Ok(report)
}

fn excess(chain: &Binomial, network: &Network, n: usize, seed: u64) -> (f64, f64) {
    let mut sum = 0.0;
    let mut best = 0.0;
    for t in 2..=chain.steps() {
        let evidence = chain.evidence(t);
        best += pulses::best_step(chain, t);
        let before = sum;
        for k in 0..n {
            let (_, x) = pulses::draw(chain, t, seed, 1 << 40, (t * n + k) as u64);
            let best = pulses::doubt(&x, evidence);
            let doubt = network.doubt(&x, t, evidence);
            for i in 0..LENGTH {
                sum += undiffuse_math::binomial::kl(pulses::flip(chain, t, best[i]), pulses::flip(chain, t, doubt[i])) / n as f64;
            }
        }
        if t % 200 == 0 { println!("{t} {}", sum - before); }
    }
    (best, sum)
}
