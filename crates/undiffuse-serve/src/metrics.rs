//! Figures for monitoring: requests as they are answered, the engine and the process at the moment of asking.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::engine::{Engine, Gauges};

/// Seconds: from a static file to a long job.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];

/// Requests are told apart by template, not by address: there are few, whatever clients send.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    route: String,
    method: &'static str,
    status: u16,
}

/// The figures.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    answers: Family<Answer, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    open: Gauge,
}

impl Metrics {
    /// Figures of a service with this engine.
    pub fn new(engine: Engine) -> Self {
        let answers = Family::default();
        let seconds: Family<_, _, fn() -> _> = Family::new_with_constructor(|| Histogram::new(SECONDS));
        let open = Gauge::default();
        let mut registry = Registry::with_prefix("undiffuse");
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The program", Info::new(version));
        registry.register("http_requests", "Requests answered", answers.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Until the head of the answer",
            Unit::Seconds,
            seconds.clone(),
        );
        registry.register("http_requests_open", "Requests that wait for the head of their answer", open.clone());
        for (name, help, histogram) in engine.histograms() {
            registry.register(name, help, histogram);
        }
        registry.register_collector(Box::new(Moment(engine)));
        Self { registry, answers, seconds, open }
    }

    /// The figures as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// The layer that counts requests and their time.
pub async fn measure(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let begun = Instant::now();
    let open = Open::new(metrics.open.clone());
    let response = next.run(request).await;
    drop(open);
    let answer = Answer { route: route.clone(), method, status: response.status().as_u16() };
    metrics.answers.get_or_create(&answer).inc();
    metrics.seconds.get_or_create(&Route { route, method }).observe(begun.elapsed().as_secs_f64());
    response
}

/// Counts down also when the client goes away.
struct Open(Gauge);

impl Open {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A figure of the engine: name, what it is, whether it only grows, and how to read it.
type Figure = (&'static str, &'static str, MetricType, fn(&Gauges) -> u64);

const FIGURES: [Figure; 12] = [
    ("jobs_queued", "Jobs that wait", MetricType::Gauge, |g| g.queued as u64),
    ("jobs_running", "Jobs of which pictures are being made", MetricType::Gauge, |g| g.running as u64),
    ("pictures_running", "Pictures being made", MetricType::Gauge, |g| g.pictures as u64),
    ("models_loaded", "Models in memory", MetricType::Gauge, |g| g.models as u64),
    ("models_bytes", "Memory of the models", MetricType::Gauge, |g| g.model_bytes),
    ("store_bytes", "Results in the store", MetricType::Gauge, |g| g.stored_bytes),
    ("images", "Pictures finished", MetricType::Counter, |g| g.images),
    ("batches", "Evaluations of a network", MetricType::Counter, |g| g.batches),
    ("batched_pictures", "Pictures in evaluations of a network", MetricType::Counter, |g| g.batched),
    ("jobs_ended", "Jobs that ended, however they did", MetricType::Counter, |g| g.done),
    ("jobs_failed", "Jobs failed", MetricType::Counter, |g| g.failed),
    ("jobs_cancelled", "Jobs cancelled", MetricType::Counter, |g| g.cancelled),
];

struct Moment(Engine);

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Moment")
    }
}

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let gauges = self.0.gauges();
        let mut write = |name: &str, help: &str, kind: MetricType, value: u64| match kind {
            MetricType::Counter => ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, kind)?),
            _ => ConstGauge::new(value as i64).encode(encoder.encode_descriptor(name, help, None, kind)?),
        };
        for (name, help, kind, value) in FIGURES {
            write(name, help, kind, value(&gauges))?;
        }
        if let Some((now, most)) = undiffuse::memory::resident() {
            write("process_resident_memory_bytes", "Memory in use", MetricType::Gauge, now)?;
            let help = "Most memory that was in use at a time";
            write("process_resident_memory_peak_bytes", help, MetricType::Gauge, most)?;
        }
        Ok(())
    }
}
