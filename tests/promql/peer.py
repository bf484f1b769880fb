"""Debian's Prometheus beside the collector, and what differs between their answers."""

import math
import shutil

import requests

from processes import Process, answers, free_port

PROMETHEUS = shutil.which("prometheus")
RELATIVE = 1e-9
CANCELLED = 1e-12
CONFIG = """
global: {scrape_interval: 1m, evaluation_interval: 1m}
storage: {tsdb: {out_of_order_time_window: 1h}}
"""


class Peer:
    """A Prometheus that takes remote write, late samples too, and, by its own configuration, scrapes nothing."""

    def __init__(self, folder, settings=CONFIG):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = folder / "prometheus.yml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(settings)
        self.process = Process("prometheus", [
            PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver",
            "--enable-feature=promql-at-modifier,promql-negative-offset"], folder / "prometheus.log")
        self.process.wait_until(lambda: answers(self.url + "/-/ready"), 60, "was not ready")

    def stop(self):
        self.process.stop()


def ask(url, path, **parameters):
    answer = requests.post(url + path, data=parameters, timeout=60)
    return answer.status_code, answer.json()


def samples(result):
    """A result as {labels: {time: value}}."""
    kind, data = result["resultType"], result["result"]
    if kind in ("scalar", "string"):
        return {(): {data[0]: data[1]}}
    points = (lambda one: [one["value"]]) if kind == "vector" else (lambda one: one["values"])
    return {tuple(sorted(one["metric"].items())): dict(map(tuple, points(one))) for one in data}


def close(ours, theirs):
    a, b = float(ours), float(theirs)
    if a == b or (math.isnan(a) and math.isnan(b)):
        return True
    # What cancels out to almost nothing may keep another rest of rounding.
    return abs(a - b) <= max(RELATIVE * max(abs(a), abs(b)), CANCELLED)


def differences(ours, theirs):
    """What differs between two results, in words."""
    found = []
    if ours["resultType"] != theirs["resultType"]:
        return [f"a {ours['resultType']}, not a {theirs['resultType']}"]
    a, b = samples(ours), samples(theirs)
    found += [f"more: {dict(labels)} {list(a[labels].items())[:3]}" for labels in a.keys() - b.keys()]
    found += [f"missing: {dict(labels)} {list(b[labels].items())[:3]}" for labels in b.keys() - a.keys()]
    for labels in a.keys() & b.keys():
        for at in sorted(a[labels].keys() | b[labels].keys()):
            x, y = a[labels].get(at), b[labels].get(at)
            if x is None or y is None or not close(x, y):
                found.append(f"{dict(labels)} at {at}: {x}, not {y}")
    return found


def compared(both, query, path, **parameters):
    """(what differs between the two systems' answers, in words; whether both gave one rather than an error)"""
    (our_status, ours), (their_status, theirs) = (ask(url, path, query=query, **parameters) for url in both[:2])
    if our_status != their_status:
        return [f"status {our_status}, not {their_status}: {ours.get('error')!r}, not {theirs.get('error')!r}"], False
    if their_status == 200:
        return differences(ours["data"], theirs["data"]), True
    if ours["errorType"] != theirs["errorType"]:
        return [f"{ours['errorType']}, not {theirs['errorType']}"], False
    return [], False


def compare(both, query, path, **parameters):
    found, _ = compared(both, query, path, **parameters)
    assert not found, "\n".join([f"{len(found)} differences:"] + found[:8])
