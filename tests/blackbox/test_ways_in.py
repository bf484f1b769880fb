"""OTLP over gRPC and HTTP, by the official exporters and by hand, in every compression."""

import gzip

import grpc
import otlp
import pytest
from collector import eventually
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

RESOURCE = Resource.create({"service.name": "storefront"})


def spans_by(exporter):
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("GET /cart") as span:
        span.set_attribute("http.response.status_code", 200)
    provider.shutdown()
    return f"{span.get_span_context().trace_id:032x}"


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_official_grpc_exporter_sends_spans(collector, compression):
    trace = spans_by(GrpcSpanExporter(endpoint=collector.otlp_grpc, insecure=True, compression=compression,
                                      headers={"x-scope-orgid": "acme"}))
    assert "GET /cart" in collector.get("/tempo/api/traces/" + trace, tenant="acme").text
    assert collector.get("/tempo/api/traces/" + trace, tenant="globex").status_code == 404


def test_official_http_exporter_sends_spans(collector):
    trace = spans_by(HttpSpanExporter(endpoint=collector.otlp_http + "/v1/traces", headers={"X-Scope-OrgID": "acme"}))
    assert "GET /cart" in collector.get("/tempo/api/traces/" + trace).text


def test_official_grpc_exporter_sends_metrics(collector):
    reader = PeriodicExportingMetricReader(GrpcMetricExporter(endpoint=collector.otlp_grpc, insecure=True))
    provider = MeterProvider(resource=RESOURCE, metric_readers=[reader])
    meter = provider.get_meter("test")
    meter.create_counter("shop.orders", unit="{order}").add(3, {"shop.kind": "book"})
    meter.create_histogram("http.server.request.duration", unit="s").record(0.2)
    provider.shutdown()
    assert collector.value('shop_orders_total{shop_kind="book", job="storefront"}') == 3.0
    assert collector.value("http_server_request_duration_seconds_count") == 1.0
    assert collector.value('http_server_request_duration_seconds_bucket{le="5"}') == 1.0
    assert collector.value('target_info{job="storefront"}') == 1.0


def test_logs_by_grpc(collector):
    with grpc.insecure_channel(f"127.0.0.1:{collector.ports['otlp_grpc']}") as channel:
        LogsServiceStub(channel).Export(otlp.logs(["payment declined"]), metadata=[("x-scope-orgid", "acme")],
                                        compression=grpc.Compression.Gzip, timeout=20)
    found = collector.get("/loki/api/v1/query_range", query='{service_name="test"} |= "declined"').json()["data"]["result"]
    assert found[0]["stream"]["tenant"] == "acme"


def test_gzip_by_http(collector):
    body = gzip.compress(otlp.gauges("shop_carts", [({}, 7.0, otlp.now_ns())]).SerializeToString())
    assert collector.send("metrics", body, headers={"Content-Encoding": "gzip"}).status_code == 200
    assert collector.value("shop_carts") == 7.0


def test_debians_prometheus_writes_to_us(collector, tmp_path):
    import shutil
    from processes import Process, answers, free_port
    program = shutil.which("prometheus")
    if not program:
        pytest.skip("Debian's prometheus is not to be had here")
    port = free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(f"""
global: {{scrape_interval: 1s}}
scrape_configs: [{{job_name: self, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
remote_write: [{{url: "{collector.url}/api/v1/write"}}]
""")
    peer = Process("prometheus", [program, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'prometheus'}",
                                  f"--web.listen-address=127.0.0.1:{port}"], tmp_path / "prometheus.log")
    try:
        peer.wait_until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), 30, "was not ready")
        eventually(lambda: collector.value('up{job="self", tenant="anonymous"}') == 1.0)
    finally:
        peer.stop()
