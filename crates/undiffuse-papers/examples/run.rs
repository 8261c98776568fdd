//! Runs an experiment.
fn main() {
    let name = std::env::args().nth(1).unwrap();
    let start = std::time::Instant::now();
    let options = undiffuse_papers::Options::new(std::env::temp_dir().join("papers-figures"));
    let report = undiffuse_papers::find(&name)
        .unwrap()
        .run(&options, &mut |e| println!("{:.0}% {:.1}s {}", 100.0 * e.progress, start.elapsed().as_secs_f64(), e.text))
        .unwrap();
    println!("{report:#?} {:?}", start.elapsed());
}
