"""Queries over the functions whose meaning did not change between Prometheus 2.42 and 3."""

SELECTORS = [
    "requests_total",
    'requests_total{code="500"}',
    'requests_total{code!="500", path=~"/c.*"}',
    'requests_total{instance=~"a.*|c.*", path!~"/carts"}',
    '{__name__=~"queue_depth|wave", job!=""}',
    'wave{zone=~".+"}',
    "no_such_metric",
    "queue_depth offset 7m",
    "queue_depth offset -7m",
    "requests_total @ end()",
    "wave @ start()",
    "latency_seconds_bucket{le=\"+Inf\"} offset 1m",
]

RANGE_FUNCTIONS = [
    "rate", "increase", "irate", "delta", "idelta", "deriv", "resets", "changes", "sum_over_time", "avg_over_time",
    "min_over_time", "max_over_time", "count_over_time", "last_over_time", "present_over_time", "stddev_over_time",
    "stdvar_over_time", "absent_over_time",
]

AGGREGATIONS = ["sum", "avg", "min", "max", "count", "stddev", "stdvar", "group"]

VECTOR_FUNCTIONS = [
    "abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "sgn", "sin", "cos", "tan", "atan", "sinh", "cosh",
    "tanh", "asinh", "rad", "deg", "-", "absent", "timestamp", "sort", "sort_desc", "minute", "hour", "day_of_week",
    "day_of_month", "day_of_year", "days_in_month", "month", "year", "round",
]

BINARY = [
    "queue_depth + 1.5", "2 ^ (temperature_celsius / 30)", "queue_depth % 7", "10 / queue_depth", "-queue_depth * 2",
    "queue_depth > 20", "queue_depth <= bool 20", "20 < queue_depth", "5 != bool queue_depth", "queue_depth == queue_depth",
    "queue_depth + on(instance, path) queue_depth", "queue_depth atan2 temperature_celsius",
    'queue_depth / on(instance) group_left() temperature_celsius',
    'temperature_celsius * on(instance) group_right(job) queue_depth',
    "queue_depth * on(instance) group_left(version) shop_info",
    'sum by (instance) (rate(requests_total{code="500"}[5m])) / sum by (instance) (rate(requests_total[5m]))',
    'requests_total{code="500"} / ignoring(code) requests_total{code="200"}',
    'requests_total{code="500"} - ignoring(code, path) group_left() sum by (job, instance, tenant) (queue_depth)',
    'queue_depth and on(instance) temperature_celsius > 0', "queue_depth or wave", "queue_depth unless on(path) queue_depth{instance=\"a:80\"}",
    'wave or vector(7)', "vector(1) == vector(1)", "queue_depth >= bool on(instance, path) (queue_depth offset 5m)",
    'shop_info unless shop_info{version="v1"}', "1 + 2 * 3 - 4 ^ 2 ^ 0.5", "2 > bool 1", "time() - timestamp(queue_depth)",
]

OTHER = [
    "topk(3, queue_depth)", "bottomk(2, queue_depth)", "topk by (job) (1, {job=~\"shop|node\", __name__=~\"queue_depth|temperature_celsius\"})",
    "quantile(0.9, queue_depth)", "quantile by (path) (0.25, queue_depth)", "quantile(2, queue_depth)",
    'count_values("value", wave)', 'count_values without (zone) ("value", round(wave / 10))',
    "quantile_over_time(0.5, queue_depth[10m])", "quantile_over_time(0.99, wave[10m])",
    "predict_linear(queue_depth[10m], 3600)", "predict_linear(queue_depth[10m] offset 3m, 600)",
    "histogram_quantile(0.9, rate(latency_seconds_bucket[5m]))",
    "histogram_quantile(0.5, sum by (le) (rate(latency_seconds_bucket[5m])))",
    "histogram_quantile(0.99, sum by (le, path) (increase(latency_seconds_bucket[10m])))",
    "histogram_quantile(1.5, latency_seconds_bucket)", "histogram_quantile(-1, latency_seconds_bucket)",
    "rate(latency_seconds_sum[5m]) / rate(latency_seconds_count[5m])",
    "clamp(queue_depth, -10, 25)", "clamp_min(queue_depth, 0)", "clamp_max(queue_depth, scalar(wave{zone=\"us-1\"}))",
    "clamp(queue_depth, 5, 1)", "round(queue_depth, 0.25)", "round(-queue_depth, 10)",
    'label_replace(queue_depth, "host", "$1", "instance", "(.*):.*")',
    'label_replace(rate(requests_total[5m]), "class", "${1}xx", "code", "(.).*")',
    'label_join(queue_depth, "where", "-", "instance", "path", "nothing")',
    'absent(no_such_metric{a="b", c=~"d"})', 'absent(queue_depth{instance="a:80"})', "absent(sum(no_such_metric))",
    'absent_over_time(no_such_metric{a="b"}[5m])', "vector(time())", "scalar(queue_depth)", 'scalar(wave{zone="us-1"})',
    "time()", "pi() * 2", "minute()", "hour(vector(1e9))", "day_of_week(vector(1.5e9))", "days_in_month(vector(1.7e9))",
    "max_over_time(rate(requests_total[2m])[10m:30s])", "avg_over_time(queue_depth[20m:1m] offset 2m)",
    "sum_over_time((queue_depth > 0)[10m:20s])", "rate(sum by (instance, tenant) (requests_total{code=\"200\"})[10m:1m])",
    "max_over_time(deriv(queue_depth[3m])[15m:45s] @ end())", "last_over_time(wave[30m])", "rate(requests_total[5m] @ start())",
    "sum(rate(requests_total[5m] offset 3m))", "rate(requests_total[5m] offset -3m)",
    "sum without (instance, code) (rate(requests_total[5m]))", "avg by (path, nothing) (queue_depth)",
    "sum by () (queue_depth)", "stddev without (path) (queue_depth)", "max(max_over_time(queue_depth[5m]))",
    "sum(sum by (path) (queue_depth)) - sum(queue_depth)", "count(count by (instance) (requests_total))",
    "sum(wave) by (job)", "avg(avg_over_time(latency_seconds_sum[4m])) by (instance)",
]

WRONG = [
    "rate(queue_depth)", "sum(", "queue_depth{", "sum by (a) by (b) (queue_depth)", "nothing_known(queue_depth)",
    "queue_depth and 1", "1 > 2", "rate(requests_total[0s])", '{job=~".*"}', "histogram_quantile(queue_depth)",
    'label_replace(queue_depth, "path", "", "path", "/.*") + 0', "queue_depth + on(job) queue_depth", "queue_depth[5m] + 1", 'label_replace(queue_depth, "a", "b", "c", "(")',
]


def questions():
    """All queries that have an answer."""
    asked = list(SELECTORS)
    for function in RANGE_FUNCTIONS:
        counter = function in ("rate", "increase", "irate", "resets")
        series = "requests_total" if counter else '{__name__=~"queue_depth|wave", job=~"shop|edge"}'
        if function == "absent_over_time":
            series = 'wave{zone=~"eu-.*"}'
        asked.append(f"{function}({series}[5m])")
        asked.append(f"sum by (instance) ({function}({series}[90s]))")
    for aggregation in AGGREGATIONS:
        asked.append(f"{aggregation}(queue_depth)")
        asked.append(f"{aggregation} by (instance) (requests_total)")
        asked.append(f"{aggregation} without (path, code) (rate(requests_total[3m]))")
    for function in VECTOR_FUNCTIONS:
        asked.append(f"{function}(temperature_celsius / 7)" if function != "timestamp" else "timestamp(queue_depth)")
    return asked + BINARY + OTHER
