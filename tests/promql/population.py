"""Random series as a fleet of applications has them: the same for the same seed.

No sample lies on a whole second, and queries ask at whole seconds, so none lies on the boundary of a range or of the
lookback: there Prometheus 2.42 (closed on the left) and 3 (open) differ.
"""

import random
import struct

INTERVAL_MS = 15_000
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
BOUNDS = ["0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"]
TENANT = {"tenant": "anonymous"}  # What open mode stamps; the peer is given it, so that both have the same labels.


class Population:
    """Series over a time, and what they are made of."""

    def __init__(self, seed, end_ms, minutes=75):
        self.random = random.Random(seed)
        self.start_ms = end_ms - minutes * 60_000
        self.end_ms = end_ms
        self.series = []
        for instance in ("a:80", "b:80", "c:81"):
            for path in ("/orders", "/carts"):
                labels = {"job": "shop", "instance": instance, "path": path}
                self.counter("requests_total", {**labels, "code": "200"}, gaps=True)
                self.counter("requests_total", {**labels, "code": "500"}, resets=True)
                self.gauge("queue_depth", labels, gaps=path == "/carts")
                self.histogram("latency_seconds", labels)
            self.gauge("temperature_celsius", {"job": "node", "instance": instance}, spread=30)
            self.constant("shop_info", {"job": "shop", "instance": instance, "version": f"v{len(self.series) % 3}"})
        self.gauge("wave", {"job": "edge", "zone": "eu-1"}, ends=True)
        self.gauge("wave", {"job": "edge", "zone": "eu-2"}, ends=True)
        self.gauge("wave", {"job": "edge", "zone": "us-1"}, whole=True)
        for number in range(40):
            self.pod(number)
        self.late = self.hold_back()

    def add(self, name, labels, samples):
        self.series.append(({"__name__": name, **TENANT, **labels}, samples))

    def times(self, gaps=False, ends=False):
        """Every 15 s with jitter, never at a whole second; with minutes missing, or with an end in the middle."""
        phase = self.random.randrange(0, INTERVAL_MS)
        time_ms = self.start_ms + phase
        end_ms = self.start_ms + (self.end_ms - self.start_ms) // 2 if ends else self.end_ms
        missing = 0
        while time_ms < end_ms:
            if gaps and missing == 0 and self.random.random() < 0.01:
                missing = self.random.randrange(10, 40)
            if missing:
                missing -= 1
            else:
                jittered = time_ms + self.random.randrange(-900, 900)
                yield jittered + 7 if jittered % 1000 == 0 else jittered
            time_ms += INTERVAL_MS

    def counter(self, name, labels, gaps=False, resets=False):
        # Far from zero where there are gaps: 2.42 extrapolates to a counter's zero differently there.
        value = float(self.random.randrange(10**6, 10**7))
        samples = []
        for time_ms in self.times(gaps):
            if resets and self.random.random() < 0.01:
                value = 0.0
            value += self.random.choice([0, 1, 3, self.random.randrange(0, 500)])
            samples.append((time_ms, value))
        self.add(name, labels, samples)

    def gauge(self, name, labels, gaps=False, ends=False, spread=100, whole=False):
        value = self.random.uniform(-spread, spread)
        samples = []
        for time_ms in self.times(gaps, ends):
            value += self.random.gauss(0, spread / 20)
            samples.append((time_ms, float(round(value)) if whole else value))
        if ends:
            samples.append((samples[-1][0] + INTERVAL_MS, STALE))
        self.add(name, labels, samples)

    def pod(self, number):
        """One of a fleet whose pods are replaced, 5 % an hour: the old series end with a staleness marker."""
        begin_ms, life = self.start_ms, 0
        while begin_ms < self.end_ms:
            end_ms = begin_ms + int(self.random.expovariate(0.05) * 3600_000)
            labels = {"job": "batch", "zone": f"eu-{number % 3}", "pod": f"pod-{number}-{life}"}
            times = [time_ms for time_ms in self.times() if begin_ms <= time_ms < end_ms]
            counted, used = float(self.random.randrange(10**6, 10**7)), self.random.uniform(1e6, 1e8)
            seconds, memory = [], []
            for time_ms in times:
                counted += self.random.uniform(0, 15)
                used *= self.random.uniform(0.95, 1.05)
                seconds.append((time_ms, counted))
                memory.append((time_ms, used))
            if times and end_ms < self.end_ms:
                seconds.append((times[-1] + INTERVAL_MS, STALE))
                memory.append((times[-1] + INTERVAL_MS, STALE))
            self.add("pod_cpu_seconds_total", labels, seconds)
            self.add("pod_memory_bytes", labels, memory)
            begin_ms, life = end_ms, life + 1

    def hold_back(self, share=0.01):
        """The (series, time) of samples that are sent some minutes after their neighbours."""
        return {(at, time_ms) for at, (_, samples) in enumerate(self.series) for time_ms, value in samples[:-1]
                if value == value and self.random.random() < share}

    def constant(self, name, labels):
        self.add(name, labels, [(time_ms, 1.0) for time_ms in self.times()])

    def histogram(self, name, labels):
        counts, total = [0] * len(BOUNDS), 0.0
        rows = []
        for time_ms in self.times():
            for _ in range(self.random.randrange(0, 20)):
                seconds = self.random.lognormvariate(-1.5, 1)
                total += seconds
                for at, bound in enumerate(BOUNDS):
                    counts[at] += seconds <= float(bound)
            rows.append((time_ms, list(counts), total))
        for at, bound in enumerate(BOUNDS):
            self.add(f"{name}_bucket", {**labels, "le": bound}, [(t, float(c[at]) + 10**5 * (at + 1)) for t, c, _ in rows])
        self.add(f"{name}_count", labels, [(t, float(c[-1]) + 10**5 * len(BOUNDS)) for t, c, _ in rows])
        self.add(f"{name}_sum", labels, [(t, total + 10**5) for t, _, total in rows])

    def batches(self, minutes=5):
        """The series cut into slices of time, oldest first; what is held back comes with the next slice but one."""
        begin_ms, waiting = self.start_ms - 60_000, []
        while begin_ms <= self.end_ms + 3 * minutes * 60_000:
            until_ms = begin_ms + minutes * 60_000
            cut = [(at, labels, [s for s in samples if begin_ms <= s[0] < until_ms])
                   for at, (labels, samples) in enumerate(self.series)]
            yield [(labels, in_time) for at, labels, samples in cut
                   if (in_time := [s for s in samples if (at, s[0]) not in self.late])]
            waiting.append([(labels, late) for at, labels, samples in cut
                            if (late := [s for s in samples if (at, s[0]) in self.late])])
            if len(waiting) > 2:
                yield waiting.pop(0)
            begin_ms = until_ms
