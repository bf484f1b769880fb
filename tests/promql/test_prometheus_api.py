"""Prometheus's HTTP API: its forms, its errors, and what a reader may see."""

import socket
import time
import urllib.parse

import pytest
import remote_write
import requests
from collector import Collector, eventually
from conftest import program

NOW_S = int(time.time()) - 60


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """A collector in open mode with the same metric of two tenants."""
    running = Collector(program("tenantscope-collector"), tmp_path_factory.mktemp("api") / "collector")
    running.start()
    for tenant, factor in (("acme", 1), ("globex", 100)):
        series = [({"__name__": "orders_total", "shop": shop}, [((NOW_S - 600 + at) * 1000, float(at * factor)) for at in range(0, 601, 15)])
                  for shop in ("a", "b")]
        answer = remote_write.push(running.session, running.url + "/api/v1/write", series, {"X-Scope-OrgID": tenant})
        assert answer.status_code in (200, 204), answer.text
    yield running
    running.stop()


def test_get_and_post_are_the_same(api):
    asked = {"query": 'sum by (tenant) (orders_total{shop=~"a|b"})', "time": NOW_S}
    got = api.get("/api/v1/query", **asked)
    posted = requests.post(api.url + "/api/v1/query", data=asked, timeout=30)
    assert got.json() == posted.json()
    assert got.headers["Content-Type"] == "application/json"
    assert got.json() == {"status": "success", "data": {"resultType": "vector", "result": [
        {"metric": {"tenant": "acme"}, "value": [NOW_S, "1200"]},
        {"metric": {"tenant": "globex"}, "value": [NOW_S, "120000"]}]}}


def test_times_have_two_forms(api):
    rfc3339 = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW_S))
    values = [api.get("/api/v1/query", query="time()", time=at).json()["data"]["result"][1] for at in (NOW_S, f"{NOW_S}.000", rfc3339)]
    assert values == [str(NOW_S)] * 3


def test_a_range_is_a_matrix(api):
    answer = api.get("/api/v1/query_range", query="orders_total", start=NOW_S - 60, end=NOW_S, step="30s", tenant="acme").json()
    assert answer["data"]["resultType"] == "matrix"
    assert [len(one["values"]) for one in answer["data"]["result"]] == [3, 3]


@pytest.mark.parametrize("path, asked, status, kind, text", [
    ("query", {"query": "sum("}, 400, "bad_data", "parse error"),
    ("query", {"query": "up", "time": "yesterday"}, 400, "bad_data", 'invalid parameter "time"'),
    ("query", {"query": "orders_total * on() orders_total"}, 422, "execution", "found duplicate series"),
    ("query", {"query": "up", "timeout": "soon"}, 400, "bad_data", 'invalid parameter "timeout"'),
    ("query", {"query": "orders_total", "timeout": "0.000001"}, 503, "timeout", "timed out"),
    ("query_range", {"query": "up", "start": 10, "end": 5, "step": 1}, 400, "bad_data", "end timestamp must not be before start time"),
    ("query_range", {"query": "up", "start": 5, "end": 10, "step": 0}, 400, "bad_data", "zero or negative query resolution"),
    ("query_range", {"query": "up", "start": 0, "end": 1000000, "step": 1}, 400, "bad_data", "exceeded maximum resolution"),
    ("query_range", {"query": "up[5m]", "start": 5, "end": 10, "step": 1}, 400, "bad_data", "invalid expression type"),
    ("query", {"query": "(" * 5000 + "1" + ")" * 5000}, 400, "bad_data", "deeper"),
    ("series", {}, 400, "bad_data", "no match[] parameter provided"),
    ("series", {"match[]": "{"}, 400, "bad_data", 'invalid parameter "match[]"'),
    ("labels", {"limit": "-1"}, 400, "bad_data", 'invalid parameter "limit"'),
    ("rules", {"type": "other"}, 400, "bad_data", 'invalid parameter "type"'),
])
def test_errors_have_prometheus_form(api, path, asked, status, kind, text):
    at = {"time": NOW_S} if path == "query" and "time" not in asked else {}
    answer = requests.get(f"{api.url}/api/v1/{path}", params={**asked, **at}, timeout=30)
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["status"] == "error" and body["errorType"] == kind and text in body["error"], body


def test_a_limit_cuts_and_says_so(api):
    cut = api.get("/api/v1/query", query="orders_total", time=NOW_S, limit=3).json()
    assert len(cut["data"]["result"]) == 3 and cut["warnings"] == ["results truncated due to limit"]
    whole = api.get("/api/v1/query", query="orders_total", time=NOW_S, limit=4).json()
    assert len(whole["data"]["result"]) == 4 and "warnings" not in whole
    names = api.get("/api/v1/labels", limit=1).json()
    assert len(names["data"]) == 1 and names["warnings"] == ["results truncated due to limit"]


def test_a_lookback_can_be_asked_for(api):
    later = NOW_S + 100
    assert len(api.query("orders_total", time_s=later)) == 4
    answer = api.get("/api/v1/query", query="orders_total", time=later, lookback_delta="1m").json()
    assert answer["data"]["result"] == []


def test_warnings_infos_and_stats(api):
    answer = api.get("/api/v1/query", query="quantile(7, orders_total)", time=NOW_S, stats="all").json()
    assert "quantile value should be between 0 and 1" in answer["warnings"][0]
    assert answer["data"]["stats"]["samples"]["totalQueryableSamples"] > 0


def test_a_reader_sees_its_tenants_alone(api):
    def seen(path, tenant, **asked):
        return api.get("/api/v1/" + path, tenant, **asked).json()["data"]
    assert seen("label/tenant/values", "acme") == ["acme"]
    assert seen("label/tenant/values", "acme|globex") == ["acme", "globex"]
    assert {one["tenant"] for one in seen("series", "globex", **{"match[]": "orders_total"})} == {"globex"}
    assert api.value("sum(orders_total)", tenant="acme", time_s=NOW_S) == 1200
    assert api.value('sum(orders_total{tenant="globex"})', tenant="acme", time_s=NOW_S) is None
    assert api.value("count(orders_total)", tenant="nobody", time_s=NOW_S) is None
    assert {target["labels"]["tenant"] for target in seen("targets", "acme")["activeTargets"]} <= {"acme"}


def test_what_a_data_source_asks_first(api):
    build = api.get("/api/v1/status/buildinfo").json()["data"]
    assert build["version"].startswith("3.") and build["application"] == "tenantscope"
    tsdb = eventually(lambda: api.get("/api/v1/status/tsdb").json()["data"])
    assert {"name": "orders_total", "value": 4} in tsdb["seriesCountByMetricName"]
    assert api.get("/api/v1/format_query", query="sum(foo)by(a)").json()["data"] == "sum by (a) (foo)"
    assert api.get("/api/v1/rules").json() == {"status": "success", "data": {"groups": []}}
    assert api.get("/api/v1/alerts").json() == {"status": "success", "data": {"alerts": []}}
    assert api.get("/api/v1/metadata").json()["status"] == "success"
    exemplars = api.get("/api/v1/query_exemplars", query="orders_total", start=NOW_S - 600, end=NOW_S).json()
    assert exemplars["status"] == "success"


def test_a_client_that_goes_away_stops_its_query(api):
    def running():
        return api.own_metric("tenantscope_api_prometheus_running")

    # One series alone, so that work must stop within it.
    day_s = 86_400
    series = [({"__name__": "busy"}, [((NOW_S - day_s + k) * 1000, float(k % 7919)) for k in range(day_s)])]
    remote_write.push(api.session, api.url + "/api/v1/write", series).raise_for_status()
    # Sorts up to a day of seconds for each of 10,000 times, within every limit.
    asked = {"query": "quantile_over_time(0.5, busy[1d])", "start": NOW_S - 10_000, "end": NOW_S, "step": 1}
    path = "/api/v1/query_range?" + urllib.parse.urlencode(asked)
    with socket.create_connection(("127.0.0.1", api.ports["http"])) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        eventually(lambda: running() == 1)
    gone = time.monotonic()
    while running() > 0:
        assert time.monotonic() - gone < 10, "the query still runs"
        time.sleep(0.02)


def test_a_deadline_stops_work_within_one_series(api):
    asked = {"query": "ts_of_max_over_time(busy[1d])", "start": NOW_S - 10_000, "end": NOW_S, "step": 1, "timeout": "0.1"}
    begun = time.monotonic()
    answer = api.session.get(api.url + "/api/v1/query_range", params=asked, timeout=60)
    assert (answer.status_code, answer.json()["errorType"]) == (503, "timeout")
    assert time.monotonic() - begun < 20
    eventually(lambda: api.own_metric("tenantscope_api_prometheus_memory_bytes") == 0)


def test_what_a_query_holds_on_its_way_is_bounded(api):
    for query in [
        "sum_over_time(vector(time()^(time()^(time()^(time()^time()))))[13h:1ms])",
        "sum_over_time(vector(1)[13h:1ms])",
    ]:
        answer = api.session.get(api.url + "/api/v1/query", params={"query": query}, timeout=60)
        assert (answer.status_code, answer.json()["errorType"]) == (422, "execution"), answer.text
        assert "query.max_bytes" in answer.json()["error"]
    eventually(lambda: api.own_metric("tenantscope_api_prometheus_memory_bytes") == 0)
