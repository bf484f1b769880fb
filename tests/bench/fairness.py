"""What one tenant can do to the others' acknowledgements: at ten times its limit, or sending garbage as fast as it can.

The others' capacity is found by sending as fast as they are answered; then they send at a part of it, each batch at its
time whether the one before it was answered or not, alone and beside the bully in turn. Every answer is an fsync's. The
bully is a process of its own with connections of its own, and nice 19, since it would be another machine. Ratios are of a
round beside the bully to the round alone before it; told are their medians.
"""

import argparse
import gzip
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent import futures
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "deploy" / "demo" / "fleet"), str(ROOT / "tests")]

import otlp  # noqa: E402  (the path is set above)
import remote_write  # noqa: E402
from collector import Collector  # noqa: E402

NS_MARK, MS_MARK = 0x1122334455667788, 1_111_111_111_111
PROTOBUF = {"Content-Type": "application/x-protobuf"}
OTHERS = 8
GRPC_PATH = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
WAYS = {"otlp_http": "ns", "otlp_grpc": "ns", "remote_write": "ms"}


def literal_snappy(data):
    """Snappy's block form without compression, so that times stay where they stand."""
    chunks = [data[at:at + 65536] for at in range(0, len(data), 65536)]
    return remote_write.varint(len(data)) + b"".join(b"\xf4" + (len(c) - 1).to_bytes(2, "little") + c for c in chunks)


class Way:
    """A way in: how a batch of a tenant goes over it."""

    def __init__(self, name, collector, folder):
        self.name, self.collector, self.folder = name, collector, folder
        self.made = 0

    def batch(self, tenant, series, number):
        if self.name == "remote_write":
            labels = [{"__name__": f"load_{number}", "i": str(i), "instance": f"{tenant}-{i % 10}", "job": "fairness"}
                      for i in range(series)]
            return literal_snappy(remote_write.write_request([(one, [(MS_MARK, 1.5)]) for one in labels]))
        points = [({"i": str(i), "instance": f"{tenant}-{i % 10}", "job": "fairness"}, 1.5, NS_MARK) for i in range(series)]
        return otlp.gauges(f"load_{number}", points, {"service.name": "fairness"}).SerializeToString()

    def garbage(self):
        """(body, encoding): what is no batch, in the ways in which it can be none."""
        bomb = bytes(100 << 20)
        if self.name == "remote_write":
            import cramjam
            return [(b"\xff" * 20_000, "snappy"), (literal_snappy(b"\xff" * 20_000), "snappy"),
                    (bytes(cramjam.snappy.compress_raw(bomb)), "snappy")]
        return [(b"\xff" * 20_000, "gzip"), (b"\xff" * 20_000, "identity"), (gzip.compress(bomb, 9), "gzip"),
                (gzip.compress(b"\x0a\x00" * 5_000_000), "gzip")]

    def sender(self, name, token, bodies, connections, per_second=None, stamp=True, encoding=None):
        headers = {"Authorization": f"Bearer {token}"}
        files = []
        for body in bodies:
            self.made += 1
            path = self.folder / f"{self.name}-{self.made}"
            path.write_bytes(self.message(body, encoding) if self.name == "otlp_grpc" else self.request(body, headers, encoding))
            files.append(str(path))
        port = self.collector.ports["http" if self.name == "remote_write" else self.name]
        made = {"name": name, "address": f"127.0.0.1:{port}", "files": files, "connections": connections,
                "form": "grpc" if self.name == "otlp_grpc" else "http1",
                "per_second": per_second, "ends_in_time": name == "bully", "stamp": WAYS[self.name] if stamp else None}
        if self.name == "otlp_grpc":
            grpc = {"authorization": headers["Authorization"], "grpc-encoding": encoding or "identity"}
            made.update(path=GRPC_PATH, headers=list(grpc.items()))
        return made

    def message(self, body, encoding):
        return bytes([encoding not in (None, "identity")]) + len(body).to_bytes(4, "big") + body

    def request(self, body, headers, encoding):
        if self.name == "remote_write":
            path, headers = "/api/v1/write", {**remote_write.HEADERS, **headers}
        else:
            path, headers = "/v1/metrics", {**PROTOBUF, "Content-Encoding": encoding or "identity", **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {path} HTTP/1.1\r\nHost: load\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


class Load:
    """The program that sends, running."""

    def __init__(self, program, folder, name, senders, seconds, nice=0):
        plan = folder / f"{name}.json"
        plan.write_text(json.dumps({"seconds": seconds, "senders": senders}))
        self.child = subprocess.Popen(["nice", "-n", str(nice), str(program), str(plan)], stdout=subprocess.PIPE, text=True)

    def seen(self):
        out, _ = self.child.communicate()
        if self.child.returncode:
            raise SystemExit("load failed")
        return json.loads(out)


def quantile(micros, part):
    return sorted(micros)[min(len(micros) - 1, int(len(micros) * part))] / 1000 if micros else float("nan")


def summed(seen):
    """Over all senders: latencies in microseconds, counts by status."""
    micros, statuses = [], {}
    for one in seen.values():
        micros += one["accepted_micros"]
        for status, count in one["statuses"].items():
            statuses[status] = statuses.get(status, 0) + count
    return micros, statuses


def token(name):
    return f"token-of-{name}"


def prepare(folder, program, limit):
    tenants = [f"other{i}" for i in range(OTHERS)] + ["bully"]
    account = {name: f"{i + 1:012}" for i, name in enumerate(tenants)}
    collector = Collector(program, folder / "collector", {
        "registry": {"file": "tenants.yaml"},
        "identity": {"tokens": [{"name": name, "token_sha256": hashlib.sha256(token(name).encode()).hexdigest(),
                                 "accounts": [account[name]]} for name in tenants]},
        "limits": {"tiers": {"bully": {"samples_per_second": limit, "samples_burst": limit}}}})
    collector.folder.mkdir(parents=True)
    (collector.folder / "tenants.yaml").write_text(json.dumps({"tenants": [
        {"id": name, "accounts": [account[name]], **({"attributes": {"tier": "bully"}} if name == "bully" else {})}
        for name in tenants]}))
    collector.start()
    return collector


def measure(options, collector, way, folder):
    def others(connections, rate):
        return [way.sender(f"other{i}", token(f"other{i}"), [way.batch(f"other{i}", options.series, n) for n in range(4)],
                           connections, rate and rate / OTHERS) for i in range(OTHERS)]

    def run(name, senders, bully=None):
        with_bully = Load(options.senders, folder, "bully", bully, options.ahead + options.seconds + 1, nice=19) if bully else None
        time.sleep(options.ahead if bully else 0)
        seen = summed(Load(options.senders, folder, "others", senders, options.seconds).seen())
        return seen, summed(with_bully.seen()) if with_bully else None

    warm, _ = run("warm", others(2, None))
    micros, _ = run("capacity", others(2, None))[0]
    capacity = len(micros) / options.seconds
    rate = capacity * options.part
    print(f"{way.name}: capacity {capacity:.0f} batches/s of {options.series} series; the others send {rate:.0f}/s", flush=True)
    good = [way.batch("bully", options.series, n) for n in range(4)]
    at_limit = options.limit / options.series
    bullies = {
        "10 × its limit": lambda: [way.sender("bully", token("bully"), good, 16, 10 * at_limit)],
        "garbage": lambda: [*[way.sender("bully", token("bully"), [body], 4, stamp=False, encoding=encoding)
                              for body, encoding in way.garbage()],
                            way.sender("nobody", "no-token", good, 4)],
    }
    bullies = {name: make() for name, make in bullies.items() if not options.bully or name.startswith(options.bully)}
    alone, beside = others(4, rate), {name: [] for name in bullies}
    figures = {name: [] for name in ("alone", *bullies)}
    for turn in range(options.rounds):
        for name, bully in bullies.items():
            (micros, statuses), _ = run("alone", alone)
            (with_micros, with_statuses), (_, of_bully) = run(name, alone, bully)
            figures["alone"].append(micros)
            figures[name].append(with_micros)
            ratio = [quantile(with_micros, part) / quantile(micros, part) for part in (0.5, 0.99)]
            beside[name].append(ratio)
            print(f"  {turn + 1}. {name}: alone {quantile(micros, .5):.1f}, {quantile(micros, .99):.1f} ms {statuses}; beside it "
                  f"{quantile(with_micros, .5):.1f}, {quantile(with_micros, .99):.1f} ms {with_statuses}; × {ratio[0]:.2f}, "
                  f"{ratio[1]:.2f}; bully {of_bully}; load {os.getloadavg()[0]:.1f}", flush=True)
    of = lambda name, part: statistics.median(quantile(one, part) for one in figures[name])  # noqa: E731
    yield way.name, "alone", of("alone", .5), of("alone", .99), None, None
    for name, ratios in beside.items():
        yield (way.name, name, of(name, .5), of(name, .99),
               *(statistics.median(ratio[at] for ratio in ratios) for at in (0, 1)))


HEAVY = 'sum by (instance) (rate(load[5m])) / on (instance) group_left sum by (instance, job) (count_over_time(load[5m]))'


def rules_beside_queries(options, folder):
    """Seconds that a rule group takes, without anybody and while one reader asks heavy queries in all its places."""
    query = {"query": {"max_concurrent_per_reader": options.per_reader}} if options.per_reader else {}
    collector = Collector(options.collector, folder / "rules", {"rules": ["rules.yaml"], **query})
    collector.folder.mkdir(parents=True)
    rules = [{"record": f"load:rate{i}", "expr": f"sum by (instance) (rate(load[{i + 1}m]))"} for i in range(4)]
    (collector.folder / "rules.yaml").write_text(json.dumps({"groups": [{"name": "g", "interval": "1s", "rules": rules}]}))
    collector.start()

    def of_rules():
        read = collector.own_metric
        return [read("tenantscope_rules_group_duration_seconds_" + end) for end in ("sum", "count")] + [
            read("tenantscope_rules_missed_evaluations_total")]

    def during(seconds):
        before = of_rules()
        time.sleep(seconds)
        took, count, missed = (after - b for after, b in zip(of_rules(), before))
        return took / count if count else float("nan"), count, missed

    def ask(until):
        session, asked = requests.Session(), 0
        while time.monotonic() < until:
            now = time.time()
            session.get(collector.url + "/api/v1/query_range", timeout=150, params={
                "query": HEAVY, "start": now - 600, "end": now, "step": 1}, headers={"X-Scope-OrgID": "acme"})
            asked += 1
        return asked

    try:
        now_ms = time.time_ns() // 1_000_000
        for part in range(10):
            series = [({"__name__": "load", "i": str(i), "instance": str(i % 50), "job": "j"},
                       [(now_ms - 600_000 + at * 15_000, at * 1.5) for at in range(40)]) for i in range(part * 500, part * 500 + 500)]
            answer = remote_write.push(collector.session, collector.url + "/api/v1/write", series, {"X-Scope-OrgID": "acme"})
            assert answer.status_code == 204, answer.text
        during(3)
        for turn in range(options.rounds):
            alone = during(options.seconds)
            with futures.ThreadPoolExecutor(20) as pool:
                asking = [pool.submit(ask, time.monotonic() + options.seconds) for _ in range(20)]
                beside = during(options.seconds)
                asked = sum(one.result() for one in asking)
            print(f"  {turn + 1}. rules: alone {alone[0] * 1000:.0f} ms, {alone[1]:.0f} rounds, {alone[2]:.0f} missed; beside "
                  f"{asked} queries {beside[0] * 1000:.0f} ms, {beside[1]:.0f} rounds, {beside[2]:.0f} missed; "
                  f"× {beside[0] / alone[0]:.2f}; load {os.getloadavg()[0]:.1f}", flush=True)
            yield alone[0], beside[0], beside[2]
    finally:
        collector.stop()


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/run fairness", description=__doc__)
    programs = Path(os.environ.get("TENANTSCOPE_PROGRAMS", ROOT / "target" / "release"))
    parser.add_argument("--collector", type=Path, default=programs / "tenantscope-collector")
    parser.add_argument("--senders", type=Path, default=programs / "examples" / "senders")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("--bully", choices=["10", "garbage"], help="one of the two only")
    parser.add_argument("--rules", action="store_true", help="rules beside one reader's queries as well")
    parser.add_argument("--per-reader", type=int, help="query.max_concurrent_per_reader; default: the collector's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--ahead", type=float, default=3, help="seconds that the bully begins before the others are measured")
    parser.add_argument("--series", type=int, default=50, help="series, and samples, of a batch")
    parser.add_argument("--limit", type=int, default=1000, help="the bully's samples_per_second")
    parser.add_argument("--part", type=float, default=0.7, help="the part of the others' capacity that they use")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="fairness-") as folder:
        folder = Path(folder)
        for name in options.ways:
            collector = prepare(folder / name, options.collector, options.limit)
            try:
                rows += measure(options, collector, Way(name, collector, folder), folder)
            finally:
                collector.stop()
        rounds = list(rules_beside_queries(options, folder)) if options.rules else []
    print("\n| way in | beside | p50, ms | p99, ms | × p50 | × p99 |\n|---|---|---:|---:|---:|---:|")
    for way, name, p50, p99, *ratios in rows:
        shown = ["–" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        print(f"| {way} | {name} | {p50:.1f} | {p99:.1f} | {shown[0]} | {shown[1]} |")
    if rounds:
        alone, beside = (statistics.median(one[at] for one in rounds) for at in (0, 1))
        print(f"\na rule group of four: {alone * 1000:.0f} ms alone, {beside * 1000:.0f} ms beside a reader with all its places "
              f"full, {sum(one[2] for one in rounds):.0f} of its times missed")


if __name__ == "__main__":
    main()
