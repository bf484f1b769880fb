"""Every way in: the same data in each form, what the collector answers, and what the store then says whose it is."""

import base64
import gzip
import json
import time
import uuid
from dataclasses import dataclass, field

import cramjam
import grpc
import otlp
import remote_write
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from test_loki_push import entry, protobuf

GARBAGE = b"\xff" * 64
BOMB_BYTES = 2 << 20
PROTOBUF, JSON = {"Content-Type": "application/x-protobuf"}, {"Content-Type": "application/json"}


@dataclass
class Data:
    """What a sender sends in whatever form: a record for each text, found again by the mark, and what it claims to be."""

    mark: str
    texts: list = field(default_factory=lambda: ["x"])
    tenant: str = None
    account: str = None
    delivery: str = field(default_factory=lambda: str(uuid.uuid4()))

    def claims(self, tenant, account):
        """The claims under these names."""
        return {name: value for name, value in ((tenant, self.tenant), (account, self.account)) if value}


@dataclass
class Answer:
    """What a sender is told; `status` is HTTP's number or gRPC's name."""

    status: object
    text: str
    retries: bool = False
    rejected: int = 0


class Sender:
    """Who sends: a session, and what opens a gRPC channel. `tenant` and `account` are whose data it is in truth."""

    def __init__(self, collector, session, credentials=None, tenant=None, account=None, is_relay=False):
        self.collector, self.session, self.credentials = collector, session, credentials
        self.tenant, self.account, self.is_relay = tenant, account, is_relay
        self.channel = None

    def post(self, url, body, headers, extra):
        answer = self.session.post(url, data=body, headers={**headers, **extra}, timeout=30)
        return answer, Answer(answer.status_code, answer.text, int(answer.headers.get("Retry-After", 0)) >= 1)

    def call(self, method, message, response, extra):
        if self.channel is None:
            target = f"localhost:{self.collector.ports['otlp_grpc']}"
            self.channel = grpc.secure_channel(target, self.credentials) if self.credentials else grpc.insecure_channel(target)
        export = self.channel.unary_unary(method, response_deserializer=response.FromString)
        sent = {**self.session.headers, **extra}
        compression = grpc.Compression.Gzip if extra.get("Content-Encoding") == "gzip" else None
        metadata = [(name.lower(), value) for name, value in sent.items() if name in ("Authorization", "X-Scope-OrgID")]
        try:
            partial = export(message, metadata=metadata, compression=compression, timeout=30).partial_success
            return Answer("OK", partial.error_message, rejected=rejected(partial))
        except grpc.RpcError as error:
            details = b"".join(v for k, v in error.trailing_metadata() or () if k == "grpc-status-details-bin")
            return Answer(error.code().name, error.details(), b"google.rpc.RetryInfo" in details)

    def close(self):
        self.session.close()
        if self.channel:
            self.channel.close()


def rejected(partial):
    return sum(getattr(partial, one.name) for one in partial.DESCRIPTOR.fields if one.name.startswith("rejected_"))


class Way:
    """A way in. The statuses: stored; a part, and nothing, of a batch stored; a wrong body; one that is too large;
    a rate is passed; nobody knows the sender."""

    stored, part, nothing, wrong, too_large, throttled, nobody = 200, 200, 200, 400, 413, 429, 401

    def __init__(self, name, signal):
        self.name, self.signal = name, signal

    def send(self, sender, data, **extra):
        return self.deliver(sender, self.body(data), {**self.headers_of(data), **extra})

    def headers_of(self, data):
        return {}

    def bomb(self):
        """A body that is small as sent and too large decompressed, and what its headers say."""
        return gzip.compress(bytes(BOMB_BYTES)), {"Content-Encoding": "gzip"}

    # The limits of a record, as the signal has them.
    def bound(self):
        return {"metrics": "max_label_value_length", "logs": "max_log_line_bytes", "spans": "max_attribute_bytes"}[self.signal]

    def rate(self):
        return {"metrics": "samples_per_second", "logs": "log_bytes_per_second", "spans": "spans_per_second"}[self.signal]

    # What the store says.
    def query(self, mark):
        return f'{{__name__="{mark}"}}'

    def found(self, collector, mark, tenant=None):
        """Whose the store says the marked records are: a list of their names, and of claims that were moved aside."""
        if self.signal == "metrics":
            names = [one["metric"] for one in collector.query(self.query(mark), tenant)]
        elif self.signal == "logs":
            answer = collector.get("/loki/api/v1/query_range", tenant, query=f'{{service_name="{mark}"}}').json()["data"]["result"]
            names = [one["stream"] for one in answer for _ in one["values"]]
        else:
            names = self.found_spans(collector, mark, tenant)
        keys = {"tenant": ("tenant", "tenant.id"), "account": ("account_id", "cloud.account.id"),
                "exported_tenant": ("exported_tenant", "exported_tenant_id", "exported_tenant.id"),
                "exported_account": ("exported_account_id", "exported_cloud_account_id", "exported_cloud.account.id")}
        return [{key: of[name] for key, known in keys.items() for name in known if name in of} for of in names]

    def found_spans(self, collector, mark, tenant):
        found = collector.get("/tempo/api/search", tenant, q=f'{{ resource.service.name = "{mark}" }}').json()["traces"]
        names = []
        for trace in found:
            whole = collector.get("/tempo/api/traces/" + trace["traceID"], tenant).json()
            for batch in whole["batches"]:
                attributes = {one["key"]: one["value"].get("stringValue") for one in batch["resource"]["attributes"]}
                names += [attributes for scope in batch["scopeSpans"] for _ in scope["spans"]]
        return names


def otlp_message(signal, data):
    resource = {"service.name": data.mark, **data.claims("tenant.id", "cloud.account.id")}
    if signal == "metrics":
        del resource["service.name"]
        points = [({"text": text, "i": i, **data.claims("tenant", "account_id")}, 1.0, otlp.now_ns()) for i, text in enumerate(data.texts)]
        return otlp.gauges(data.mark, points, resource)
    if signal == "logs":
        return otlp.logs(data.texts, resource)
    message = otlp.spans(["GET /"] * len(data.texts), resource)
    for span, text in zip(message.resource_spans[0].scope_spans[0].spans, data.texts):
        otlp.set_attributes(span.attributes, {"text": text})
    return message


class OtlpHttp(Way):
    paths = {"metrics": "metrics", "logs": "logs", "spans": "traces"}
    headers = PROTOBUF
    responses = {"metrics": ExportMetricsServiceResponse, "logs": ExportLogsServiceResponse, "spans": ExportTraceServiceResponse}

    def body(self, data):
        return otlp_message(self.signal, data).SerializeToString()

    def deliver(self, sender, body, extra):
        raw, answer = sender.post(f"{sender.collector.otlp_http}/v1/{self.paths[self.signal]}", body, self.headers, extra)
        if raw.status_code == 200:
            answer.text, answer.rejected = self.partial(raw.content)
        return answer

    def partial(self, content):
        partial = self.responses[self.signal].FromString(content).partial_success
        return partial.error_message, rejected(partial)


class OtlpJson(OtlpHttp):
    headers = JSON

    def body(self, data):
        message = MessageToDict(otlp_message(self.signal, data), use_integers_for_enums=True)
        for group in message.get("resourceSpans", []):
            for span in group["scopeSpans"][0]["spans"]:
                # Unlike protobuf's own JSON, OTLP's has these in hexadecimal.
                span.update({key: base64.b64decode(span[key]).hex() for key in ("traceId", "spanId", "parentSpanId") if key in span})
        return json.dumps(message).encode()

    def partial(self, content):
        partial = json.loads(content).get("partialSuccess", {})
        counts = [int(value) for key, value in partial.items() if key.startswith("rejected")]
        return partial.get("errorMessage", ""), sum(counts)


class OtlpGrpc(OtlpHttp):
    stored = part = nothing = "OK"
    wrong, too_large, throttled, nobody = "INVALID_ARGUMENT", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED"
    services = {"metrics": "metrics.v1.Metrics", "logs": "logs.v1.Logs", "spans": "trace.v1.Trace"}

    def bomb(self):
        return bytes(BOMB_BYTES), {"Content-Encoding": "gzip"}

    def deliver(self, sender, body, extra):
        method = f"/opentelemetry.proto.collector.{self.services[self.signal]}Service/Export"
        return sender.call(method, body, self.responses[self.signal], extra)


class RemoteWrite(Way):
    stored, part, nothing = 204, 400, 400
    headers = remote_write.HEADERS

    def bomb(self):
        return bytes(cramjam.snappy.compress_raw(bytes(BOMB_BYTES))), {}

    def series(self, data):
        at_ms = time.time_ns() // 1_000_000
        labels = {"__name__": data.mark, **data.claims("tenant", "account_id")}
        return [({**labels, "i": str(i), "text": text}, [(at_ms, 1.0)]) for i, text in enumerate(data.texts)]

    def body(self, data):
        return remote_write.body(self.series(data))

    def deliver(self, sender, body, extra):
        return sender.post(sender.collector.url + "/api/v1/write", body, self.headers, extra)[1]


class RemoteWrite2(RemoteWrite):
    headers = remote_write.HEADERS_2

    def body(self, data):
        request = remote_write.Request2()
        for labels, samples in self.series(data):
            request.add(labels, samples)
        return bytes(cramjam.snappy.compress_raw(request.message()))


class Loki(Way):
    stored, part, nothing = 204, 400, 400
    headers = PROTOBUF

    def bomb(self):
        return bytes(cramjam.snappy.compress_raw(bytes(BOMB_BYTES))), {}

    def labels(self, data):
        return {"service_name": data.mark, **data.claims("tenant", "account_id")}

    def body(self, data):
        labels = ", ".join(f'{name}="{value}"' for name, value in self.labels(data).items())
        return protobuf([("{" + labels + "}", [entry(text) for text in data.texts])])

    def deliver(self, sender, body, extra):
        return sender.post(sender.collector.url + "/loki/api/v1/push", body, self.headers, extra)[1]


class LokiJson(Loki):
    headers = JSON
    bomb = Way.bomb

    def body(self, data):
        values = [[str(time.time_ns() + i), text] for i, text in enumerate(data.texts)]
        return json.dumps({"streams": [{"stream": self.labels(data), "values": values}]}).encode()


class Firehose(Way):
    """Metric streams in CloudWatch's JSON. The records name their account; a tenant they can claim by the stream's
    common attributes alone."""

    # 413 would make Firehose forget the delivery.
    nothing, too_large = 400, 400

    def query(self, mark):
        return f'aws_lambda_errors_sum{{dimension_FunctionName="{mark}"}}'

    def records(self, data):
        at_ms = int(time.time()) // 60 * 60_000
        return [json.dumps({"metric_stream_name": "s", "account_id": data.account, "region": "eu-west-1", "namespace": "AWS/Lambda",
                            "metric_name": "Errors", "dimensions": {"FunctionName": data.mark, "I": str(i), "Text": text},
                            "timestamp": at_ms, "value": {"max": 1.0, "min": 1.0, "sum": 1.0, "count": 1.0}, "unit": "Count"}).encode() + b"\n"
                for i, text in enumerate(data.texts)]

    def body(self, data):
        records = [{"data": base64.b64encode(record).decode()} for record in self.records(data)]
        return json.dumps({"requestId": data.delivery, "timestamp": time.time_ns() // 1_000_000, "records": records}).encode()

    def headers_of(self, data):
        common = {"X-Amz-Firehose-Common-Attributes": json.dumps({"commonAttributes": {"tenant.id": data.tenant}})}
        return {"X-Amz-Firehose-Request-Id": data.delivery, **(common if data.tenant else {})}

    def deliver(self, sender, body, extra):
        request_id = extra.setdefault("X-Amz-Firehose-Request-Id", str(uuid.uuid4()))
        path = {"metrics": "/firehose/metrics", "logs": "/firehose/logs"}[self.signal]
        raw, answer = sender.post(sender.collector.url + path, body, JSON, extra)
        assert raw.json()["requestId"] == request_id and ("errorMessage" in raw.json()) == (raw.status_code != 200)
        return answer


class FirehoseOtlp(Firehose):
    """Metric streams in OpenTelemetry 1.0, each message behind its length."""

    def records(self, data):
        message = otlp.gauges("amazonaws.com/AWS/Lambda/Errors", [], {"cloud.provider": "aws", "cloud.account.id": data.account,
                                                                     "cloud.region": "eu-west-1"})
        metric = message.resource_metrics[0].scope_metrics[0].metrics[0]
        at_ns = int(time.time()) // 60 * 60 * 10**9
        for i, text in enumerate(data.texts):
            point = metric.summary.data_points.add(start_time_unix_nano=at_ns, time_unix_nano=at_ns, count=1, sum=1)
            otlp.set_attributes(point.attributes, {"Namespace": "AWS/Lambda", "MetricName": "Errors"})
            dimensions = point.attributes.add(key="Dimensions").value.kvlist_value
            for name, value in {"FunctionName": data.mark, "I": str(i), "Text": text}.items():
                dimensions.values.add(key=name).value.string_value = value
        encoded = message.SerializeToString()
        return [remote_write.varint(len(encoded)) + encoded]


class FirehoseLogs(Firehose):
    def records(self, data):
        events = [{"id": str(i), "timestamp": time.time_ns() // 1_000_000 + i, "message": text} for i, text in enumerate(data.texts)]
        return [gzip.compress(json.dumps({
            "messageType": "DATA_MESSAGE", "owner": data.account, "logGroup": f"/aws/lambda/{data.mark}", "logStream": "s",
            "subscriptionFilters": ["f"], "logEvents": events}).encode())]


ORDINARY = [make(f"{name} {signal}", signal) for name, make in (("gRPC", OtlpGrpc), ("HTTP", OtlpHttp), ("JSON", OtlpJson))
            for signal in ("metrics", "logs", "spans")]
ORDINARY += [RemoteWrite("remote write 1.0", "metrics"), RemoteWrite2("remote write 2.0", "metrics"),
             Loki("Loki", "logs"), LokiJson("Loki JSON", "logs")]
DELIVERIES = [Firehose("Firehose metrics JSON", "metrics"), FirehoseOtlp("Firehose metrics OTLP", "metrics"),
              FirehoseLogs("Firehose logs", "logs")]
