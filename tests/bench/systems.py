"""The systems under measure: how each is started, what it used, and how it is brought to rest."""

import collections
import math
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import requests
import yaml

from processes import Process, answers, free_port

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Missing(Exception):
    """A program that is not here."""


class System:
    """A program with a data folder of its own. `start` may come again after `stop` or `kill`."""

    name, ready_path = None, "/-/ready"

    def __init__(self, program, folder):
        found = shutil.which(program)
        if found is None:
            raise Missing(f"{self.name}: no program {program}")
        self.program, self.folder = found, Path(folder)
        self.port = free_port()
        self.process = None
        self.session = requests.Session()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self):
        return self.folder / "data"

    def command(self):
        raise NotImplementedError

    def start(self, prefix=()):
        """Starts it and waits until it is ready; the seconds that took."""
        self.folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        self.process = Process(self.name, [*prefix, *self.command()], self.folder / "log")
        self.process.wait_until(lambda: answers(self.url + self.ready_path), 600, "was not ready")
        return time.monotonic() - began

    def stop(self):
        """SIGTERM, with all the time it needs to write what it holds; the CPU seconds of its whole life."""
        pid = self.process.pid
        os.kill(pid, signal.SIGTERM)
        _, status, usage = os.wait4(pid, 0)
        self.process.child.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime

    def kill(self):
        self.process.kill()

    def clear(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def status_bytes(self, key):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
        return 0

    def peak_rss_bytes(self):
        return self.status_bytes("VmHWM")

    def rss_bytes(self):
        return self.status_bytes("VmRSS")

    def stored_bytes(self):
        """What the samples take on disk once all is in its final form; called while it is stopped."""
        return folder_bytes(self.data)

    def settle(self):
        """Brings what was written into its final form, as far as a running system can be told to."""

    def ask(self, path, **parameters):
        """(seconds, the result) of a query."""
        began = time.perf_counter()
        answer = self.session.get(self.url + path, params=parameters, timeout=300, headers={"Accept-Encoding": "identity"})
        content = answer.content
        took = time.perf_counter() - began
        if answer.status_code != 200:
            raise AssertionError(f"{self.name}: {answer.status_code} {content[:500]} for {parameters}")
        return took, answer.json()["data"]["result"]

    def count(self, expression, time_s):
        """The one value of a query; nothing is 0."""
        found = self.ask("/api/v1/query", query=expression, time=time_s)[1]
        return float(found[0]["value"][1]) if found else 0.0

    def wait_for_count(self, expression, time_s, expected, settle_s=20, seconds=600):
        """Waits until a query counts all that it should: (its value, the seconds that it took).

        What lost some never gets there: then these are the seconds until it counted as many as it still has, or no number
        if it has nothing.
        """
        began = time.monotonic()
        value, grown_s = 0.0, math.nan
        while True:
            waited_s = time.monotonic() - began
            try:
                now = self.count(expression, time_s)
                if now > value:
                    value, grown_s = now, waited_s
                if value >= expected or waited_s > (0 if math.isnan(grown_s) else grown_s) + settle_s:
                    return value, grown_s
            except (requests.RequestException, AssertionError):
                if waited_s > seconds:
                    raise
            time.sleep(0.1)


class Tenantscope(System):
    """Our collector in open mode, everything at its default but for how long it waits before closed windows become blocks,
    and before files that were replaced go."""

    name = "tenantscope"
    config = {"metrics": {"blocks": {"settle": "5s", "late_settle": "10s", "removed_grace": "1s"}}}

    def __init__(self, program, folder):
        super().__init__(program, folder)
        self.ports = {"otlp-grpc": free_port(), "otlp-http": free_port()}

    def command(self):
        config = self.folder / "collector.yaml"
        config.write_text(yaml.safe_dump(self.config))
        command = [self.program, "serve", "--config", config, "--data-dir", self.data, "--http", f"127.0.0.1:{self.port}"]
        for name, port in self.ports.items():
            command += [f"--{name}", f"127.0.0.1:{port}"]
        return command

    def settle(self, seconds=900):
        """Waits until its upkeep leaves the parts as they are: merged, and converted where their windows are closed."""
        seen, since, deadline = None, time.monotonic(), time.monotonic() + seconds
        while time.monotonic() < deadline:
            now = folder_listing(self.data / "metrics")
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > 30:
                return
            time.sleep(1)

    def stored_bytes(self):
        """Without the journal, which is freed as the store takes over what it holds."""
        return folder_bytes(self.data / "metrics")


class Prometheus(System):
    name = "prometheus"

    def command(self):
        config = self.folder / "prometheus.yml"
        config.write_text("global: {scrape_interval: 1m}\n")
        return [self.program, f"--config.file={config}", f"--storage.tsdb.path={self.data}",
                f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver",
                "--storage.tsdb.retention.time=60d", "--query.max-samples=200000000"]

    def stored_bytes(self):
        """Its blocks, scaled to all samples: the newest hours stay in its head, which is no block."""
        blocks = [path.parent for path in self.data.glob("*/meta.json")]
        if not blocks:
            return folder_bytes(self.data)
        in_blocks = sum(yaml.safe_load((block / "meta.json").read_text())["stats"]["numSamples"] for block in blocks)
        return sum(map(folder_bytes, blocks)) / max(in_blocks, 1) * self.samples

    samples = 0


class VictoriaMetrics(System):
    name, ready_path = "victoria-metrics", "/health"

    def command(self):
        return [self.program, f"-storageDataPath={self.data}", f"-httpListenAddr=127.0.0.1:{self.port}",
                "-retentionPeriod=2", "-search.latencyOffset=1ms", "-search.maxUniqueTimeseries=5000000",
                "-search.maxPointsPerTimeseries=100000", "-search.maxQueryDuration=300s"]

    def settle(self):
        """Its own ways to have what is in memory written, and parts merged into their final ones."""
        for path in ("/internal/force_flush", "/internal/force_merge"):
            self.session.get(self.url + path, timeout=600)
        began, seen, since = time.monotonic(), None, time.monotonic()
        while time.monotonic() - began < 300 and time.monotonic() - since < 10:
            now = folder_listing(self.data)
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(1)

    def ask(self, path, **parameters):
        # Its cache of earlier answers would answer all but the first of equal queries.
        return super().ask(path, nocache=1, **parameters)


def files_of(folder):
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            try:
                yield path, os.stat(path).st_size
            except FileNotFoundError:
                continue


def folder_bytes(folder):
    return sum(size for _, size in files_of(folder))


def folder_listing(folder):
    return sorted(files_of(folder))


def fsyncs(system, work):
    """How many times the system asked the disk to make something durable while `work` ran (strace counts)."""
    report = system.folder / "fsyncs"
    strace = shutil.which("strace")
    if strace is None:
        return None
    calls = "fsync,fdatasync,sync_file_range,msync,syncfs,sync"
    tracer = subprocess.Popen([strace, "-f", "-qq", "-e", f"trace={calls}", "-o", str(report), "-p", str(system.process.pid)],
                              stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        if tracer.poll() is not None:
            return None
        work()
    finally:
        tracer.terminate()
        tracer.wait()
    counts = collections.Counter(re.findall(r"^\d+ +(\w+)\(", report.read_text(errors="replace"), re.MULTILINE))
    return sum(counts.values())
