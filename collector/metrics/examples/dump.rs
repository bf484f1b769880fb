//! Prints every sample of a store's folder: `dump DIR`, one line a sample.
#![allow(clippy::print_stdout, reason = "it is a command-line program")]

use std::time::{Duration, Instant};

use tenantscope_metrics::{MetricStore, Options};
use tenantscope_model::{Lookback, QueryBudget, Scope, Select, SelectRequest};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: dump DIR")?;
    let store = MetricStore::open(dir, Options { retention: None, ..Options::default() })?;
    let budget = QueryBudget::new(Instant::now() + Duration::from_secs(3600), u64::MAX);
    let request =
        SelectRequest { matchers: &[], from_ms: i64::MIN, to_ms: i64::MAX, lookback: Lookback::Range, budget: &budget };
    for series in store.select(&Scope::All, &request)? {
        for sample in &series.samples {
            println!("{} {} {}", series.labels, sample.value, sample.t_ms);
        }
        for sample in &series.histograms {
            println!("{} {:?} {}", series.labels, sample.histogram, sample.t_ms);
        }
    }
    Ok(())
}
