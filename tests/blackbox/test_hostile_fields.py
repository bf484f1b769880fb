"""Hostile input where it lies deeper than a body's first bytes: in fields, names, numbers and times, in what wraps a
body, in headers, and in queries. After each: the right status, a counter, memory back within a tenth, the others served."""

import base64
import gzip
import json
import socket
import struct
import urllib.parse

import cramjam
import otlp
import pytest
import remote_write
from collector import eventually
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from remote_write import field, varint
from test_hostile import FIREHOSE, JSON, PROTOBUF, SNAPPY, refused, snappy, still_serves

GZIP = {**PROTOBUF, "Content-Encoding": "gzip"}
YEAR_1_S, YEAR_9999_S = -62135596800, 253402300799
MESSAGES = {"metrics": ExportMetricsServiceRequest, "logs": ExportLogsServiceRequest, "traces": ExportTraceServiceRequest}


def in_resource(signal, attributes):
    """Attributes' bytes as those of a resource of this signal; under each of the three it is field 1 of field 1."""
    return field(1, field(1, attributes))


def nested_value(levels):
    """AnyValue{array: ArrayValue{values: [AnyValue …]}}, as deep as that, in an attribute `a`."""
    value = b""
    for _ in range(levels):
        value = field(5, field(1, value))
    return field(1, field(1, b"a") + field(2, value))


def wide_histograms():
    """180 kB that would be 16,000 series of 200 labels each."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="wide")
    metric.histogram.aggregation_temporality = 2
    point = metric.histogram.data_points.add(time_unix_nano=otlp.now_ns())
    otlp.set_attributes(point.attributes, {f"a{number}": "v" for number in range(200)})
    point.explicit_bounds.extend(range(400_000))
    point.bucket_counts.extend([0] * 400_001)
    return request.SerializeToString()


def subscription(data):
    record = {"data": base64.b64encode(data).decode()}
    return json.dumps({"requestId": "r", "timestamp": 1700000000000, "records": [record]})


def twice(document, key, value):
    """A JSON object's text with that member once more, before all others."""
    return f'{{"{key}": {json.dumps(value)}, ' + json.dumps(document)[1:]


MILLION_ATTRIBUTES = b"\x0a\x00" * 1_000_000
BOMB = bytes(100 << 20)

# What is sent where, and which status is right.
HOSTILE = {
    **{f"a million empty attributes, {signal}": ("otlp_http", f"/v1/{signal}", PROTOBUF,
                                                 lambda signal=signal: in_resource(signal, MILLION_ATTRIBUTES * 5), 413)
       for signal in MESSAGES},
    **{f"values 10,000 deep, {signal}": ("otlp_http", f"/v1/{signal}", PROTOBUF,
                                         lambda signal=signal: in_resource(signal, nested_value(10_000)), 400)
       for signal in MESSAGES},
    "many wide series": ("otlp_http", "/v1/metrics", PROTOBUF, wide_histograms, 413),
    "a bomb in a subscription": ("url", "/firehose/logs", FIREHOSE, lambda: subscription(gzip.compress(BOMB, 1)), 400),
    "a bomb of bombs": ("otlp_http", "/v1/logs", GZIP, lambda: gzip.compress(gzip.compress(BOMB)), 400),
    "many members": ("otlp_http", "/v1/logs", GZIP, lambda: gzip.compress(bytes(1 << 20)) * 100, 413),
    "another compression than is said": ("otlp_http", "/v1/logs", GZIP,
                                         lambda: bytes(cramjam.zstd.compress(bytes(1000))), 400),
    "snappy that lies of its length": ("url", "/api/v1/write", SNAPPY, lambda: varint(2**32 - 1) + bytes(20), 413),
    "snappy that is shorter": ("url", "/api/v1/write", SNAPPY, lambda: varint(1000) + b"\x00a", 400),
    "a length past the end": ("otlp_http", "/v1/traces", PROTOBUF, lambda: b"\x0a" + varint(1 << 31) + b"x", 400),
    "a length of 2^64": ("otlp_http", "/v1/traces", PROTOBUF, lambda: b"\x0a" + b"\xff" * 9 + b"\x01", 400),
    "no UTF-8": ("otlp_http", "/v1/logs", PROTOBUF, lambda: in_resource("logs", field(1, field(1, b"a\xff"))), 400),
    "no UTF-8 in a label": ("url", "/api/v1/write", SNAPPY,
                            lambda: snappy(field(1, field(1, field(1, b"__name__") + field(2, b"up\xff")) + field(
                                2, remote_write.sample(1.0, otlp.now_ns() // 10**6)))), 400),
    "a key twice in a point": ("otlp_http", "/v1/metrics", JSON, lambda: json.dumps(otlp.gauge_json("x", 1.0)).replace(
        '"asDouble": 1.0', '"asDouble": 1.0, "timeUnixNano": "5"'), 400),
    "a key twice at the top": ("otlp_http", "/v1/metrics", JSON,
                               lambda: twice(otlp.gauge_json("x", 1.0), "resourceMetrics", []), 400),
    "a key twice in a push": ("url", "/loki/api/v1/push", JSON, lambda: twice(
        {"streams": [{"stream": {"a": "b"}, "values": [["1", "x"]]}]}, "streams", []), 400),
    "a key twice in a delivery": ("url", "/firehose/metrics", FIREHOSE,
                                  lambda: twice({"requestId": "r", "records": []}, "requestId", "other"), 400),
    "a number too large": ("otlp_http", "/v1/logs", JSON, lambda: '{"resourceLogs":[{"scopeLogs":[{"logRecords":'
                           '[{"severityNumber":1e400}]}]}]}', 400),
}


def counted(collector):
    """Batches that were refused, and records of others."""
    return refused(collector) + collector.own_metric("tenantscope_ingest_rejected_records_total")


def send(collector, hostile):
    base, path, headers, body, _ = HOSTILE[hostile]
    return collector.session.post(getattr(collector, base) + path, data=body(), headers=headers, timeout=60)


def test_each_has_its_status_and_its_counter_and_leaves_nothing_behind(collector):
    # What fills at first and stays: pools, caches, the allocator's own.
    for hostile in [*HOSTILE] * 2:
        send(collector, hostile)
    before = collector.process.resident_bytes()
    for hostile, (*_, status) in HOSTILE.items():
        counted_before = counted(collector)
        answer = send(collector, hostile)
        assert answer.status_code == status, (hostile, answer.status_code, answer.text[:300])
        assert len(answer.content) < 2000, "an answer does not give a body back"
        eventually(lambda: counted(collector) > counted_before)
        still_serves(collector)
    eventually(lambda: collector.own_metric("tenantscope_ingest_in_flight_bytes") == 0)
    eventually(lambda: collector.process.resident_bytes() <= before * 1.1)


def raw(port, request):
    """Sends bytes as they are; the first line of the answer, or nothing where the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(request)
            answer = connection.recv(4096)
        except (ConnectionResetError, BrokenPipeError):
            return b""
    return answer.split(b"\r\n")[0]


@pytest.mark.parametrize("header", [b"X-Scope-OrgID", b"Authorization", b"Content-Type", b"Content-Encoding",
                                    b"tenantscope-agent", b"X-Amz-Firehose-Request-Id", b"Host"])
def test_headers_of_any_bytes(collector, header):
    body = json.dumps(otlp.gauge_json("by_header", 1.0)).encode()
    hostile = {"a mebibyte": b"x" * (1 << 20), "control characters": b"a\x01b", "a line break": b"a\rb", "zero": b"a\x00b",
               "no UTF-8": b"\xff\xfe", "a look-alike": "аcme".encode(), "right to left": "a\u202eemca".encode(), "empty": b""}
    for name, value in hostile.items():
        head = [b"POST /v1/metrics HTTP/1.1", header + b": " + value, b"Content-Length: %d" % len(body)]
        head += [one for one in (b"Host: x", b"Content-Type: application/json") if not one.startswith(header)]
        line = raw(collector.ports["otlp_http"], b"\r\n".join(head) + b"\r\n\r\n" + body)
        assert not line or line.split()[1] in (b"200", b"400", b"401", b"403", b"415", b"431"), (name, line)
    names = {one["metric"].get("tenant") for one in collector.query('{__name__="by_header"}')}
    assert names <= {"anonymous"}, "no odd name becomes a tenant"
    still_serves(collector)


@pytest.mark.parametrize("text", ["v" * (1 << 20), "\u0000\u0001\u007f", "a\u202eb", "аcme", "\ufeffacme", "acme\u200b", "ACME", "acme "])
def test_what_looks_like_a_tenant_is_no_tenant(collector, text):
    labels = {"__name__": "look_alike", "tenant": text, "odd": text}
    answer = remote_write.push(collector.session, collector.url + "/api/v1/write", [(labels, [(otlp.now_ns() // 10**6, 1.0)])],
                               {"X-Scope-OrgID": "acme"})
    assert answer.status_code in (200, 204, 400), answer.text[:200]
    body = otlp.gauges("look_alike", [({"odd": text, "tenant": text}, 1.0, otlp.now_ns())], {"tenant.id": text, "tenant": text})
    assert collector.send("metrics", body, tenant="acme").status_code in (200, 400)
    spans = otlp.spans(["look_alike"], {"service.name": "look_alike", "tenant.id": text, "cloud.account.id": text})
    assert collector.send("traces", spans, tenant="acme").status_code in (200, 400)
    assert {one["metric"]["tenant"] for one in collector.query('{__name__="look_alike"}')} == {"acme"}
    found = collector.get("/tempo/api/search", q='{ name = "look_alike" }', tenant="acme")
    assert found.status_code == 200 and found.json()["traces"]
    assert not collector.query('{__name__="look_alike"}', tenant="other")
    still_serves(collector)


EDGES = [0.0, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308, float("inf"),
         float("-inf"), float("nan"), 2.0**53 + 2, 2.0**63, -(2.0**63)]


def test_numbers_at_every_edge_come_back_as_they_were(collector):
    now_ms = otlp.now_ns() // 10**6
    written = [({"__name__": "edge", "n": f"{n:02}"}, [(now_ms, value)]) for n, value in enumerate(EDGES)]
    assert remote_write.push(collector.session, collector.url + "/api/v1/write", written).status_code in (200, 204)
    points = [({"n": f"{n:02}"}, value, now_ms * 10**6) for n, value in enumerate(EDGES)]
    assert collector.send("metrics", otlp.gauges("otlp_edge", points)).status_code == 200
    bits = struct.Struct("<d").pack
    for name in ("edge", "otlp_edge"):
        found = {one["metric"]["n"]: float(one["value"][1]) for one in collector.query(name, time_s=now_ms / 1000)}
        assert [bits(found[f"{n:02}"]) for n in range(len(EDGES))] == [bits(value) for value in EDGES]
    # Whole numbers of 64 bits, in JSON as text and as numbers.
    for number in ("9223372036854775807", "-9223372036854775808"):
        for written in (f'"{number}"', number):
            text = json.dumps(otlp.gauge_json("whole", 1.0)).replace('"asDouble": 1.0', f'"asInt": {written}')
            answer = collector.session.post(collector.otlp_http + "/v1/metrics", data=text, headers=JSON, timeout=30)
            assert answer.status_code == 200
            assert collector.value("whole") == float(number)
    still_serves(collector)


@pytest.mark.parametrize("time_s, reason", [
    (YEAR_1_S, "older_than_retention"), (0, "older_than_retention"), (-(2**63 // 1000), "older_than_retention"),
    (YEAR_9999_S, "too_far_ahead"), (2**63 // 10**9, "too_far_ahead"), (2**63 // 1000, "too_far_ahead")])
def test_samples_of_year_1_and_9999_are_refused_and_counted_and_can_be_asked_for(collector, time_s, reason):
    written = [({"__name__": "when"}, [(time_s * 1000, 1.0)])]
    answer = remote_write.push(collector.session, collector.url + "/api/v1/write", written)
    assert answer.status_code == 400 and reason in answer.text
    assert collector.own_metric("tenantscope_ingest_rejected_records_total", signal="metrics", reason=reason) == 1
    for path, more in (("/api/v1/query", {"time": time_s}), ("/api/v1/query_range", {"start": time_s, "end": time_s + 1, "step": 1})):
        asked = collector.get(path, query="when", **more)
        assert asked.status_code == 400 or asked.json()["data"]["result"] == []
    still_serves(collector)


QUERIES = {
    "LogQL in a chain": ("/loki/api/v1/query", "query", "1" + "+1" * 15_000),
    "LogQL's filters in a chain": ("/loki/api/v1/query_range", "query", "{} | a=1" + " or a=1" * 4_000),
    "LogQL in parentheses": ("/loki/api/v1/query", "query", "(" * 10_000 + "1" + ")" * 10_000),
    "TraceQL in a chain": ("/tempo/api/search", "q", "{.a=1" + "||.a=1" * 5_000 + "}"),
    "TraceQL in parentheses": ("/tempo/api/search", "q", "{" + "(" * 10_000 + ".a=1" + ")" * 10_000 + "}"),
    "PromQL in a chain": ("/api/v1/query", "query", "1" + "+1" * 15_000),
    "PromQL in parentheses": ("/api/v1/query", "query", "(" * 10_000 + "1" + ")" * 10_000),
}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_any_height_ends_with_an_answer(collector, query):
    path, name, text = QUERIES[query]
    url = collector.url + path + "?" + urllib.parse.urlencode({name: text})
    answer = collector.session.get(url, timeout=60)
    assert answer.status_code in (400, 414, 422, 431), (answer.status_code, answer.text[:200])
    assert collector.process.running()
    still_serves(collector)
