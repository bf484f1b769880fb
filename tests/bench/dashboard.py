"""The twelve queries that dashboards and rules ask most, each over a tenth of the fleet's series."""

import math

QUERIES = {
    "sum by of rate": "sum by (tenant) (rate(http_requests_total[5m]))",
    "quantile of buckets": "histogram_quantile(0.99, sum by (le, service) (rate(http_request_duration_seconds_bucket[5m])))",
    "topk": "topk(10, sum by (tenant, service) (rate(network_bytes_total[5m])))",
    "avg over time": "avg by (service) (avg_over_time(process_cpu_ratio[10m]))",
    "max by": "max by (tenant) (queue_depth)",
    "absent-like": 'count by (tenant) (errors_total) unless on (tenant) (count by (tenant) (queue_depth{queue="queue-00"} > 1e9))',
    "ratio of sums": 'sum by (tenant) (rate(http_requests_total{code=~"4..|5.."}[5m])) / sum by (tenant) (rate(http_requests_total[5m]))',
    "join with info": "sum by (version) (rate(db_queries_total[5m]) * on (tenant, instance) group_left (version) target_info)",
    "count by": "count by (service, area) (memory_used_bytes > 1e9)",
    "increase over 1h": "sum by (tenant) (increase(errors_total[1h]))",
    "quantile": "quantile by (service) (0.9, pool_utilisation_ratio)",
    "rate by pod": "sum by (tenant, pod) (rate(network_bytes_total[5m]))",
}

# These ask at a time that only blocks hold; the others at one that memory or young parts hold.
OVER_BLOCKS = {"sum by of rate", "quantile of buckets", "avg over time", "ratio of sums", "increase over 1h", "quantile"}

RANGE_S, STEP_S = 1800, 30
# VictoriaMetrics takes a pod that was replaced for gone at another time, and does not extrapolate. With the 20 pods of 4,000
# series, 0.6 % and 2.6 % were seen; more pods differ by less.
TOLERANCE, TOLERANCE_OF_RATES = 0.01, 0.03


def summary(query, result):
    """(series, sum of all finite values): what two systems' answers are compared by. Of `topk` values count rather than
    series: which ones come near its end hangs on how a rate is meant."""
    points = [value for one in result for value in ([one["value"]] if "value" in one else one["values"])]
    numbers = [float(value) for _, value in points]
    counted = len(points) if query.startswith("topk(") else len(result)
    return counted, sum(number for number in numbers if math.isfinite(number))


def alike(query, one, other):
    """Whether two answers are the same but for what the systems define differently."""
    (series, total), (their_series, their_total) = summary(query, one), summary(query, other)
    tolerance = TOLERANCE_OF_RATES if "rate(" in query or "increase(" in query else TOLERANCE
    return series == their_series and abs(total - their_total) <= tolerance * max(abs(total), abs(their_total))
