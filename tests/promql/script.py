"""Prometheus's test scripts (promql/promqltest/README.md in its repository), read and judged.

The same language is read by the engine's own runner (collector/promql/examples/promqltest); this one is for a server that
takes remote write and answers Prometheus's HTTP API.
"""

import math
import re
import struct
from dataclasses import dataclass, field

STALE = 0x7FF0000000000002
TOLERANCE = 1e-6
UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}
NUMBER = r"[-+]?(?:[nN]a[nN]|[iI]nf|\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)"


def duration_ms(text):
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return round(float(text) * 1000)
    sign = -1 if text.startswith("-") else 1
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    assert "".join(number + unit for number, unit in parts) == text.lstrip("+-"), text
    return sign * sum(int(number) * UNITS[unit] for number, unit in parts)


def unquoted(text):
    if text[0] == "`":
        return text[1:-1]
    return text[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")


QUOTED = r'"(?:\\.|[^"\\])*"|' + r"'(?:\\.|[^'\\])*'|`[^`]*`"
LABEL = re.compile(rf"\s*({QUOTED}|[A-Za-z_:][\w:.]*)\s*(?:=\s*({QUOTED}))?\s*,?")


def metric(text):
    """(labels, the rest of the line)"""
    labels = {}
    name = re.match(r"[A-Za-z_:][\w:]*", text)
    if name:
        labels["__name__"] = name.group()
        text = text[name.end():]
    if re.match(r"\s*\{(?!\{)", text):
        text = text.lstrip()[1:]
        while not text.lstrip().startswith("}"):
            found = LABEL.match(text)
            assert found and found.end(), text
            key = unquoted(found[1]) if found[1][0] in "\"'`" else found[1]
            if found[2] is None:
                labels["__name__"] = key
            else:
                labels[key] = unquoted(found[2])
            text = text[found.end():]
        text = text.lstrip()[1:]
    return {key: value for key, value in labels.items() if value}, text.strip()


@dataclass
class Histogram:
    schema: int = 0
    sum: float = 0.0
    count: float = 0.0
    zero: float = 0.0
    zero_width: float = 0.0
    positive: dict = field(default_factory=dict)
    negative: dict = field(default_factory=dict)
    bounds: list = field(default_factory=list)
    hint: str = "unknown"

    @staticmethod
    def parse(text):
        made, sides = Histogram(), {"buckets": [], "n_buckets": []}
        offsets = {"buckets": 0, "n_buckets": 0}
        for key, value in re.findall(r"([a-z_]+):\s*(\[[^\]]*\]|\S+)", text):
            numbers = [float(one) for one in value.strip("[]").split()] if value.startswith("[") else None
            if key in sides:
                sides[key] = numbers
            elif key in ("offset", "n_offset"):
                offsets["buckets" if key == "offset" else "n_buckets"] = int(value)
            elif key == "custom_values":
                made.bounds = numbers
            elif key == "counter_reset_hint":
                made.hint = value
            else:
                name = {"z_bucket": "zero", "z_bucket_w": "zero_width"}.get(key, key)
                setattr(made, name, int(value) if key == "schema" else float(value))
        made.positive = {offsets["buckets"] + at: count for at, count in enumerate(sides["buckets"])}
        made.negative = {offsets["n_buckets"] + at: count for at, count in enumerate(sides["n_buckets"])}
        return made

    def plus(self, other, sign):
        coarser = other.schema - self.schema

        def both(a, b):
            sums = dict(a)
            for key, count in b.items():
                key = ((key - 1) >> coarser) + 1
                sums[key] = sums.get(key, 0.0) + sign * count
            return sums

        assert coarser >= 0 and self.bounds == other.bounds and self.zero_width >= other.zero_width
        hint = self.hint if self.hint == other.hint else "gauge" if "gauge" in (self.hint, other.hint) else "unknown"
        return Histogram(self.schema, self.sum + sign * other.sum, self.count + sign * other.count,
                         self.zero + sign * other.zero, self.zero_width, both(self.positive, other.positive),
                         both(self.negative, other.negative), self.bounds, hint)

    def bound(self, index):
        if self.schema == -53:
            return -math.inf if index < 0 else self.bounds[index] if index < len(self.bounds) else math.inf
        exponent = index / 2.0 ** self.schema
        return 2.0 ** exponent if exponent < 1024 else 1.7976931348623157e308

    def buckets(self):
        """(lower, upper, count) of the populated buckets, as the API gives them."""
        def outside(bound):
            return max(bound, self.zero_width) if 0 < bound else bound

        positive = [(outside(self.bound(at - 1)), self.bound(at), count) for at, count in self.positive.items()]
        negative = [(-self.bound(at), -outside(self.bound(at - 1)), count) for at, count in self.negative.items()]
        zero = [(-self.zero_width, self.zero_width, self.zero)] if self.zero > 0 else []
        return [bucket for bucket in sorted(negative) + zero + positive if bucket[2]]


def points(text):
    """Values in order: None, a float (or STALE), a Histogram."""
    made = []
    for token in re.findall(r"\{\{.*?\}\}(?:[-+]\{\{.*?\}\})?(?:x\d+)?|\S+", text):
        if token.startswith("{{"):
            first, sign, step, times = re.fullmatch(r"\{\{(.*?)\}\}(?:([-+])\{\{(.*?)\}\})?(?:x(\d+))?", token).groups()
            current = Histogram.parse(first)
            made.append(current)
            for _ in range(int(times or 0)):
                current = current.plus(Histogram.parse(step), 1 if sign == "+" else -1) if sign else current
                made.append(current)
        elif token.startswith("_"):
            made += [None] * int(token[2:] or 1)
        elif token.startswith("stale"):
            made += [STALE] * (int(token[6:] or 0) + 1)
        else:
            first, step, times = re.fullmatch(rf"({NUMBER})(?:([-+]{NUMBER[5:]}))?(?:x(\d+))?", token).groups()
            current = float(first)
            made.append(current)
            for _ in range(int(times or 0)):
                current += float(step or 0) if step else 0.0
                made.append(current)
    return made


def starts(text):
    made = []
    for item in text.split():
        if item.startswith("_"):
            made += [None] * int(item[2:] or 1)
            continue
        item, _, times = item.partition("x")
        first, step = re.fullmatch(r"([-+]?[^-+]+)([-+].+)?", item).groups()
        for at in range(int(times or 0) + 1):
            made.append(duration_ms(first) + at * duration_ms(step or "0"))
    return made


@dataclass
class Loaded:
    labels: dict
    points: list
    starts: list
    interval_ms: int


@dataclass
class Eval:
    line: int
    query: str
    at_ms: int = None
    times_ms: tuple = None
    expects: list = field(default_factory=list)
    scalar: float = None
    text: str = None
    range_ms: tuple = None
    series: list = field(default_factory=list)


def parse(text):
    """Parts of a script: each a list of loads (lists of Loaded) and Evals that see the same data."""
    lines = ["" if line.strip().startswith("#") else line.strip() for line in text.splitlines()]
    parts, at = [[]], 0
    while at < len(lines):
        line, number = lines[at], at + 1
        at += 1
        if not line:
            continue
        word = line.split()[0]
        if word == "clear":
            parts.append([])
            continue
        block = []
        while at < len(lines) and lines[at]:
            block.append(lines[at])
            at += 1
        parts[-1].append(load(line, block) if word.startswith("load") else evaluation(line, number, word, block))
    return [part for part in parts if part]


def load(line, block):
    word, interval = line.split()[:2]
    found, of_next = {}, []
    for entry in block:
        head, _, rest = entry.partition(" ")
        if head.endswith("@st"):
            of_next = starts(rest)
            continue
        labels, values = metric(entry)
        found[tuple(sorted(labels.items()))] = Loaded(labels, points(values), of_next, duration_ms(interval))
        of_next = []
    loaded = list(found.values())
    return loaded + (with_custom_buckets(loaded) if word.endswith("with_nhcb") else [])


def with_custom_buckets(loaded):
    classics = {}
    for one in loaded:
        name = one.labels.get("__name__", "")
        suffix = next((suffix for suffix in ("_bucket", "_count", "_sum") if name.endswith(suffix)), None)
        if suffix is None:
            continue
        labels = {**one.labels, "__name__": name.removesuffix(suffix)}
        bound = labels.pop("le", None)
        _, by_time = classics.setdefault(tuple(sorted(labels.items())), (labels, {}))
        for at, value in enumerate(one.points):
            if isinstance(value, float) and (suffix != "_bucket" or bound is not None):
                key = (suffix, float(bound)) if suffix == "_bucket" else suffix
                by_time.setdefault(at, {})[key] = value
    return [converted(labels, by_time, loaded[0].interval_ms) for labels, by_time in classics.values()]


def converted(labels, by_time, interval_ms):
    values = [None] * (max(by_time) + 1)
    for at, part in by_time.items():
        buckets = sorted((key[1], count) for key, count in part.items() if isinstance(key, tuple))
        total = part.get("_count", buckets[-1][1] if buckets else 0.0)
        if not buckets or buckets[-1][0] != math.inf:
            buckets.append((math.inf, total))
        counts, below = {}, 0.0
        for index, (_, cumulative) in enumerate(buckets):
            counts[index], below = cumulative - below, cumulative
        bounds = [bound for bound, _ in buckets if bound != math.inf]
        values[at] = Histogram(-53, part.get("_sum", 0.0), total, positive=counts, bounds=bounds)
    return Loaded(labels, values, [], interval_ms)


def evaluation(line, number, word, block):
    instant = re.fullmatch(r"eval\w*\s+instant\s+at\s+(\S+)\s+(.+)", line)
    over = re.fullmatch(r"eval\w*\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)", line)
    made = Eval(number, (instant or over).group((instant or over).lastindex))
    if instant:
        made.at_ms = duration_ms(instant[1])
    else:
        made.times_ms = tuple(duration_ms(over[group]) for group in (1, 2, 3))
    if word != "eval":
        made.expects.append((word.removeprefix("eval_"), None, ""))
    for entry in block:
        expect = re.fullmatch(r"expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?", entry)
        vector = re.fullmatch(r"expect range vector from (\S+) to (\S+) step (\S+)", entry)
        if vector:
            made.range_ms = tuple(duration_ms(vector[group]) for group in (1, 2, 3))
            made.at_ms = made.range_ms[1]
        elif entry.startswith("expect string "):
            made.text = unquoted(entry.removeprefix("expect string "))
        elif expect:
            made.expects.append((expect[1], expect[2], (expect[3] or "").strip()))
        elif entry.startswith("expected_fail_message"):
            made.expects = [("fail", "msg", entry.split(maxsplit=1)[1])]
        elif entry.startswith("expected_fail_regexp"):
            made.expects = [("fail", "regex", entry.split(maxsplit=1)[1])]
        elif re.fullmatch(NUMBER, entry):
            made.scalar = float(entry)
        else:
            labels, values = metric(entry)
            made.series.append((labels, points(values)))
    return made


def close(a, b):
    if a == b or (math.isnan(a) and math.isnan(b)):
        return True
    if math.isinf(a) or math.isinf(b) or math.isnan(a) or math.isnan(b):
        return False
    size, least = abs(a) + abs(b), 2.2250738585072014e-308
    if a == 0 or b == 0 or size < least:
        return abs(a - b) < TOLERANCE * least
    return abs(a - b) / min(size, 1.7976931348623157e308) < TOLERANCE


def same(expected, got):
    """Whether a value of the API (a text, or a histogram) is the expected one."""
    if isinstance(expected, Histogram) != isinstance(got, dict):
        return False
    if not isinstance(expected, Histogram):
        return close(expected, float(got))
    buckets = [tuple(float(one) for one in bucket[1:]) for bucket in got.get("buckets", [])]
    wanted = expected.buckets()
    return (close(expected.count, float(got["count"])) and close(expected.sum, float(got["sum"]))
            and len(buckets) == len(wanted)
            and all(close(a, b) for pair in zip(wanted, buckets) for a, b in zip(*pair)))


def float_bits(value):
    return struct.pack("<Q", value) if isinstance(value, int) else struct.pack("<d", value)
