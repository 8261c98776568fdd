//! Binary heartbeats [Sohl15, section 3.1.2]: 20 bits with a pulse every fifth, diffused in 2000 binomial steps; the
//! bit-flip probability of the reverse process is learned.

pub mod network;
pub mod pulses;

use network::{Batch, KNOTS, Network, Process};
use pulses::{LENGTH, PERIOD};
use undiffuse_data::figure::{Layer, Panel, figure};
use undiffuse_math::binomial::{Binomial, entropy, kl};
use undiffuse_math::noise;

use crate::learn::{Learner, Step, cosine, mean_and_error};
use crate::{Error, Event, Goal, Listener, Options, Report, Row};

/// Streams of random numbers, one for each use; training takes one for each update from `TRAIN` on.
mod stream {
    pub const INITIAL: u64 = 0;
    pub const SAMPLES: u64 = 8;
    pub const FIGURE: u64 = 9;
    pub const PLAIN: u64 = 10;
    pub const EXCESS: u64 = 11;
    pub const TRAIN: u64 = 1 << 20;
}

type Sequence = [bool; LENGTH];
type Chances = [f64; LENGTH];

/// Trains, measures and draws.
///
/// # Errors
/// A figure that cannot be written, and training that diverges.
pub fn run(options: &Options, hear: Listener) -> Result<Report, Error> {
    let chain = Binomial::linear(options.choose(2000, 2 * KNOTS));
    let network = train(options, &chain, hear)?;
    let mut report = Report::default();
    hear(Event { progress: 0.85, text: "measuring the bound on all steps".into() });
    bound(options, &chain, &network, &mut report);
    hear(Event { progress: 0.92, text: "sampling".into() });
    samples(options, &chain, &network, &mut report)?;
    Ok(report)
}

fn train(options: &Options, chain: &Binomial, hear: Listener) -> Result<Network, Error> {
    let updates = options.choose(8000, 20);
    let mut learner = Learner::new(network::initial(options.seed, stream::INITIAL), &options.device);
    let process = Process::new(chain, learner.device());
    for k in 0..updates {
        let h = Step { rate: 0.005 * cosine(k, updates), beta2: 0.999, average: 0.02f64.max(1.0 / (k + 1) as f64) };
        let batch = Batch::new(chain, 1, options.seed, stream::TRAIN + k as u64, learner.device());
        let loss = learner.step(h, |p| network::loss(p, &process, &batch));
        if !loss.is_finite() {
            return Err(Error::Diverged { what: "the cost of the reverse process", step: k });
        }
        if k % 100 == 0 || k + 1 == updates {
            let excess = batch.excess(loss);
            let text = format!("update {k} of {updates}: {excess:.4} bits above the least possible cost");
            hear(Event { progress: 0.85 * k as f64 / updates as f64, text });
        }
    }
    Ok(Network::new(learner.averaged(), chain.steps()))
}

/// The bound in bits per sequence, measured twice.
fn bound(options: &Options, chain: &Binomial, network: &Network, report: &mut Report) {
    let truth = -(PERIOD as f64).log2();
    let null = -(LENGTH as f64) * entropy(1.0 / PERIOD as f64);
    let n = options.choose(50, 2);

    // E KL(q(·|x0) ‖ p) = E KL(q(·|x0) ‖ q(·)) + E KL(q(·) ‖ p): the first is a sum over states, the second is small.
    let (mut best, mut excess) = (vec![0.0], vec![0.0]);
    let mut variance = 0.0;
    let mut plain = vec![0.0; n];
    for t in 1..=chain.steps() {
        let evidence = chain.evidence(t);
        let flips = |doubt: Chances| doubt.map(|d| pulses::flip(chain, t, d));
        best.push(pulses::best_step(chain, t));
        let gaps: Vec<f64> = (0..n)
            .map(|k| {
                let (_, x) = pulses::draw(chain, t, options.seed, stream::EXCESS, (t * n + k) as u64);
                let (ours, ideal) = (flips(network.doubt(&x, t, evidence)), flips(pulses::doubt(&x, evidence)));
                (0..LENGTH).map(|i| kl(ideal[i], ours[i])).sum()
            })
            .collect();
        let (mean, error) = mean_and_error(&gaps);
        excess.push(mean);
        variance += error * error;
        for (k, sum) in plain.iter_mut().enumerate().filter(|_| t > 1) {
            let (clean, x) = pulses::draw(chain, t, options.seed, stream::PLAIN, (t * n + k) as u64);
            let ours = flips(network.doubt(&x, t, evidence));
            *sum += (0..LENGTH).map(|i| pulses::divergence(chain, t, x[i], clean[i], ours[i])).sum::<f64>();
        }
    }
    let sum = |v: &[f64]| v.iter().sum::<f64>();
    let ends = LENGTH as f64 * chain.ends();
    let ideal = ends - sum(&best[2..]);
    let k = ideal - sum(&excess[2..]);
    let error = variance.sqrt();
    let free = LENGTH as f64 * (entropy(chain.flip(chain.steps())) - 1.0) - sum(&best) - sum(&excess);
    let (cost, plain_error) = mean_and_error(&plain);

    let bits = "bits/sequence";
    report.rows.extend([
        Row::new("K", k, bits).paper(-2.414).error(error).goal(Goal::between(-2.414, truth)),
        Row::new("K - L_null", k - null, bits).paper(12.024).error(error).goal(Goal::at_least(12.02)),
        Row::new("L_null: independent bits, one in five", null, bits).paper(-14.438),
        Row::new("truth: -log2 5", truth, bits),
        Row::new("largest K of any kernel that decides each bit by itself", ideal, bits).goal(Goal::at_most(truth)),
        Row::new("K, plain average", ends - cost, bits)
            .error(plain_error)
            .goal(Goal::at_most(truth + 4.0 * plain_error)),
        Row::new("K with a learned last step", free, bits).error(error).goal(Goal::at_most(truth)),
    ]);
    report.note(format!(
        "K is the whole bound over all {} steps: H_q(X^T|X^0) - H_q(X^1|X^0) - H_p(X^T) = {ends:.4} bits in closed form, less \
         the divergences of steps 2 to T in double precision. Their least possible sum is summed over all states of the \
         data; what the network adds to it is averaged over {n} fresh sequences a step.",
        chain.steps(),
    ));
    report.note(format!(
        "The plain average takes KL(q(x^(t-1)|x^t,x^0) || p) on {n} other fresh sequences a step and knows nothing of the data's law."
    ));
    report.note("As in the paper the last reverse step is the forward kernel, whose flips alone cost 0.07 bits.");
}

/// The reverse process from coin tosses: what is left at step 0 and at the steps in `keep`, in that order.
fn reverse(chain: &Binomial, network: &Network, seed: u64, index: u64, keep: &[usize]) -> Vec<Sequence> {
    let steps = chain.steps();
    let uniform = |t: usize, i: usize| {
        noise::uniform(seed, stream::SAMPLES, (index * (steps as u64 + 1) + t as u64) * LENGTH as u64 + i as u64)
    };
    let mut x: Sequence = std::array::from_fn(|i| uniform(0, i) < 0.5);
    let mut kept = vec![(steps, x)];
    for t in (1..=steps).rev() {
        // The last step is the forward kernel [Sohl15, appendix B.2].
        let flips = match t {
            1 => [chain.step_flip(1); LENGTH],
            _ => network.doubt(&x, t, chain.evidence(t)).map(|d| pulses::flip(chain, t, d)),
        };
        x = std::array::from_fn(|i| x[i] != (uniform(t, i) < flips[i]));
        kept.push((t - 1, x));
    }
    keep.iter().map(|&t| kept[steps - t].1).collect()
}

fn samples(options: &Options, chain: &Binomial, network: &Network, report: &mut Report) -> Result<(), Error> {
    let n = options.choose(100, 3);
    let times = [0, chain.steps() / 2, chain.steps()];
    let backward: Vec<Vec<Sequence>> =
        (0..n).map(|k| reverse(chain, network, options.seed, k as u64, &times)).collect();
    let mut found = [0usize; PERIOD];
    for phase in backward.iter().filter_map(|kept| pulses::phase(&kept[0])) {
        found[phase] += 1;
    }
    let share = found.iter().sum::<usize>() as f64 / n as f64;
    report.rows.push(Row::new(format!("{n} samples that are heartbeats"), 100.0 * share, "%"));
    report.note(format!("Samples by the place of their first pulse: {found:?}."));

    let rows = n.min(20);
    let raster = |title: String, sequences: Vec<Sequence>| {
        let values = sequences.into_iter().flatten().map(|bit| if bit { 1.0 } else { 0.0 }).collect();
        let layer = Layer::Raster { columns: LENGTH, values, color: [0, 114, 178] };
        Panel { bare: true, ..Panel::new(&title, vec![layer]) }
    };
    let names = ["t = 0", "t = T/2", "t = T"];
    let forward = times.iter().zip(names).map(|(&t, name)| {
        let draw = |k: usize| pulses::draw(chain, t, options.seed, stream::FIGURE, k as u64).1;
        raster(format!("data, {name}"), (0..rows).map(draw).collect())
    });
    let reverse = names
        .iter()
        .enumerate()
        .map(|(c, name)| raster(format!("model, {name}"), backward[..rows].iter().map(|kept| kept[c]).collect()));
    let panels: Vec<Panel> = forward.chain(reverse).collect();
    let title = "Binary heartbeats: forward (top), reverse (bottom)";
    report.figure(options, "heartbeat.png", &figure(title, 3, (320, 340), &panels))
}
