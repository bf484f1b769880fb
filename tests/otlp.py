"""OTLP messages for tests."""

import secrets
import time

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue


def now_ns():
    return time.time_ns()


def set_attributes(target, attributes):
    for key, value in attributes.items():
        pair = KeyValue(key=key)
        if isinstance(value, bool):
            pair.value.bool_value = value
        elif isinstance(value, int):
            pair.value.int_value = value
        elif isinstance(value, float):
            pair.value.double_value = value
        else:
            pair.value.string_value = value
        target.append(pair)


def gauges(name, points, resource=None):
    """A gauge; `points` are (attributes, value, time_ns)."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    set_attributes(group.resource.attributes, resource or {})
    metric = group.scope_metrics.add().metrics.add(name=name)
    for attributes, value, time_ns in points:
        point = metric.gauge.data_points.add(time_unix_nano=time_ns, as_double=value)
        set_attributes(point.attributes, attributes)
    return request


def gauge_json(name, value, resource=None, time_ns=None):
    """One gauge in OTLP's JSON form."""
    attributes = [{"key": k, "value": {"stringValue": v}} for k, v in (resource or {}).items()]
    point = {"timeUnixNano": str(time_ns or now_ns()), "asDouble": value}
    metric = {"name": name, "gauge": {"dataPoints": [point]}}
    return {"resourceMetrics": [{"resource": {"attributes": attributes}, "scopeMetrics": [{"metrics": [metric]}]}]}


def logs(bodies, resource=None, time_ns=None, attributes=None, severity="INFO"):
    """Log records with these bodies."""
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    set_attributes(group.resource.attributes, resource or {"service.name": "test"})
    scope = group.scope_logs.add()
    for number, body in enumerate(bodies):
        record = scope.log_records.add(time_unix_nano=(time_ns or now_ns()) + number, severity_text=severity)
        record.body.string_value = body
        set_attributes(record.attributes, attributes or {})
    return request


def spans(names, resource=None, trace_id=None, start_ns=None, duration_ms=5, error=False, attributes=None):
    """A trace: the first span is the root, the others are its children."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    set_attributes(group.resource.attributes, resource or {"service.name": "test"})
    scope = group.scope_spans.add()
    trace_id = trace_id or secrets.token_bytes(16)
    start_ns = start_ns or now_ns()
    root = None
    for name in names:
        span = scope.spans.add(trace_id=trace_id, span_id=secrets.token_bytes(8), name=name, kind=2 if root is None else 3,
                               start_time_unix_nano=start_ns, end_time_unix_nano=start_ns + duration_ms * 1_000_000)
        if root is None:
            root = span.span_id
        else:
            span.parent_span_id = root
        if error:
            span.status.code = 2
        set_attributes(span.attributes, attributes or {})
    return request
