"""Amazon Data Firehose delivers metric streams and log subscriptions by HTTP."""

import base64
import gzip
import hashlib
import json
import time
import uuid

import pytest
import yaml
from collector import eventually
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from remote_write import varint

ACME, GLOBEX = "111122223333", "444455556666"
KEY = "a-streams-access-key"


@pytest.fixture
def strict(collectors):
    running = collectors({
        "identity": {"firehose": [{"name": "acme", "key_sha256": hashlib.sha256(KEY.encode()).hexdigest(), "accounts": [ACME]}]},
        "registry": {"file": "tenants.yaml"},
        "readers": [{"name": "oncall", "token_sha256": hashlib.sha256(b"oncall").hexdigest(), "scope": "all"}],
    }, start=False)
    running.folder.mkdir(parents=True)
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
        {"id": "acme", "accounts": [ACME]}, {"id": "globex", "accounts": [GLOBEX]}]}))
    running.start()
    running.session.headers["Authorization"] = "Bearer oncall"
    return running


def deliver(collector, what, records, request_id=None, key=KEY, **headers):
    """A delivery as Firehose makes it; `records` are bytes."""
    request_id = request_id or str(uuid.uuid4())
    body = json.dumps({"requestId": request_id, "timestamp": int(time.time() * 1000),
                       "records": [{"data": base64.b64encode(record).decode()} for record in records]}).encode()
    headers = {"X-Amz-Firehose-Protocol-Version": "1.0", "X-Amz-Firehose-Request-Id": request_id,
               "X-Amz-Firehose-Source-Arn": f"arn:aws:firehose:eu-west-1:{ACME}:deliverystream/s",
               "X-Amz-Firehose-Access-Key": key, "Content-Type": "application/json", **headers}
    if headers.get("Content-Encoding") == "gzip":
        body = gzip.compress(body)
    answer = collector.session.post(f"{collector.url}/firehose/{what}", data=body, headers=headers, timeout=30)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["requestId"] == request_id and answer.json()["timestamp"] > 1_700_000_000_000
    assert ("errorMessage" in answer.json()) == (answer.status_code != 200)
    return answer


def datum(account=ACME, **value):
    minute = int(time.time()) // 60 * 60 * 1000
    return json.dumps({"metric_stream_name": "s", "account_id": account, "region": "eu-west-1", "namespace": "AWS/Lambda",
                       "metric_name": "Errors", "dimensions": {"FunctionName": "checkout"}, "timestamp": minute,
                       "value": value or {"max": 2.0, "min": 0.0, "sum": 3.0, "count": 4.0}, "unit": "Count"}).encode() + b"\n"


def otlp_1_0():
    """The same datapoint in OpenTelemetry's form, with its length before it."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    for key, value in {"cloud.provider": "aws", "cloud.account.id": ACME, "cloud.region": "eu-west-1"}.items():
        group.resource.attributes.add(key=key).value.string_value = value
    metric = group.scope_metrics.add().metrics.add(name="amazonaws.com/AWS/Lambda/Errors", unit="{Count}")
    minute = int(time.time()) // 60 * 60 * 10**9
    point = metric.summary.data_points.add(start_time_unix_nano=minute, time_unix_nano=minute + 60 * 10**9, count=4, sum=3)
    point.quantile_values.add(quantile=0.0, value=0.0)
    point.quantile_values.add(quantile=1.0, value=2.0)
    point.attributes.add(key="Namespace").value.string_value = "AWS/Lambda"
    point.attributes.add(key="MetricName").value.string_value = "Errors"
    dimensions = point.attributes.add(key="Dimensions").value.kvlist_value
    dimensions.values.add(key="FunctionName").value.string_value = "checkout"
    message = request.SerializeToString()
    return varint(len(message)) + message


@pytest.mark.parametrize("record", [datum, otlp_1_0])
@pytest.mark.parametrize("encoding", [{}, {"Content-Encoding": "gzip"}])
def test_a_metric_stream_has_yaces_names(strict, record, encoding):
    assert deliver(strict, "metrics", [record()], **encoding).status_code == 200
    labels = f'tenant="acme", account_id="{ACME}", region="eu-west-1", dimension_FunctionName="checkout"'
    for statistic, value in {"sum": 3.0, "maximum": 2.0, "minimum": 0.0, "sample_count": 4.0, "average": 0.75}.items():
        assert strict.value(f"aws_lambda_errors_{statistic}{{{labels}}}") == value


def subscription(*lines, kind="DATA_MESSAGE", owner=ACME):
    events = [{"id": str(n), "timestamp": int(time.time() * 1000) + n, "message": line} for n, line in enumerate(lines)]
    return gzip.compress(json.dumps({"messageType": kind, "owner": owner, "logGroup": "/aws/lambda/checkout", "logStream": "s",
                                     "subscriptionFilters": ["f"], "logEvents": events}).encode())


def lines(collector, query):
    answer = collector.get("/loki/api/v1/query_range", query=query).json()
    return sorted(value[1] for one in answer["data"]["result"] for value in one["values"])


def test_a_log_subscription_is_found_by_its_group_and_service(strict):
    records = [subscription("CWL CONTROL MESSAGE: checking", kind="CONTROL_MESSAGE"), subscription("[ERROR] boom", "calm")]
    common = json.dumps({"commonAttributes": {"deployment.environment": "production"}})
    assert deliver(strict, "logs", records, **{"X-Amz-Firehose-Common-Attributes": common}).status_code == 200
    names = f'tenant="acme", account_id="{ACME}", region="eu-west-1", service_name="checkout", log_group="/aws/lambda/checkout"'
    assert lines(strict, f"{{{names}}}") == ["[ERROR] boom", "calm"]
    assert lines(strict, f'{{{names}, level="error"}}') == ["[ERROR] boom"]


def test_a_delivery_is_stored_once_over_kill_9_too(strict):
    request_id = str(uuid.uuid4())
    for _ in range(2):
        assert deliver(strict, "logs", [subscription("once")], request_id).status_code == 200
    strict.kill()
    strict.start()
    assert deliver(strict, "logs", [subscription("once")], request_id).status_code == 200
    assert lines(strict, '{service_name="checkout"}') == ["once"]
    assert strict.own_metric("tenantscope_ingest_repeats_total", signal="logs") == 1


def test_the_key_decides_and_not_the_record(strict):
    assert deliver(strict, "metrics", [datum(account=GLOBEX, sum=9.0)]).status_code == 200
    assert strict.value('aws_lambda_errors_sum{tenant="acme"}') == 9.0
    assert strict.query('aws_lambda_errors_sum{tenant="globex"}') == []
    wrong = deliver(strict, "metrics", [datum()], key="guessed")
    assert wrong.status_code == 401 and "access key" in wrong.json()["errorMessage"]


def test_what_has_no_meaning_is_left_out_and_counted_or_refused(strict):
    assert deliver(strict, "metrics", [b"{}\n" + datum(sum=1.0)]).status_code == 200
    assert strict.value("aws_lambda_errors_sum") == 1.0
    assert strict.own_metric("tenantscope_ingest_rejected_records_total", reason="malformed_record") == 1
    assert deliver(strict, "logs", [b"nothing"]).status_code == 400
    eventually(lambda: strict.own_metric("tenantscope_ingest_refused_total", signal="logs", reason="malformed") == 1)
