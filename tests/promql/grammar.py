"""Random queries over the functions whose meaning did not change between Prometheus 2.42 and 3.

What changed, or hangs on the last bit of a float, is left out: subqueries in subqueries (their steps lie on boundaries),
rounding and equality of what was computed, ties in `topk`, names of metrics as labels of what was computed (a filter that
compares two vectors keeps the name of a left side that has none any more), `predict_linear` at a fixed time, variances of
infinities, names that are UTF-8.
"""

# metric -> the labels that its series differ in (beside the metric's name)
COUNTERS = {"requests_total": ["instance", "path", "code"], "pod_cpu_seconds_total": ["pod", "zone"]}
GAUGES = {"queue_depth": ["instance", "path"], "temperature_celsius": ["instance"], "pod_memory_bytes": ["pod", "zone"]}
OTHERS = {"shop_info": ["instance", "version"], "wave": ["zone"], "latency_seconds_count": ["instance", "path"],
          "latency_seconds_sum": ["instance", "path"], "latency_seconds_bucket": ["instance", "path", "le"]}
METRICS = {**COUNTERS, **GAUGES, **OTHERS}
MATCHERS = {
    "instance": ['instance="a:80"', 'instance!="b:80"', 'instance=~"a.*|c.*"', 'instance!~".*:80"', 'instance=~".+"',
                 r'instance=~"\\w:\\d+"', r'instance!~"(?i)A:\\d{2}"', 'instance=~"[[:alpha:]]:8[^1]"', r'instance=~"\\Qa:80\\E|x{,3}"'],
    "path": ['path="/orders"', 'path!="/orders"', 'path=~"/c.*"', r'path=~"\\W\\w+"', 'path!~"(/carts)?"', 'path=~"^/(?P<x>o).*s$"'],
    "code": ['code="500"', 'code!="500"', 'code=~"4..|5.."', r'code=~"\\d{3}"', r'code!~"[2-4]\\d\\d"', 'code=~"(?:5|6)0*"', 'code=~"|200"'],
    "pod": ['pod=~"pod-1.*"', 'pod!~"pod-[0-4].*"', 'pod=~"pod-(3|7)-0"', 'pod!=""', r'pod=~"pod-\\d{1,2}-[0-9]+"',
            r'pod!~`.*\b1\d?-.*`', 'pod=~"(pod-1.?.?|pod-2.*)"'],
    "zone": ['zone="eu-1"', 'zone=~"eu-.*"', 'zone!="eu-1"', 'zone=~"(?i:EU)-[1-9&&]"', r'zone!~"\\p{Ll}+-2"'],
    "version": ['version!="v1"', 'version=~"v[01]"', r'version=~"v\\d??"'],
    "le": ['le="+Inf"', 'le=~"0.*"', 'le!="0.1"', r'le=~"[0-9]+(\\.[0-9]+)?"', r'le!~"\\+Inf"'],
}
ALWAYS = ['job!=""', 'tenant="anonymous"', 'nothing=""', 'job=~"shop|node|edge|batch"']
COUNTER_FUNCTIONS = ["rate", "increase", "irate"]
GAUGE_FUNCTIONS = ["delta", "idelta", "deriv"]
RANGE_FUNCTIONS = ["sum_over_time", "avg_over_time", "min_over_time", "max_over_time", "count_over_time", "last_over_time",
                   "present_over_time", "stddev_over_time", "stdvar_over_time"]
RAW_FUNCTIONS = ["changes", "resets"]
ONE_TO_ONE = ["abs", "sgn", "-"]
ROUNDING = ["ceil", "floor", "round"]
BOUNDED = ["sin", "cos", "tanh", "atan", "sinh", "cosh", "asinh", "exp", "rad", "deg"]
POSITIVE = ["sqrt", "ln", "log2", "log10"]
DATES = ["minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"]
AGGREGATIONS = ["sum", "sum", "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]
COMPARISONS = [">", "<", ">=", "<=", "!="]
RANGES = ["45s", "1m", "90s", "2m", "5m", "5m", "10m", "17m", "30m", "1h"]
OFFSETS = ["30s", "1m", "3m", "7m", "20m", "-1m", "-4m"]
SUBQUERIES = ["[5m:30s]", "[10m:1m]", "[10m:45s]", "[20m:1m]", "[6m:20s]"]
WRONG = 0.06


class Grammar:
    """A stream of queries; the same for the same seed."""

    def __init__(self, chance, end_s):
        self.chance, self.end_s = chance, end_s
        self.in_subquery = False

    def query(self):
        """(expression, whether it is meant to be wrong)"""
        if self.chance.random() < WRONG:
            return self.wrong(), True
        if self.chance.random() < 0.05:
            return self.scalar(), False
        return self.vector(self.chance.choice([1, 2, 2, 3, 3])), False

    def pick(self, *choices):
        return self.chance.choice(choices)()

    def one_of(self, choices):
        return self.chance.choice(list(choices))

    # Selectors

    def matchers(self, metric):
        chosen = [self.one_of(MATCHERS[label]) for label in METRICS[metric] if self.chance.random() < 0.3]
        if self.chance.random() < 0.15:
            chosen.append(self.one_of(ALWAYS))
        return "{" + ", ".join(chosen) + "}" if chosen else ""

    def modifiers(self, fixed=0.08):
        parts = []
        if self.chance.random() < 0.15:
            parts.append("offset " + self.one_of(OFFSETS))
        if self.chance.random() < fixed:
            at = self.one_of(["start()", "end()", str(self.end_s - 60 * self.chance.randrange(0, 50))])
            parts.append("@ " + at)
        self.chance.shuffle(parts)
        return "".join(" " + part for part in parts)

    def selector(self, metrics=METRICS, window="", fixed=0.08):
        metric = self.one_of(metrics)
        return metric + self.matchers(metric) + window + self.modifiers(fixed)

    def window(self):
        return "[" + self.one_of(RANGES) + "]"

    # Instant vectors

    def vector(self, depth):
        if depth <= 0:
            return self.pick(self.selector, self.over_time, self.over_time)
        return self.pick(
            self.selector, self.over_time, self.over_time, self.over_time, lambda: self.aggregation(depth),
            lambda: self.aggregation(depth), lambda: self.aggregation(depth), lambda: self.function(depth),
            lambda: self.arithmetic(depth), lambda: self.arithmetic(depth), lambda: self.matching(depth),
            lambda: self.set_operation(depth), lambda: self.comparison(depth), lambda: self.subquery(depth), self.top,
            self.histogram, self.relabelled, self.absent, lambda: f"({self.vector(depth - 1)})")

    def over_time(self):
        return self.pick(
            lambda: f"{self.one_of(COUNTER_FUNCTIONS)}({self.selector(COUNTERS, self.window())})",
            lambda: f"{self.one_of(COUNTER_FUNCTIONS)}({self.selector(COUNTERS, self.window())})",
            lambda: f"{self.one_of(GAUGE_FUNCTIONS)}({self.selector(GAUGES, self.window())})",
            lambda: f"{self.one_of(RANGE_FUNCTIONS)}({self.selector(METRICS, self.window())})",
            lambda: f"{self.one_of(RAW_FUNCTIONS)}({self.selector(METRICS, self.window())})",
            lambda: f"quantile_over_time({self.one_of(['0', '0.25', '0.5', '0.99', '1'])}, {self.selector(GAUGES, self.window())})",
            lambda: f"predict_linear({self.selector(GAUGES, self.window(), fixed=0)}, {self.one_of(['60', '3600', '-600'])})")

    def grouping(self):
        labels = self.chance.sample(["instance", "path", "code", "pod", "zone", "job", "version", "nothing"],
                                    self.chance.randrange(0, 4))
        return f"{self.one_of(['by', 'without'])} ({', '.join(labels)})"

    def aggregation(self, depth):
        name = self.one_of(AGGREGATIONS)
        inner = self.vector(0 if name.startswith("std") else depth - 1)
        shape = self.chance.randrange(4)
        if shape == 0:
            return f"{name}({inner})"
        if shape == 1:
            return f"{name}({inner}) {self.grouping()}"
        if self.chance.random() < 0.1:
            return f"quantile {self.grouping()} ({self.one_of(['0', '0.1', '0.5', '0.9', '1'])}, {inner})"
        return f"{name} {self.grouping()} ({inner})"

    def function(self, depth):
        return self.pick(
            lambda: f"{self.one_of(ONE_TO_ONE)}({self.vector(depth - 1)})",
            lambda: f"{self.one_of(ROUNDING)}({self.selector(GAUGES)})",
            lambda: f"round({self.selector(GAUGES)}, {self.one_of(['0.25', '10', '3'])})",
            lambda: f"{self.one_of(BOUNDED)}({self.selector({'temperature_celsius': 0})} / 11)",
            lambda: f"{self.one_of(POSITIVE)}({self.selector(COUNTERS)})",
            lambda: f"timestamp({self.selector()})",
            lambda: f"{self.one_of(DATES)}({self.selector(COUNTERS)} * 1000)",
            lambda: f"clamp({self.vector(depth - 1)}, {self.one_of(['-10', '0', '1'])}, {self.one_of(['2', '1e3', '1e7'])})",
            lambda: f"clamp_min({self.vector(depth - 1)}, {self.number()})",
            lambda: f"clamp_max({self.vector(depth - 1)}, {self.number()})",
            lambda: f"{self.one_of(['sort', 'sort_desc'])}({self.vector(depth - 1)})",
            lambda: f"vector({self.scalar()})")

    def top(self):
        # Of what has no equals; a tie may be broken either way.
        inner = self.pick(lambda: self.selector({"queue_depth": 0, "temperature_celsius": 0}),
                          lambda: f"avg_over_time({self.selector({'queue_depth': 0, 'pod_memory_bytes': 0}, self.window())})")
        by = self.one_of(["", "by (job) ", "by (path) ", "without (instance, pod) "])
        return f"{self.one_of(['topk', 'bottomk'])} {by}({self.one_of(['1', '2', '5', '0'])}, {inner})"

    def histogram(self):
        quantile = self.one_of(["0", "0.1", "0.5", "0.9", "0.99", "1", "-1", "2"])
        buckets = "latency_seconds_bucket" + self.one_of(["", '{path="/orders"}', '{instance!="c:81"}'])
        rate = f"{self.one_of(['rate', 'increase'])}({buckets}{self.one_of(['[5m]', '[10m]', '[17m]'])}{self.one_of(['', '', ' offset 4m'])})"
        inner = self.one_of([buckets, rate, rate, f"sum by (le) ({rate})", f"sum by (le, path) ({rate})", f"sum without (instance) ({rate})"])
        return f"histogram_quantile({quantile}, {inner})"

    def relabelled(self):
        return self.pick(
            lambda: f'label_replace({self.vector(0)}, "host", "$1-x", "instance", "(.):.*")',
            lambda: f'label_replace({self.vector(0)}, "path", "", "path", "/.*")',
            lambda: f'label_replace({self.vector(0)}, "host", "${{p}}${{h}}$3", "instance", "(?P<h>\\\\w):(?P<p>\\\\d+)")',
            lambda: f'label_join({self.vector(0)}, "where", "/", "instance", "path", "pod")')

    def absent(self):
        return self.pick(
            lambda: f"absent({self.selector()})",
            lambda: f'absent(no_such_metric{{instance="x", code=~"5..", path="{self.one_of("ab")}"}})',
            lambda: f"absent_over_time({self.selector({'wave': 0, 'pod_memory_bytes': 0}, '[5m]')})")

    def subquery(self, depth):
        if self.in_subquery:
            return self.vector(0)
        self.in_subquery = True
        inner, raw = self.vector(depth - 1), self.selector()
        self.in_subquery = False
        functions = [f for f in RANGE_FUNCTIONS if not f.startswith("std")]
        window = self.one_of(SUBQUERIES) + self.one_of(["", "", "", " offset 2m", " @ end()"])
        return self.pick(lambda: f"{self.one_of(functions)}(({inner}){window})",
                         lambda: f"{self.one_of(RAW_FUNCTIONS + functions)}({raw}{window})")

    # Binary operations

    def number(self):
        return self.one_of(["0", "1", "2.5", "-3", "100", "1e6", "0.001", "+Inf", "-Inf", "0x1F"])

    def operand(self, depth):
        return f"({self.vector(depth - 1)})"

    def arithmetic(self, depth):
        operator = self.one_of(["+", "-", "*", "/"])
        left, right = self.operand(depth), self.pick(self.number, self.number, lambda: f"({self.scalar()})")
        return self.one_of([f"{left} {operator} {right}", f"{right} {operator} {left}",
                            f"{self.selector(GAUGES)} % {self.one_of(['7', '2.5', '-3'])}"])

    def matching(self, depth):
        # Both sides are sums by the same labels, or of one metric, or one has the labels of the other and more.
        computed = self.one_of(["+", "-", "*", "/", "> bool", "< bool", ">= bool"])
        operator = self.one_of([computed, computed, ">", "<="])
        labels = self.one_of(["instance", "path", "instance, path", "job", "zone"])
        left, right = self.vector(depth - 1), self.vector(depth - 1)
        bounded = self.one_of(["avg", "min", "max"])
        return self.pick(
            lambda: f"sum by ({labels}) ({left}) {operator} {bounded} by ({labels}) ({right})",
            lambda: f"sum by ({labels}) ({left}) {operator} on ({labels}) max by ({labels}) ({right})",
            lambda: f"{self.selector({'queue_depth': 0})} {operator} on (instance) group_left () {self.selector({'temperature_celsius': 0})}",
            lambda: f"{self.over_time()} {computed} on (instance) group_left (version) shop_info",
            lambda: f"{self.selector({'temperature_celsius': 0})} {operator} on (instance) group_right (job) {self.selector({'queue_depth': 0})}",
            lambda: f'rate(requests_total{{code="500"}}[5m]) {computed} ignoring (code) rate(requests_total{{code="200"}}[5m])',
            lambda: f"{left} {computed} {right}")

    def set_operation(self, depth):
        labels = self.one_of(["instance", "path", "job", "zone, job", ""])
        how = self.one_of(["", "", f" on ({labels})", f" ignoring ({labels})"])
        return f"{self.operand(depth)} {self.one_of(['and', 'or', 'unless'])}{how} {self.operand(depth)}"

    def comparison(self, depth):
        operator = self.one_of(COMPARISONS)
        number = self.one_of(["0.0123", "1.7", "33.31", "-7.77", "1e5", "3456789.1"])
        bool_ = self.one_of(["", "", " bool"])
        return self.one_of([f"{self.operand(depth)} {operator}{bool_} {number}", f"{number} {operator}{bool_} {self.operand(depth)}",
                            f"{self.selector(GAUGES)} {self.one_of(COMPARISONS + ['=='])}{bool_} {self.selector(GAUGES)}"])

    def scalar(self):
        return self.pick(
            self.number, lambda: "time()", lambda: "pi()", lambda: f"{self.number()} + {self.one_of(['2', '0.5'])} * 3 ^ 2",
            lambda: 'scalar(wave{zone="us-1"})', lambda: "scalar(queue_depth)", lambda: f"scalar(sum({self.selector()}))",
            lambda: f"1 {self.one_of(COMPARISONS)} bool {self.number()}", lambda: "-time() / 1e3", lambda: "scalar(vector(1)) % 0.3")

    # What is wrong, in both

    def wrong(self):
        inner, raw = self.vector(1), self.selector()
        return self.one_of([
            f"sum({inner}", f"sum by (instance ({inner})", f"({inner}))", f"rate({raw})", f"{inner} and 1", f"1 unless {inner}", "1 > 2",
            f"no_such_function({inner})", f"histogram_quantile({inner})", f"sum({inner}, {inner})", f"topk({inner})",
            f"abs({inner}, 1)", f'abs("{raw[:5]}")', "{}", '{job=~".*"}', f"{raw} offset", f"{raw} @ foo", f"{inner} +", f"* {inner}",
            f'label_replace({inner}, "a", "b", "c", "(")',
            'wave{zone=~"a**"}', 'wave{zone=~"a)|(b"}', 'wave{zone!~"[z-a]"}', r'wave{zone=~"\\1"}', 'wave{zone=~"x{1001}"}',
            "queue_depth + on (job) queue_depth", "queue_depth * on (job) group_left () queue_depth",
            'label_replace(queue_depth, "path", "", "path", "/.*")', "requests_total / ignoring (code) requests_total",
            f"sum({self.one_of(METRICS)}[5m])", f"{self.one_of(METRICS)}[5m] + 1", f"scalar({self.number()})", "vector(queue_depth)",
            f'{raw} == "text"', f'count_values(0.5, {raw})', f"{inner} if {inner}",
            f"sum by (1) ({inner})", f"{raw}{{", f"-{raw[:4]}(", f"quantile({inner})", f"{inner} or on () group_left () {inner}",
            f"{raw} bool {raw}", f"1 + bool 2", f"round({inner}, {raw})", f"time({inner})", "sum by (a) by (b) (queue_depth)",
            f"max_over_time({self.one_of(GAUGES)})", f"deriv({self.number()})", f'"{self.one_of("abc")}" + 1'])
