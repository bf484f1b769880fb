"""The same random series in Debian's Prometheus and in the collector, and the same questions to both.

TENANTSCOPE_PROMQL_SEED chooses other series.
"""

import math
import os
import shutil
import time

import pytest
import remote_write
import requests
from collector import Collector
from conftest import program
from processes import Process, answers, free_port

from population import Population
from questions import WRONG, questions

SEED = int(os.environ.get("TENANTSCOPE_PROMQL_SEED", "20261124"))
RELATIVE = 1e-9
PROMETHEUS = shutil.which("prometheus")

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="Debian's prometheus is not installed")


class Peer:
    """A Prometheus that takes remote write and scrapes nothing."""

    def __init__(self, folder):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = folder / "prometheus.yml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text("global: {scrape_interval: 1m, evaluation_interval: 1m}\n")
        self.process = Process("prometheus", [
            PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver",
            "--enable-feature=promql-at-modifier,promql-negative-offset"], folder / "prometheus.log")
        self.process.wait_until(lambda: answers(self.url + "/-/ready"), 60, "was not ready")

    def stop(self):
        self.process.stop()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The two, filled with the same series, and the end of these."""
    folder = tmp_path_factory.mktemp("promql")
    ours = Collector(program("tenantscope-collector"), folder / "collector")
    theirs = Peer(folder / "prometheus")
    try:
        ours.start()
        # 13 s past a minute: a subquery's steps, multiples of its resolution, then lie on no range's boundary.
        end_s = int(time.time()) // 60 * 60 - 120 + 13
        population = Population(SEED, end_s * 1000)
        with requests.Session() as session:
            for batch in population.batches():
                for url in (ours.url + "/api/v1/write", theirs.url + "/api/v1/write"):
                    answer = remote_write.push(session, url, batch)
                    assert answer.status_code in (200, 204), answer.text
        yield ours.url, theirs.url, end_s
    finally:
        theirs.stop()
        ours.stop()


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
    return abs(a - b) <= max(RELATIVE * max(abs(a), abs(b)), 1e-9)


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


def compare(both, query, path, **parameters):
    ours_url, theirs_url, _ = both
    our_status, ours = ask(ours_url, path, query=query, **parameters)
    their_status, theirs = ask(theirs_url, path, query=query, **parameters)
    assert our_status == their_status, (ours.get("error"), theirs.get("error"))
    if their_status == 200:
        found = differences(ours["data"], theirs["data"])
        assert not found, "\n".join([f"{len(found)} differences:"] + found[:8])
    else:
        assert ours["errorType"] == theirs["errorType"]


@pytest.mark.parametrize("query", questions())
def test_at_one_time(both, query):
    for minutes in (0, 17, 33):
        compare(both, query, "/api/v1/query", time=both[2] - minutes * 60)


@pytest.mark.parametrize("query", questions())
def test_over_a_range(both, query):
    compare(both, query, "/api/v1/query_range", start=both[2] - 55 * 60, end=both[2], step=60)


@pytest.mark.parametrize("query", WRONG)
def test_what_is_wrong_is_wrong_in_both(both, query):
    compare(both, query, "/api/v1/query", time=both[2])


def test_series_and_labels(both):
    ours_url, theirs_url, end_s = both
    window = {"start": end_s - 3600, "end": end_s}
    for path, more in [("labels", {}), ("labels", {"match[]": "wave"}), ("series", {"match[]": '{job="edge"}'})]:
        answers = [ask(url, "/api/v1/" + path, **window, **more)[1]["data"] for url in (ours_url, theirs_url)]
        names = [sorted(map(str, (sorted(one.items()) if isinstance(one, dict) else one for one in answer)))
                 for answer in answers]
        assert names[0] == names[1]
    for label in ("__name__", "instance", "le", "nothing"):
        values = [requests.get(f"{url}/api/v1/label/{label}/values", params=window, timeout=60).json()["data"]
                  for url in (ours_url, theirs_url)]
        assert values[0] == values[1]


def test_the_questions_have_answers(both):
    """That both agree means nothing where both are silent."""
    window = {"start": both[2] - 3300, "end": both[2], "step": 60}
    answers = {query: ask(both[0], "/api/v1/query_range", query=query, **window)[1] for query in questions()}
    failed = {query: answer["error"] for query, answer in answers.items() if answer["status"] != "success"}
    assert not failed
    silent = [query for query, answer in answers.items() if not answer["data"]["result"]]
    assert len(silent) <= 12, silent
