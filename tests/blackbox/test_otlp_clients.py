"""OpenTelemetry's own SDKs send to us, and OTLP's answers are what its specification says."""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import grpc
import otlp
import pytest
from collector import eventually
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub

NODE = Path(__file__).resolve().parents[1] / "node"


@pytest.fixture(scope="module")
def node_modules():
    """The folder where the SDK for Node.js is installed, as its lock file says."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("there is no Node.js here")
    cache = Path(os.environ.get("TENANTSCOPE_CACHE", Path.home() / ".cache" / "tenantscope"))
    sum_ = hashlib.sha256((NODE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = cache / f"node-{sum_}"
    if not (folder / ".complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NODE / name, folder)
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=folder, check=True, capture_output=True, timeout=300)
        (folder / ".complete").touch()
    return folder


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf", "http/json"])
def test_the_sdk_for_node_sends_all_signals(collector, node_modules, protocol, compression):
    endpoint = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    sent = subprocess.run(["node", NODE / "send.js", protocol, endpoint, "acme", compression], capture_output=True, text=True,
                          env={**os.environ, "NODE_MODULES_OF": str(node_modules)}, timeout=60, check=False)
    assert sent.returncode == 0 and not sent.stderr, sent.stderr
    trace = sent.stdout.split()[-1]
    assert "GET /cart" in collector.get("/tempo/api/traces/" + trace, tenant="acme").text
    assert collector.value('shop_orders_total{shop_kind="book", job="storefront-js", tenant="acme"}') == 3.0
    assert collector.value('http_server_request_duration_seconds_count{tenant="acme"}') == 1.0
    lines = collector.get("/loki/api/v1/query_range", query='{service_name="storefront-js", level="error"}').json()
    assert lines["data"]["result"][0]["values"][0][1] == "payment declined"


def ahead_and_now():
    """A gauge with one point of tomorrow, which is not taken, and one of now."""
    return otlp.gauges("clock", [({"k": "ahead"}, 1.0, otlp.now_ns() + 86_400 * 10**9), ({"k": "now"}, 1.0, otlp.now_ns())])


def test_partial_success_tells_count_and_reason_in_every_form(collector):
    by_protobuf = collector.send("metrics", ahead_and_now())
    assert (by_protobuf.status_code, by_protobuf.headers["Content-Type"]) == (200, "application/x-protobuf")
    partial = ExportMetricsServiceResponse.FromString(by_protobuf.content).partial_success
    assert (partial.rejected_data_points, partial.error_message) == (1, "too_far_ahead: 1")
    ahead = otlp.gauge_json("clock", 1.0, time_ns=otlp.now_ns() + 86_400 * 10**9)
    by_json = collector.send("metrics", ahead)
    assert (by_json.status_code, by_json.headers["Content-Type"]) == (200, "application/json")
    assert by_json.json() == {"partialSuccess": {"rejectedDataPoints": "1", "errorMessage": "too_far_ahead: 1"}}
    with grpc.insecure_channel(f"127.0.0.1:{collector.ports['otlp_grpc']}") as channel:
        answer = MetricsServiceStub(channel).Export(ahead_and_now(), timeout=20)
    assert answer.partial_success.rejected_data_points == 1
    assert collector.own_metric("tenantscope_ingest_rejected_records_total", reason="too_far_ahead") == 3


def test_full_success_leaves_partial_success_unset(collector):
    whole = collector.send("logs", otlp.logs(["x"]))
    assert whole.status_code == 200 and not ExportLogsServiceResponse.FromString(whole.content).HasField("partial_success")
    assert collector.send("metrics", otlp.gauge_json("a", 1.0)).json() == {}
    empty = collector.send("traces", {"resourceSpans": []})
    assert (empty.status_code, empty.json()) == (200, {})


def test_a_refusal_is_a_status_message_in_the_requests_form(collector):
    by_json = collector.send("metrics", {"resourceMetrics": "none"})
    assert (by_json.status_code, by_json.headers["Content-Type"]) == (400, "application/json")
    assert by_json.json()["code"] == 3 and by_json.json()["message"]
    by_protobuf = collector.send("metrics", b"\xff\xff")
    assert (by_protobuf.status_code, by_protobuf.headers["Content-Type"]) == (400, "application/x-protobuf")
    assert by_protobuf.content.startswith(b"\x08\x03\x12")


def test_json_follows_protobufs_mapping(collector):
    point = {"timeUnixNano": time.time_ns(), "asInt": "7", "newField": {"a": [1]}, "attributes": [{"key": "k", "value": {"intValue": "5"}}]}
    metrics = [{"name": "queue.depth", "newField": 1, "gauge": {"dataPoints": [point]}},
               {"name": "nothing.known", "gauge": {"dataPoints": [{**point, "asInt": None, "asDouble": "NaN"}]}}]
    body = {"resourceMetrics": [{"newField": True, "scopeMetrics": [{"metrics": metrics}]}], "newField": None}
    taken = collector.send("metrics", body)
    assert (taken.status_code, taken.text) == (200, "{}")
    assert collector.value('queue_depth{k="5"}') == 7.0
    assert str(collector.value("nothing_known")) == "nan"
    span = {"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "name": "GET /", "kind": 2,
            "startTimeUnixNano": str(time.time_ns()), "endTimeUnixNano": str(time.time_ns())}
    spans = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    assert collector.send("traces", spans).status_code == 200
    assert "GET /" in eventually(lambda: collector.get("/tempo/api/traces/5b8efff798038103d269b633813fc60c")).text
    wrong = [{"name": "a", "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [{**point, "timeUnixNano": "x"}]}}]
    assert collector.send("metrics", {"resourceMetrics": [{"scopeMetrics": [{"metrics": wrong}]}]}).status_code == 400


def test_names_keep_their_characters_where_that_is_configured(collectors):
    plain, whole = collectors(name="plain"), collectors({"limits": {"utf8_names": True}}, name="whole")
    body = otlp.gauges("queue.depth", [({"http.method": "GET"}, 7.0, otlp.now_ns())])
    for collector in (plain, whole):
        assert collector.send("metrics", body).status_code == 200
    assert plain.value('queue_depth{http_method="GET"}') == 7.0
    whole.kill()
    whole.start()
    assert whole.value('{"queue.depth", "http.method"="GET"}') == 7.0
    assert whole.query("queue_depth") == []
