//! Prints what is in a dataset and writes its contact sheet: `report PATH [SIZE] [SHEET.png]`.

use std::path::Path;
use std::time::Instant;

use undiffuse_data::{DataReport, Dataset, Options, contact_sheet, encode_png};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = Path::new(args.first().ok_or("usage: report PATH [SIZE] [SHEET.png]")?);
    let size = args.get(1).and_then(|size| size.parse().ok());
    let start = Instant::now();
    let dataset = Dataset::open(path, &Options { size, ..Options::default() }).map_err(|e| e.to_string())?;
    let how = if dataset.is_from_cache() { "from the cache" } else { "decoded" };
    eprintln!("opened in {:.3} s, {how}", start.elapsed().as_secs_f64());
    print!("{}", DataReport::new(&dataset));
    eprintln!("reported after {:.3} s", start.elapsed().as_secs_f64());
    if let Some(sheet) = args.get(2) {
        std::fs::write(sheet, encode_png(&contact_sheet(&dataset), &[])?)?;
    }
    Ok(())
}
