"""What is measured, one function a stage. Each gives {system: {what: figure}}; rounds alternate between the systems."""

import statistics
import time

import dashboard
from fleet import SERIES_PER_POD, Fleet
from systems import fsyncs
from tape import Tape
from values import Values

CHURN_PER_HOUR = 0.05
MILLION = 1e6
FSYNC_SAMPLES = 1_000_000


class Recorder:
    """A fleet that goes on from tape to tape."""

    def __init__(self, folder, series, seed, say):
        self.folder, self.say = folder, say
        self.fleet = Fleet(series, CHURN_PER_HOUR, seed)
        self.values = Values(len(self.fleet.pods), seed)

    def tape(self, name):
        path = self.folder / f"{name}.tape"
        path.unlink(missing_ok=True)
        return Tape(path)

    def record(self, tape, end_ms, steps, interval_s, slice_steps=1):
        began = time.monotonic()
        tape.record(self.fleet, self.values, end_ms - steps * interval_s * 1000, steps, interval_s, slice_steps)
        self.say(f"recorded {tape.samples / MILLION:.1f} M samples of {self.fleet.series_ever} series, "
                 f"{tape.bytes_recorded() / MILLION:.0f} MB, in {time.monotonic() - began:.0f} s")
        return tape


def now_ms():
    return int(time.time()) * 1000


def medians(rounds):
    """The median of each figure over the rounds."""
    keys = dict.fromkeys(key for one in rounds for key in one)
    return {key: statistics.median([one[key] for one in rounds if one.get(key) is not None] or [float("nan")]) for key in keys}


def ingest(systems, recorder, samples, rounds, interval_s, say):
    """CPU, memory and disk of taking the samples by remote write, into an empty store each time; a restart after kill -9."""
    steps = max(1, samples // recorder.fleet.series)
    tape = recorder.record(recorder.tape("ingest"), now_ms(), steps, interval_s)
    measured = {system.name: [] for system in systems}
    for number in range(rounds):
        for system in systems if number % 2 == 0 else reversed(systems):
            figures = one_ingest(system, tape, recorder.fleet, kill=number == rounds - 1)
            measured[system.name].append(figures)
            say(f"ingest round {number + 1} {system.name}: " + ", ".join(f"{k} {v:.3g}" for k, v in figures.items()))
    results = {name: medians(rounds) for name, rounds in measured.items()}
    for system in systems:
        system.clear()
        system.start()
        count = fsyncs(system, lambda: tape.play(system.port, samples=FSYNC_SAMPLES))
        system.kill()
        if count is not None:
            results[system.name]["fsyncs per M samples"] = count * MILLION / min(FSYNC_SAMPLES, tape.samples)
        system.clear()
    tape.path.unlink()
    return results


def one_ingest(system, tape, fleet, kill):
    system.clear()
    system.start()
    time.sleep(1)
    before_s, idle_bytes = system.cpu_seconds(), system.rss_bytes()
    seconds, put_off = tape.play(system.port)
    sent_s = system.cpu_seconds()
    figures = {
        "ingest CPU s/M samples": (sent_s - before_s) * MILLION / tape.samples,
        "ingest M samples/s": tape.samples / MILLION / seconds,
        "peak RSS MiB": system.peak_rss_bytes() / 2**20,
        "RSS bytes/series over idle": (system.rss_bytes() - idle_bytes) / fleet.series,
        "requests put off": put_off,
    }
    if kill:
        system.kill()
        began = time.monotonic()
        system.start()
        started_s = time.monotonic() - began
        sent = tape.samples / SERIES_PER_POD
        kept, waited_s = system.wait_for_count("sum(count_over_time(up[1d]))", tape.end_ms / 1000, sent)
        figures["restart after kill -9, s"] = started_s + waited_s
        figures["kept after kill -9, %"] = kept * SERIES_PER_POD / tape.samples * 100
        figures["peak RSS after kill -9, MiB"] = system.peak_rss_bytes() / 2**20
        system.stop()
    else:
        figures["CPU s/M samples until stopped"] = (system.stop() - before_s) * MILLION / tape.samples
    figures["disk after ingest MB"] = system.stored_bytes() / MILLION
    return figures


def disk(systems, recorder, hours, interval_s, ended_hours_ago, say):
    """Bytes per sample of a day that ended long enough ago to be in its final form."""
    end_ms = now_ms() - int(ended_hours_ago * 3600_000)
    tape = recorder.record(recorder.tape("disk"), end_ms, int(hours * 3600 / interval_s), interval_s, slice_steps=10)
    results = {}
    for system in systems:
        system.clear()
        system.start()
        began_s = system.cpu_seconds()
        tape.play(system.port)
        system.settle()
        system.stop()
        # What a stop wrote is brought to its final form by the next start.
        system.start()
        system.settle()
        spent_s = system.cpu_seconds() - began_s
        system.stop()
        system.samples = tape.samples
        results[system.name] = {"bytes/sample after 24 h": system.stored_bytes() / tape.samples}
        say(f"disk {system.name}: {results[system.name]['bytes/sample after 24 h']:.3f} bytes/sample, {spent_s:.0f} CPU s to settle")
        system.clear()
    tape.path.unlink()
    return results


def history(systems, recorder, minutes, interval_s, ended_hours_ago, say):
    """Fills each system with a stretch of hours ago and one of now, and restarts it; (figures, then_s, now_s)."""
    now = now_ms()
    steps = minutes * 60 // interval_s
    then = now - int(ended_hours_ago * 3600_000)
    tape = recorder.tape("history")
    recorder.record(tape, then, steps, interval_s, slice_steps=5)
    recorder.record(tape, now, steps, interval_s, slice_steps=5)
    results = {}
    for system in systems:
        system.clear()
        system.start()
        seconds, _ = tape.play(system.port)
        say(f"history {system.name}: sent in {seconds:.0f} s")
        system.settle()
        pods = system.count("count(up)", now / 1000)
        if pods < len(recorder.fleet.pods):
            raise AssertionError(f"{system.name} counts {pods:.0f} pods of {len(recorder.fleet.pods)}")
        system.stop()
        began = time.monotonic()
        system.start()
        started_s = time.monotonic() - began
        found, waited_s = system.wait_for_count("count(up)", now / 1000, pods)
        if found < pods:
            raise AssertionError(f"{system.name} counts {found:.0f} pods of {pods:.0f} after a restart")
        results[system.name] = {"restart after stop, s": started_s + waited_s}
        system.settle()
        results[system.name]["disk of history MB"] = system.stored_bytes() / MILLION
    tape.path.unlink()
    return results, then // 1000, now // 1000


def latency(systems, then_s, now_s, runs, say):
    """Medians of each query, instant and range, in ms; what differed between the systems' answers."""
    results, differing = {system.name: {} for system in systems}, []
    for title, query in dashboard.QUERIES.items():
        over_blocks = title in dashboard.OVER_BLOCKS
        at = then_s if over_blocks else now_s
        forms = {
            "instant": ("/api/v1/query", {"query": query, "time": at}),
            "range": ("/api/v1/query_range", {"query": query, "start": at - dashboard.RANGE_S, "end": at, "step": dashboard.STEP_S}),
        }
        for form, (path, parameters) in forms.items():
            took, answers = one_query(systems, path, parameters, runs)
            for name, times in took.items():
                results[name][f"{title}{' (blocks)' if over_blocks else ''}, {form}, ms"] = statistics.median(times) * 1000
            first = answers[systems[0].name]
            for name, answer in answers.items():
                if not dashboard.alike(query, first, answer):
                    differing.append(f"{title}, {form}: {systems[0].name} {dashboard.summary(query, first)}, {name} {dashboard.summary(query, answer)}")
        say(f"latency {title}: " + "; ".join(
            f"{name} " + " ".join(f"{v:.0f}" for k, v in results[name].items() if k.split(",")[0].removesuffix(" (blocks)") == title)
            for name in results))
    for name in results:
        for form in ("instant", "range"):
            results[name][f"sum of medians, {form}, ms"] = sum(v for k, v in results[name].items() if f", {form}, ms" in k)
    return results, differing


def one_query(systems, path, parameters, runs):
    took, answers = {system.name: [] for system in systems}, {}
    for system in systems:
        answers[system.name] = system.ask(path, **parameters)[1]
    for number in range(runs):
        for system in systems if number % 2 == 0 else reversed(systems):
            took[system.name].append(system.ask(path, **parameters)[0])
    return took, answers
