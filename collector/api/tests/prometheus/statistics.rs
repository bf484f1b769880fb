//! What is told beside an answer: warnings and what was looked at.

use serde_json::{Value, json};
use tenantscope_api::prometheus::QueryLimits;

use crate::bench::Bench;

#[tokio::test]
async fn warnings_limits_and_statistics_are_told() {
    let bench = Bench::new(QueryLimits::default());
    let cut = bench.get("/api/v1/query?query=orders_total&time=AT&limit=3").await.json();
    assert_eq!(
        (cut["data"]["result"].as_array().unwrap().len(), &cut["warnings"]),
        (3, &json!(["results truncated due to limit"]))
    );
    let odd = bench.get("/api/v1/query?query=orders_total&time=AT&stats=1").await.json();
    assert!(odd["warnings"][0].as_str().unwrap().contains("deprecated"), "{odd}");
    assert!(odd["data"]["stats"]["samples"].get("totalQueryableSamplesPerStep").is_none());
    let silent = bench.get("/api/v1/query?query=orders_total&time=AT").await.json();
    assert!(silent["data"].get("stats").is_none());
    let stats =
        bench.get("/api/v1/query_range?query=orders_total&start=AT&end=AT&step=1&stats=all").await.data()["stats"]
            .clone();
    let timings =
        ["evalTotalTime", "resultSortTime", "queryPreparationTime", "innerEvalTime", "execQueueTime", "execTotalTime"];
    assert!(timings.iter().all(|name| stats["timings"][name].is_number()), "{stats}");
    assert!(stats["samples"]["peakSamples"].is_number() && stats["samples"]["totalQueryableSamples"].is_number());
    assert_eq!(stats["samples"]["totalQueryableSamplesPerStep"], json!([[bench.at_s, 4]]));
}

#[tokio::test]
async fn samples_are_counted_as_prometheus_counts_them() {
    let bench = &Bench::new(QueryLimits::default());
    let by_step = |samples: &Value, of: &str| -> Vec<u64> {
        let pairs = samples[format!("{of}PerStep")].as_array().unwrap();
        let counts: Vec<u64> = pairs.iter().map(|pair| pair[1].as_u64().unwrap()).collect();
        assert_eq!(samples[of].as_u64(), Some(counts.iter().sum()), "{samples}");
        counts
    };
    let counted = |path: String| async move {
        let samples = bench.get(&format!("/api/v1/{path}&stats=all")).await.data()["stats"]["samples"].clone();
        (by_step(&samples, "totalQueryableSamples"), by_step(&samples, "samplesRead"))
    };
    // Four series with a sample every 15 seconds.
    for (query, step, looked_at, read) in [
        ("sum(rate(orders_total[1m]))", 15, [16, 16, 16], [16, 4, 4]),
        ("sum(rate(orders_total[15s]))", 30, [4, 4, 4], [4, 4, 4]),
        ("orders_total*2", 15, [4, 4, 4], [4, 4, 4]),
        ("orders_total@0", 15, [0, 0, 0], [0, 0, 0]),
        ("sum(orders_total@end())", 15, [4, 4, 4], [4, 0, 0]),
        ("sum(max_over_time(orders_total[1m]@end()))", 15, [16, 16, 16], [16, 0, 0]),
        ("max_over_time(orders_total[1m:15s])", 15, [16, 16, 16], [16, 4, 4]),
        ("max_over_time(orders_total[15s:15s]%20offset%201m)", 30, [4, 4, 4], [4, 4, 4]),
        ("sum(max_over_time(rate(orders_total[1m])[1m:15s]))", 15, [16, 16, 16], [28, 4, 4]),
        ("max_over_time(sum(orders_total)[1m:15s])", 15, [4, 4, 4], [16, 4, 4]),
    ] {
        let start_s = bench.at_s - 2 * step;
        let range = format!("query_range?query={query}&start={start_s}&end=AT&step={step}");
        assert_eq!(counted(range).await, (looked_at.to_vec(), read.to_vec()), "{query}");
    }
    for (query, looked_at, read) in [
        ("orders_total[1m]", 16, 16),
        ("orders_total[1m:15s]", 16, 16),
        ("rate(orders_total[1m])[1m:15s]", 64, 28),
        ("last_over_time(orders_total[15s:15s])", 4, 4),
        ("max_over_time(max_over_time(orders_total[1m:15s])[1m:15s])", 16, 28),
    ] {
        assert_eq!(counted(format!("query?query={query}&time=AT")).await, (vec![looked_at], vec![read]), "{query}");
    }
}
