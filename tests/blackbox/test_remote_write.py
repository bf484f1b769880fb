"""Remote write 2.0 as its specification says it, beside 1.0: what arrives, what is refused, and what the answer tells."""

import time

import cramjam
import pytest
import remote_write
from collector import eventually
from remote_write import HEADERS, HEADERS_2, Request2, histogram, written


def now_ms():
    return int(time.time() * 1000)


def write_url(collector):
    return collector.url + "/api/v1/write"


def everything(at_ms):
    """A request with a part of each kind."""
    return (Request2()
            .add({"__name__": "hits_total", "job": "a"}, [(at_ms - 15_000, 1.0, at_ms - 60_000), (at_ms, 4.0, at_ms - 60_000)],
                 exemplars=[(at_ms, 0.5, {"trace_id": "0af7651916cd43dd8448eb211c80319c"})],
                 kind="counter", help="Hits of the page.", unit="")
            .add({"__name__": "latency_seconds", "job": "a"},
                 histograms=[histogram(at_ms, [1, 2, 3], offset=1, schema=0, sum_=12.5, zero=1, start_ms=at_ms - 60_000)],
                 kind="histogram", help="Latency.", unit="seconds")
            .add({"__name__": "sizes", "job": "a"},
                 histograms=[histogram(at_ms, [2, 1], schema=-53, bounds=[10.0, 100.0], sum_=50.0, hint="gauge")]))


def check_everything(collector, at_ms):
    at = {"time_s": at_ms / 1000}
    assert collector.value("hits_total", **at) == 4.0
    assert collector.value("histogram_count(latency_seconds)", **at) == 7.0
    assert collector.value("histogram_sum(latency_seconds)", **at) == 12.5
    assert collector.value("histogram_count(sizes)", **at) == 3.0
    assert 0.0 < collector.value("histogram_quantile(0.5, sizes)", **at) <= 10.0


def test_every_part_of_a_request_arrives_and_survives_a_kill(collector):
    at_ms = now_ms()
    answer = everything(at_ms).push(collector.session, write_url(collector))
    assert (answer.status_code, written(answer)) == (204, [2, 2, 1]), answer.text
    check_everything(collector, at_ms)
    said = collector.get("/api/v1/metadata", metric="hits_total").json()["data"]["hits_total"]
    assert said == [{"type": "counter", "help": "Hits of the page.", "unit": ""}]
    exemplars = collector.get("/api/v1/query_exemplars", query="hits_total", start=(at_ms - 60_000) / 1000,
                              end=at_ms / 1000 + 1).json()["data"]
    assert exemplars[0]["exemplars"][0]["labels"] == {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
    collector.kill()
    collector.start()
    check_everything(collector, at_ms)


def test_both_versions_write_the_same_series(collector):
    at_ms, labels = now_ms(), {"__name__": "shared", "job": "a", "umlaut": "größe"}
    for offset, push in enumerate([
            lambda t: remote_write.push(collector.session, write_url(collector), [(labels, [(t, 1.0)])]),
            lambda t: Request2().add(labels, [(t, 2.0)]).push(collector.session, write_url(collector))]):
        answer = push(at_ms - 10_000 + offset)
        assert (answer.status_code, written(answer)) == (204, [1, 0, 0]), answer.text
    assert collector.value("count(shared)") == 1.0
    assert collector.value("count_over_time(shared[1m])") == 2.0


def test_the_good_part_of_a_request_is_stored_and_the_rest_named(collector):
    at_ms = now_ms()
    request = Request2()
    good = request.refs({"__name__": "partly"})
    (request.add({}, [(at_ms, 7.0)], refs=good)
            .add({}, [(at_ms, 1.0)], refs=good + [9999, 1])
            .add({}, [(at_ms, 1.0)], refs=good[:1])
            .add({"job": "nameless"}, [(at_ms, 1.0)])
            .add({"__name__": "partly", "": "x"}, [(at_ms, 1.0)])
            .add({}, [(at_ms, 1.0)], refs=good + good)
            .add({"__name__": "pointless"})
            .add({"__name__": "ahead"}, [(at_ms + 3_600_000, 1.0)])
            .add({"__name__": "impossible"}, histograms=[histogram(at_ms, [1], total=5)]))
    answer = request.push(collector.session, write_url(collector))
    assert (answer.status_code, written(answer)) == (400, [1, 0, 0])
    reasons = ["symbol_out_of_range", "odd_label_refs", "no_metric_name", "empty_label_name", "duplicate_label",
               "no_samples", "too_far_ahead", "invalid_histogram"]
    for reason in reasons:
        assert f"{reason}: 1" in answer.text, answer.text
        assert collector.own_metric("tenantscope_ingest_rejected_records_total", reason=reason) == 1.0
    assert collector.value("partly") == 7.0
    assert collector.value("count(ahead) or count(pointless) or count(impossible)") is None


def test_what_is_older_than_retention_is_refused_and_counted(collectors):
    collector = collectors(config={"limits": {"own_series_interval": "1s"}})
    at_ms = now_ms()
    old_ms = at_ms - 400 * 24 * 3_600_000
    request = (Request2().add({"__name__": "aged"}, [(old_ms, 1.0), (at_ms, 2.0)], exemplars=[(old_ms, 1.0, {"a": "b"})])
               .add({"__name__": "ancient"}, histograms=[histogram(old_ms, [1])]))
    answer = request.push(collector.session, write_url(collector))
    assert (answer.status_code, written(answer)) == (400, [1, 0, 0]), answer.text
    assert "older_than_retention: 2" in answer.text
    answer = remote_write.push(collector.session, write_url(collector), [({"__name__": "ancient"}, [(old_ms, 1.0)])])
    assert (answer.status_code, written(answer)) == (400, [0, 0, 0]), answer.text
    assert collector.own_metric("tenantscope_ingest_rejected_records_total", reason="older_than_retention") == 3.0
    assert collector.value("aged") == 2.0
    assert collector.get("/api/v1/series", **{"match[]": "ancient", "start": old_ms / 1000 - 60}).json()["data"] == []
    rejected = 'tenantscope_tenant_rejected_records_total{tenant="anonymous", reason="older_than_retention"}'
    eventually(lambda: collector.value(rejected) == 3.0)


def test_an_empty_tenant_on_a_write_is_none(collector):
    sent = [({"__name__": "untold"}, [(now_ms(), 1.0)])]
    answer = remote_write.push(collector.session, write_url(collector), sent, {"X-Scope-OrgID": ""})
    assert answer.status_code == 204, answer.text
    assert collector.query("untold")[0]["metric"]["tenant"] == "anonymous"


def test_the_newest_write_at_one_time_wins_in_any_order(collector):
    at_ms = now_ms()
    push = lambda *samples: Request2().add({"__name__": "late"}, samples).push(collector.session, write_url(collector))
    assert push((at_ms, 3.0)).status_code == 204
    assert push((at_ms - 120_000, 1.0), (at_ms - 60_000, 2.0), (at_ms - 60_000, 2.5), (at_ms, 4.0)).status_code == 204
    series = collector.get("/api/v1/query", query="late[5m]", time=at_ms / 1000).json()["data"]["result"]
    assert [value for _, value in series[0]["values"]] == ["1", "2.5", "4"]


@pytest.mark.parametrize("headers", [
    {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v3.Request"},
    {"Content-Type": "application/json"},
    {"Content-Encoding": "gzip"},
])
def test_a_form_that_nobody_knows_is_refused_as_such(collector, headers):
    answer = Request2().add({"__name__": "x"}, [(now_ms(), 1.0)]).push(collector.session, write_url(collector), headers)
    assert (answer.status_code, written(answer)) == (415, [None, None, None])


def test_a_body_of_the_other_version_is_told_apart(collector):
    one = remote_write.body([({"__name__": "x"}, [(now_ms(), 1.0)])])
    two = bytes(cramjam.snappy.compress_raw(Request2().add({"__name__": "x"}, [(now_ms(), 1.0)]).message()))
    for body, headers, other in [(one, HEADERS_2, "1.0"), (two, HEADERS, "2.0")]:
        answer = collector.session.post(write_url(collector), data=body, headers=headers, timeout=20)
        assert (answer.status_code, written(answer)) == (400, [0, 0, 0])
        assert f"fields of remote write {other}" in answer.text


def test_what_would_fill_memory_is_refused_and_harms_nobody(collector):
    before = collector.process.resident_bytes()
    send = lambda message: collector.session.post(
        write_url(collector), data=bytes(cramjam.snappy.compress_raw(message)), headers=HEADERS_2, timeout=60)
    assert send(bytes(80 << 20)).status_code == 413
    assert send(b"\x22\x00" * 15_000_000).status_code == 413, "symbols"
    assert send(b"\x2a\x00" * 1_000_000).status_code == 400, "empty series"
    assert collector.process.resident_bytes() < before + (400 << 20)
    at_ms = now_ms()
    assert Request2().add({"__name__": "alive"}, [(at_ms, 1.0)]).push(collector.session, write_url(collector)).ok
    assert collector.value("alive") == 1.0
