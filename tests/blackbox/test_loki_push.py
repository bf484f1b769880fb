"""Loki's own push: protobuf in snappy as its agents send it, and JSON."""

import gzip
import json
import time

import cramjam
from collector import eventually
from remote_write import field, varint


def entry(line, time_ns=None, metadata=None):
    time_ns = time_ns or time.time_ns()
    timestamp = b"\x08" + varint(time_ns // 10**9) + b"\x10" + varint(time_ns % 10**9)
    pairs = b"".join(field(3, field(1, k.encode()) + field(2, v.encode())) for k, v in (metadata or {}).items())
    return field(2, field(1, timestamp) + field(2, line.encode()) + pairs)


def protobuf(streams):
    """A PushRequest of (labels, entries), as it is sent."""
    message = b"".join(field(1, field(1, labels.encode()) + b"".join(entries)) for labels, entries in streams)
    return bytes(cramjam.snappy.compress_raw(message))


def push(collector, body, tenant=None, **headers):
    if not isinstance(body, bytes):
        body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    else:
        headers = {"Content-Type": "application/x-protobuf", **headers}
    headers.update({"X-Scope-OrgID": tenant} if tenant else {})
    return collector.session.post(collector.url + "/loki/api/v1/push", data=body, headers=headers, timeout=30)


def stream(labels, *values):
    return {"streams": [{"stream": labels, "values": [[str(time.time_ns()), *value] for value in values]}]}


def found(collector, query, tenant=None):
    answer = collector.get("/loki/api/v1/query_range", tenant=tenant, query=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["result"]


def test_what_is_pushed_is_found_by_its_labels_under_its_tenant(collector):
    trace = "58406520a006649127e371903a2de979"
    line = entry("payment declined", metadata={"trace_id": trace, "user": "u1"})
    assert push(collector, protobuf([('{job="shop/api", service_name="api", level="error"}', [line])]), tenant="acme").status_code == 204
    [one] = found(collector, '{job="shop/api", level="error"} | user="u1"')
    shown = {"tenant": "acme", "job": "shop/api", "service_name": "api", "level": "error", "user": "u1", "trace_id": trace}
    assert shown.items() <= one["stream"].items()
    assert one["values"][0][1] == "payment declined"
    assert found(collector, '{service_name="api"} | job="shop/api"')
    labels = collector.get("/loki/api/v1/labels", tenant="acme").json()["data"]
    assert "job" in labels and "user" not in labels
    assert collector.get("/loki/api/v1/label/job/values", tenant="acme").json()["data"] == ["shop/api"]
    assert collector.get("/loki/api/v1/label/job/values", tenant="globex").json()["data"] == []
    [series] = collector.get("/loki/api/v1/series", tenant="acme", **{"match[]": '{job=~"shop/.*"}'}).json()["data"]
    assert series["job"] == "shop/api"
    assert found(collector, f'{{service_name="api"}} | trace_id="{trace}"')
    assert not found(collector, '{service_name="api"}', tenant="globex")


def test_json_plain_and_in_gzip(collector):
    assert push(collector, stream({"job": "cron"}, ["first"], ["second", {"k": "v"}])).status_code == 204
    packed = gzip.compress(json.dumps(stream({"job": "cron"}, ["third"])).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert push(collector, packed, **headers).status_code == 204
    lines = [value[1] for one in found(collector, '{service_name="cron"}') for value in one["values"]]
    assert sorted(lines) == ["first", "second", "third"]


def test_a_claimed_tenant_is_moved_aside(collector):
    before = collector.own_metric("tenantscope_ingest_moved_claims_total", signal="logs")
    assert push(collector, stream({"app": "a", "tenant": "globex"}, ["forged"]), tenant="acme").status_code == 204
    assert [one["stream"]["tenant"] for one in found(collector, '{service_name="a"}')] == ["acme"]
    assert not found(collector, '{service_name="a"}', tenant="globex")
    assert collector.own_metric("tenantscope_ingest_moved_claims_total", signal="logs") == before + 1


def test_what_is_wrong_says_so_and_is_counted(collector):
    for body, what in [({"streams": []}, "stream"), (stream({"a b": "c"}, ["x"]), "labels"), (b"not snappy", "decompress"),
                       (stream({}, ["x"]), "missing_labels")]:
        answer = push(collector, body)
        assert answer.status_code == 400 and what in answer.text, answer.text
    eventually(lambda: collector.own_metric("tenantscope_ingest_refused_total", signal="logs", reason="malformed") == 2)
    assert collector.own_metric("tenantscope_ingest_rejected_records_total", reason="missing_labels") == 1


def test_acknowledged_lines_survive_kill_9(collector):
    assert push(collector, protobuf([('{app="safe"}', [entry("kept")])])).status_code == 204
    collector.kill()
    collector.start()
    assert [one["values"][0][1] for one in found(collector, '{service_name="safe"}')] == ["kept"]
