"""The same random series in Debian's Prometheus and in the collector, and the same questions to both.

TENANTSCOPE_PROMQL_SEED chooses other series and other random queries, TENANTSCOPE_PROMQL_QUERIES how many of these (300).
"""

import os
import random
import time
from pathlib import Path

import pytest
import remote_write
import requests
import yaml
from collector import Collector
from conftest import program

from grammar import Grammar
from peer import PROMETHEUS, Peer, ask, compare, compared
from population import Population
from questions import WRONG, questions

SEED = int(os.environ.get("TENANTSCOPE_PROMQL_SEED", "20261124"))
QUERIES = int(os.environ.get("TENANTSCOPE_PROMQL_QUERIES", "300"))
# What once differed, by name.
CASES = yaml.safe_load((Path(__file__).parent / "cases.yaml").read_text())

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="Debian's prometheus is not installed")


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


@pytest.fixture(scope="module")
def tally():
    """Of each random query that was compared: whether it was meant to be wrong, and whether it had an answer."""
    return []


@pytest.mark.parametrize("query", questions())
def test_at_one_time(both, query):
    for minutes in (0, 17, 33):
        compare(both, query, "/api/v1/query", time=both[2] - minutes * 60)


@pytest.mark.parametrize("query", questions())
def test_over_a_range(both, query):
    compare(both, query, "/api/v1/query_range", start=both[2] - 55 * 60, end=both[2], step=60)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_once_differed(both, case):
    for minutes in (0, 5, 17, 33):
        compare(both, case["query"], "/api/v1/query", time=both[2] - minutes * 60)
    for step in (60, 15):
        compare(both, case["query"], "/api/v1/query_range", start=both[2] - 40 * 60, end=both[2], step=step)


@pytest.mark.parametrize("number", range(QUERIES))
def test_a_random_query(both, tally, number):
    chance = random.Random(SEED * 1_000_003 + number)
    query, wrong = Grammar(chance, both[2]).query()
    if chance.random() < 0.5:
        path, asked = "/api/v1/query", {"time": both[2] - 60 * chance.randrange(0, 50)}
    else:
        step_s, steps = chance.choice([15, 30, 60, 120, 300]), chance.randrange(1, 50)
        end_s = both[2] - 60 * chance.randrange(0, 20)
        path, asked = "/api/v1/query_range", {"start": end_s - step_s * steps, "end": end_s, "step": step_s}
    found, answered = compared(both, query, path, **asked)
    assert not found, "\n".join([f"{query}\n{path} {asked}: {len(found)} differences:"] + found[:8])
    tally.append((wrong, answered))


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


def test_the_random_queries_have_answers(tally):
    """That both agree means nothing where both refuse."""
    right = [answered for wrong, answered in tally if not wrong]
    assert sum(right) >= 0.85 * len(right), f"{sum(right)} of {len(right)} have an answer"


def test_the_questions_have_answers(both):
    """That both agree means nothing where both are silent."""
    window = {"start": both[2] - 3300, "end": both[2], "step": 60}
    answers = {query: ask(both[0], "/api/v1/query_range", query=query, **window)[1] for query in questions()}
    failed = {query: answer["error"] for query, answer in answers.items() if answer["status"] != "success"}
    assert not failed
    silent = [query for query, answer in answers.items() if not answer["data"]["result"]]
    assert len(silent) <= 12, silent
