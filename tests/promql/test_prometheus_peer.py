"""The forms of Prometheus's HTTP API: the same requests to Debian's Prometheus and to the collector, field by field.

Where 2.42 answers otherwise than 3 (no `limit`, no `infos`, other words for a time that can't be read), nothing is asked.
"""

import re
import time

import pytest
import remote_write
import requests
import yaml
from collector import Collector, eventually
from conftest import program
from peer import PROMETHEUS, Peer

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="Debian's prometheus is not installed")

TENANT = {"tenant": "anonymous"}  # What open mode stamps.
NOW_S = int(time.time()) - 60
RULES = {"groups": [
    {"name": "first", "rules": [
        {"record": "orders:sum", "expr": "sum(orders_total)", "labels": {"team": "shop"}},
        {"alert": "Always", "expr": "vector(2)>1", "labels": {"severity": "page"}, "annotations": {"summary": "is {{ $value }}"}},
        {"alert": "Later", "expr": "vector(2) > 1", "for": "1h", "keep_firing_for": "1m"}]},
    {"name": "second", "interval": "7s", "limit": 9, "rules": [
        {"record": "orders:max", "expr": "max by (shop) (orders_total)"},
        {"alert": "Never", "expr": "vector(0) > 1"}]}]}


class Scraping(Peer):
    """A Prometheus with rules, which scrapes `/federate` of the collector."""

    def __init__(self, folder, federated):
        folder.mkdir(parents=True)
        (folder / "rules.yaml").write_text(yaml.safe_dump(RULES))
        scrape = {"job_name": "collector", "honor_labels": True, "metrics_path": "/federate", "scrape_interval": "1s",
                  "params": {"match[]": ['{__name__=~"federated.*"}']}, "static_configs": [{"targets": [federated]}]}
        super().__init__(folder, yaml.safe_dump({
            "global": {"scrape_interval": "1m", "evaluation_interval": "1s"}, "rule_files": ["rules.yaml"], "scrape_configs": [scrape]}))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peer")
    (folder / "ours").mkdir()
    rules = {"groups": [{"interval": "1s", **group} for group in RULES["groups"]]}
    (folder / "ours" / "rules.yaml").write_text(yaml.safe_dump(rules))
    ours = Collector(program("tenantscope-collector"), folder / "ours", {"rules": ["rules.yaml"]})
    ours.start()
    theirs = Scraping(folder / "theirs", f"127.0.0.1:{ours.ports['http']}")
    times = [(NOW_S - 600 + at) * 1000 for at in range(0, 601, 15)]
    series = [({"__name__": "orders_total", "shop": shop, "instance": "i:1", **TENANT},
               [(at, float(number) * factor) for number, at in enumerate(times)])
              for shop, factor in (("a", 1), ('b "\\\n', 0.1), ("c", 1e-9), ("d", 1e300))]
    series += [({"__name__": "odd", "kind": kind, **TENANT}, [(times[-1], value)])
               for kind, value in (("nan", float("nan")), ("inf", float("inf")), ("minus", float("-inf")), ("zero", -0.0))]
    for url in (ours.url, theirs.url):
        answer = remote_write.push(requests.Session(), url + "/api/v1/write", series)
        assert answer.status_code in (200, 204), answer.text
    yield ours, theirs
    theirs.stop()
    ours.stop()


def asked(both, path, parameters=(), method="GET", **more):
    """The two answers to one request."""
    key = "data" if method == "POST" else "params"
    return [requests.request(method, one.url + path, **{key: list(parameters)}, timeout=30, **more) for one in both]


SAME = [
    ("query", [("query", "1e-7"), ("time", "1.5")]),
    ("query", [("query", "1e21"), ("time", "-1.05")]),
    ("query", [("query", '"a<b"'), ("time", "7")]),
    ("query", [("query", "vector(1e-7)"), ("time", "1.5")]),
    ("query", [("query", "vector(1e21)"), ("time", "1435781430.781")]),
    ("query", [("query", "vector(123456.7890625)"), ("time", "2015-07-01T20:10:30.781Z")]),
    ("query", [("query", "sort(orders_total)"), ("time", NOW_S)]),
    ("query", [("query", "orders_total[1m]"), ("time", NOW_S - 7)]),
    ("query", [("query", "odd"), ("time", NOW_S)]),
    ("query", [("query", "nothing"), ("time", NOW_S)]),
    ("query", [("query", "orders_total"), ("time", "1e20")]),
    ("query", [("query", "orders_total"), ("time", "-1e300")]),
    ("query", [("query", "orders_total"), ("time", NOW_S), ("timeout", "10s")]),
    ("query", [("query", "orders_total * on() orders_total"), ("time", NOW_S)]),
    ("query", [("query", "orders_total"), ("timeout", "x")]),
    ("query", [("query", "sum(")]),
    ("query", [("query", "foo{")]),
    ("query", [("query", "rate(orders_total)")]),
    ("query_range", [("query", "orders_total"), ("start", NOW_S - 100), ("end", NOW_S), ("step", "30")]),
    ("query_range", [("query", "rate(orders_total[1m1s])"), ("start", NOW_S - 100.5), ("end", NOW_S), ("step", "0.5m")]),
    ("query_range", [("query", "1"), ("start", "-1"), ("end", "1"), ("step", "500ms")]),
    ("query_range", [("query", "orders_total"), ("start", NOW_S - 100), ("end", NOW_S), ("step", "15.25")]),
    ("query_range", [("query", "up"), ("end", 1)]),
    ("query_range", [("query", "up"), ("start", 0), ("end", 11001), ("step", 1)]),
    ("query_range", [("query", "up"), ("start", 0), ("end", 1), ("step", "x")]),
    ("query_range", [("query", "up"), ("start", 0), ("end", 1), ("step", "0")]),
    ("query_range", [("query", "up"), ("start", 0), ("end", 1), ("step", "1e300")]),
    ("query_range", [("query", "up"), ("start", 5), ("end", 1), ("step", "1")]),
    ("query_exemplars", [("query", "orders_total")]),
    ("query_exemplars", [("query", "1")]),
    ("query_exemplars", [("query", "(")]),
    ("query_exemplars", [("query", "up"), ("start", 5), ("end", 1)]),
    ("series", [("match[]", "orders_total"), ("match[]", '{kind="nan"}')]),
    ("series", [("match[]", "orders_total"), ("match[]", '{shop="a",instance="i:1"}')]),
    ("series", [("match[]", "orders_total"), ("end", 1000)]),
    ("series", []),
    ("series", [("match[]", "(")]),
    ("series", [("match[]", "{}")]),
    ("series", [("match[]", "up[5m]")]),
    ("labels", [("match[]", "orders_total")]),
    ("labels", [("match[]", "{}")]),
    ("labels", [("match[]", "up + up")]),
    ("label/shop/values", []),
    ("label/shop/values", [("match[]", '{shop=~"a|c"}'), ("start", NOW_S - 600), ("end", NOW_S)]),
    ("label/nothing/values", []),
    ("metadata", [("limit", "x")]),
    ("metadata", [("limit", "0")]),
    ("metadata", [("metric", "nothing")]),
    ("format_query", [("query", 'sum(foo{a="b"})by(a)/on(a)group_left(c)bar offset 1h')]),
    ("format_query", [("query", "sum(")]),
    ("rules", [("type", "x")]),
]


def name_of(value):
    """The same in each of the processes that collect the tests, whatever the time."""
    return re.sub(r"\d{9,}", "now", str(value))[:60]


@pytest.mark.parametrize("path, parameters", SAME, ids=name_of)
def test_the_same_answer(both, path, parameters):
    methods = ["GET"] if path.startswith(("label/", "metadata", "rules")) else ["GET", "POST"]
    for method in methods:
        ours, theirs = asked(both, "/api/v1/" + path, parameters, method)
        assert (ours.status_code, ours.headers.get("Content-Type")) == (theirs.status_code, theirs.headers.get("Content-Type"))
        if theirs.text:
            assert_same(ours.json(), theirs.json())
        else:
            assert ours.text == ""


def assert_same(ours, theirs):
    """Equal, but that the order of a vector's series is not promised, and that 3 names the parameter more often."""
    result = theirs.get("data", {}).get("result") if isinstance(theirs.get("data"), dict) else None
    if isinstance(result, list) and result and isinstance(result[0], dict):
        key = lambda one: sorted(one["metric"].items())  # noqa: E731
        ours["data"]["result"].sort(key=key)
        result.sort(key=key)
    if theirs["status"] == "error":
        assert ours.keys() == theirs.keys() and ours["errorType"] == theirs["errorType"]
        # Which of several duplicate series is named is not promised either.
        our_words, their_words = (answer["error"].split(": [{")[0] for answer in (ours, theirs))
        assert our_words.endswith(their_words), (our_words, their_words)
    else:
        assert ours == theirs


@pytest.mark.parametrize("query", [
    "orders_total", "rate(orders_total[1m])", "sum(orders_total @ end())", "orders_total * on (shop) orders_total",
    "max_over_time(orders_total[1m:10s])", "max_over_time(rate(orders_total[1m])[2m:20s])", "sum(max_over_time(orders_total[20s:10s] offset 1m))",
    "max_over_time(sum(orders_total)[1m:15s])", "max_over_time(orders_total[1m:15s] @ start())", "1"])
def test_the_same_samples_are_looked_at(both, query):
    end = NOW_S - 7.5  # So that no sample and no step of a subquery lies on an edge, where 2.42 means something else.
    for path, at in (("query", [("time", end)]), ("query_range", [("start", end - 90), ("end", end), ("step", 30)])):
        ours, theirs = (answer.json()["data"]["stats"]["samples"] for answer in
                        asked(both, "/api/v1/" + path, [("query", query), ("stats", "all"), *at]))
        assert {name: ours[name] for name in theirs if name != "peakSamples"} == {
            name: value for name, value in theirs.items() if name != "peakSamples"}


@pytest.mark.parametrize("method, path", [
    ("GET", "/api/v1/unheard"), ("GET", "/api/v1/"), ("DELETE", "/api/v1/query"), ("POST", "/api/v1/rules"),
    ("OPTIONS", "/api/v1/query"), ("OPTIONS", "/api/v1/unheard"), ("POST", "/api/v1/label/a/values")])
def test_what_there_is_no_route_for(both, method, path):
    for headers in ({}, {"Origin": "http://elsewhere"}):
        ours, theirs = asked(both, path, method=method, headers=headers)
        assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)
        if method == "OPTIONS":
            named = [{name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("access-control-")}
                     for answer in (ours, theirs)]
            assert named[0] == named[1] and bool(named[0]) == bool(headers)
        if ours.status_code == 405:
            assert set(theirs.headers["Allow"].split(", ")) <= set(ours.headers["Allow"].replace(",", ", ").replace("  ", " ").split(", "))


def test_rules_and_alerts(both):
    """Groups, rules and alerts have the same fields and, but for times, the same values."""
    def groups(one):
        groups = requests.get(one.url + "/api/v1/rules", timeout=30).json()["data"]["groups"]
        states = [rule.get("state") for group in groups for rule in group["rules"]]
        are_evaluated = all(rule["health"] == "ok" for group in groups for rule in group["rules"])
        return groups if are_evaluated and states.count("firing") == 1 and states.count("pending") == 1 else None

    ours, theirs = (eventually(lambda one=one: groups(one)) for one in both)
    assert timeless(ours) == timeless(theirs)
    ours, theirs = (answer.json()["data"]["alerts"] for answer in asked(both, "/api/v1/alerts"))
    assert timeless(ours) == timeless(theirs)
    for parameters in ([("type", "alert")], [("type", "record")]):
        ours, theirs = (answer.json()["data"]["groups"] for answer in asked(both, "/api/v1/rules", parameters))
        # 2.42 shows groups of which nothing is left.
        assert timeless(ours) == timeless([group for group in theirs if group["rules"]])


def timeless(value):
    """A value without what depends on time and place; 2.42 leaves empty labels of recording rules out."""
    if isinstance(value, list):
        return [timeless(one) for one in value]
    if not isinstance(value, dict):
        return value
    depends = {"evaluationTime", "lastEvaluation", "activeAt", "file", "interval"}
    return {key: timeless(one) for key, one in value.items() if key not in depends and not (key == "labels" and not one)}


def test_federated_text_is_the_same(both):
    # `/federate` is asked for now, and looks back five minutes from there: these samples come from within them.
    now = int(time.time()) * 1000
    series = [({"__name__": "parcels_total", "shop": 'b "\\\n', **TENANT}, [(now - 15_000, 1.0), (now, 1e300)])]
    series += [({"__name__": "strange", "kind": kind, **TENANT}, [(now, value)]) for kind, value in (("inf", float("inf")), ("zero", -0.0))]
    for one in both:
        assert remote_write.push(requests.Session(), one.url + "/api/v1/write", series).ok
    at = [("match[]", "parcels_total"), ("match[]", '{kind=~"zero|inf"}')]
    ours, theirs = (answer.text for answer in asked(both, "/federate", at))
    assert ours == theirs
    assert f'strange{{kind="inf",tenant="anonymous",instance=""}} +Inf {now}' in ours
    for parameters in ([], [("match[]", "{}")], [("match[]", "nothing")], [("match[]", "(")]):
        ours, theirs = asked(both, "/federate", parameters)
        assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)


def test_another_prometheus_federates_from_us(both):
    ours, theirs = both

    def push():
        now_ms = int(time.time() * 1000)
        series = [({"__name__": "federated_total", "shop": "a", "instance": "own:1"}, [(now_ms, 42.5)]),
                  ({"__name__": "federated.dotted", "shop": "a"}, [(now_ms, 7.0)])]
        answer = remote_write.push(requests.Session(), ours.url + "/api/v1/write", series, {"X-Scope-OrgID": "acme"})
        assert answer.status_code in (200, 204), answer.text

    def seen():
        push()
        answer = requests.get(theirs.url + "/api/v1/query", params={"query": '{__name__=~"federated.*"}'}, timeout=30).json()
        return sorted((sorted(one["metric"].items()), one["value"][1]) for one in answer["data"]["result"])

    def labels(name, **more):
        return sorted({"__name__": name, "job": "collector", "shop": "a", "tenant": "acme", **more}.items())

    expected = [(labels("federated_dotted"), "7"), (labels("federated_total", instance="own:1"), "42.5")]
    eventually(lambda: seen() == expected)
    up = requests.get(theirs.url + "/api/v1/query", params={"query": 'up{job="collector"}'}, timeout=30).json()
    assert [one["value"][1] for one in up["data"]["result"]] == ["1"]
