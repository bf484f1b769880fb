"""Hostile bodies by every way in: the right status, a counter, memory that comes back, and the others served."""

import gzip
import json

import cramjam
import otlp
import pytest
from collector import eventually
from remote_write import field, varint

PROTOBUF = {"Content-Type": "application/x-protobuf"}
SNAPPY = {**PROTOBUF, "Content-Encoding": "snappy"}
JSON = {"Content-Type": "application/json"}
FIREHOSE = {**JSON, "X-Amz-Firehose-Request-Id": "r"}


def snappy(body):
    return bytes(cramjam.snappy.compress_raw(body))


def zstd(body):
    return bytes(cramjam.zstd.compress(body))


def nested(levels):
    """Messages within one another, each in field 1."""
    message = b""
    for _ in range(levels):
        message = field(1, message)
    return message


# One body each of a kind that no decoder may choke on, and which statuses are right.
BOMB = bytes(100 << 20)
DEEP_JSON = b"[" * 10_000 + b"]" * 10_000
MILLION_EMPTY = b"\x0a\x00" * 1_000_000 + b"\x0a\x00" * 6_000_000
LIES = field(1, b"x" * 20)[:1] + varint(1 << 40) + b"x"

WAYS = {
    "otlp protobuf": ("otlp_http", "/v1/metrics", PROTOBUF, lambda body: body),
    "otlp gzip": ("otlp_http", "/v1/logs", {**PROTOBUF, "Content-Encoding": "gzip"}, lambda body: gzip.compress(body, 1)),
    "otlp zstd": ("otlp_http", "/v1/traces", {**PROTOBUF, "Content-Encoding": "zstd"}, zstd),
    "remote write": ("url", "/api/v1/write", SNAPPY, snappy),
    "remote write 2": ("url", "/api/v1/write",
                       {**SNAPPY, "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}, snappy),
    "loki": ("url", "/loki/api/v1/push", SNAPPY, snappy),
}
JSON_WAYS = {
    "otlp json": ("otlp_http", "/v1/logs", JSON, b'{"resourceLogs":%s}'),
    "loki json": ("url", "/loki/api/v1/push", JSON, b'{"streams":[{"stream":{"a":%s}}]}'),
    "firehose metrics": ("url", "/firehose/metrics", FIREHOSE, b'{"requestId":"r","records":%s}'),
    "firehose logs": ("url", "/firehose/logs", FIREHOSE, b'{"requestId":"r","records":%s}'),
}


def post(collector, way, body):
    base, path, headers, _ = way
    return collector.session.post(getattr(collector, base) + path, data=body, headers=headers, timeout=60)


def refused(collector):
    return collector.own_metric("tenantscope_ingest_refused_total")


def refused_and_counted(collector, way, body, statuses):
    before = refused(collector)
    answer = post(collector, way, body)
    assert answer.status_code in statuses, (answer.status_code, answer.text[:200])
    eventually(lambda: refused(collector) > before)
    return answer


def still_serves(collector):
    assert collector.send("metrics", otlp.gauge_json("alive", 1.0), tenant="other").status_code == 200
    assert collector.value('alive{tenant="other"}') == 1.0


@pytest.mark.parametrize("way", WAYS)
def test_bombs_lies_depth_and_multitudes(collector, way):
    pack = WAYS[way][3]
    still_serves(collector)
    eventually(lambda: collector.own_metric("tenantscope_ingest_in_flight_bytes") == 0)
    before = collector.process.resident_bytes()
    if way != "otlp protobuf":
        refused_and_counted(collector, WAYS[way], pack(BOMB), (413,))
    refused_and_counted(collector, WAYS[way], pack(LIES), (400,))
    refused_and_counted(collector, WAYS[way], b"\xff" * 64, (400,))
    for body in (nested(10_000), MILLION_EMPTY):
        assert post(collector, WAYS[way], pack(body)).status_code in (200, 204, 400, 413)
    eventually(lambda: collector.own_metric("tenantscope_ingest_in_flight_bytes") == 0)
    # What the allocator keeps for a while is not what the bodies would have taken.
    eventually(lambda: collector.process.resident_bytes() < before * 1.1 + (64 << 20))
    still_serves(collector)


@pytest.mark.parametrize("way", JSON_WAYS)
def test_json_that_is_deep_doubled_or_huge(collector, way):
    shape = JSON_WAYS[way][3]
    for body in (shape % DEEP_JSON, b'{"a":1', b"", b'"' + b"x" * 1000, b"\xff\xfe{}"):
        answer = refused_and_counted(collector, JSON_WAYS[way], body, (400, 413))
        if "firehose" in way:
            assert answer.json()["requestId"] == "r" and answer.json()["errorMessage"]
    still_serves(collector)


def test_labels_of_a_mebibyte_and_with_control_characters(collector):
    for value in ("v" * (1 << 20), "\u0000\u0001\u202e\n", "аdmin", "\ufeff"):
        body = otlp.gauges("odd", [({"k": value}, 1.0, otlp.now_ns())], {"tenant.id": value})
        assert collector.send("metrics", body, tenant="acme").status_code in (200, 400)
        push = {"streams": [{"stream": {"app": "odd", "tenant": value}, "values": [[str(otlp.now_ns()), value]]}]}
        answer = collector.session.post(collector.url + "/loki/api/v1/push", data=json.dumps(push), timeout=60,
                                        headers={**JSON, "X-Scope-OrgID": "acme"})
        assert answer.status_code in (204, 400)
    found = collector.get("/loki/api/v1/query_range", query='{service_name="odd"}').json()["data"]["result"]
    assert {one["stream"]["tenant"] for one in found} == {"acme"}
    still_serves(collector)


@pytest.mark.parametrize("year_ns", [0, 1, -62135596800 * 10**9, 253402300799 * 10**9, 2**63 - 1, 2**63, 2**64 - 1])
def test_times_at_every_edge(collector, year_ns):
    point = {"timeUnixNano": str(year_ns), "asDouble": 1.0}
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "edge", "gauge": {"dataPoints": [point]}}]}]}]}
    in_range = 0 <= year_ns < 2**64
    assert collector.send("metrics", body).status_code == (200 if in_range else 400)
    record = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": str(year_ns), "body": {"stringValue": "edge"}}]}]}]}
    assert collector.send("logs", record).status_code == (200 if in_range else 400)
    push = {"streams": [{"stream": {"app": "edge"}, "values": [[str(year_ns), "x"]]}]}
    answer = collector.session.post(collector.url + "/loki/api/v1/push", json=push, timeout=60)
    assert answer.status_code == (204 if 0 <= year_ns < 2**63 else 400)
    still_serves(collector)
