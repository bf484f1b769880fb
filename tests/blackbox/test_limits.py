"""Limits of a tenant: what is past one is refused with its name, counted, shown, and changes nothing for others."""

import base64
import gzip
import hashlib
import http.client
import json
import random
import string
import time
from concurrent import futures

import grpc
import otlp
import pytest
import remote_write
import requests
import yaml
from collector import eventually
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub

OWN = {"own_series_interval": "500ms"}


def limited(collectors, default=None, tiers=None, **more):
    limits = dict(OWN, default=default or {}, **({"tiers": tiers} if tiers else {}))
    return collectors({"limits": limits, **more})


def refused(collector, reason, tenant="acme"):
    return collector.value(f'sum(tenantscope_tenant_refused_batches_total{{reason="{reason}"}})', tenant=tenant) or 0


def left_out(collector, reason, tenant="acme"):
    return collector.value(f'sum(tenantscope_tenant_rejected_records_total{{reason="{reason}"}})', tenant=tenant) or 0


def send_logs(collector, lines, tenant="acme", **more):
    return collector.send("logs", otlp.logs(lines, **more), tenant=tenant)


@pytest.mark.parametrize("limit, send", [
    ({"log_bytes_per_second": 100}, lambda c, tenant: send_logs(c, ["x" * 2000], tenant)),
    ({"spans_per_second": 1, "spans_burst": 2}, lambda c, tenant: c.send("traces", otlp.spans(["a", "b", "c"]), tenant=tenant)),
    ({"samples_per_second": 1}, lambda c, tenant: c.send("metrics", otlp.gauges("g", [
        ({"i": i}, 1.0, otlp.now_ns()) for i in range(20)]), tenant=tenant)),
    ({"new_series_per_minute": 5}, lambda c, tenant: c.send("metrics", otlp.gauges("g", [
        ({"i": otlp.now_ns() + i}, 1.0, otlp.now_ns()) for i in range(10)]), tenant=tenant)),
])
def test_a_rate_refuses_the_batch_with_a_delay_and_is_one_tenants_own(collectors, limit, send):
    collector = limited(collectors, limit)
    reason = next(iter(limit))
    assert send(collector, "acme").status_code == 200
    second = send(collector, "acme")
    assert second.status_code == 429 and int(second.headers["Retry-After"]) >= 1, second.text
    assert send(collector, "globex").status_code == 200
    assert eventually(lambda: refused(collector, reason)) == 1
    assert refused(collector, reason, "globex") == 0
    assert collector.own_metric("tenantscope_ingest_refused_total", reason=reason) == 1
    page = eventually(lambda: "Refused in the last hour" in (text := collector.get("/tenants/acme").text) and text)
    assert f"<td>{reason}</td>" in page and f'<td class="n">{limit[reason]}</td>' in page


def test_long_lines_and_large_attributes_are_left_out_of_a_batch_and_stay_out_over_a_kill(collectors):
    collector = limited(collectors, {"max_log_line_bytes": 20, "max_attribute_bytes": "1KiB"})
    answer = send_logs(collector, ["kept", "too long, by far too long"])
    assert answer.status_code == 200
    large = send_logs(collector, ["kept too"], attributes={"stack": "x" * 2000})
    assert "max_attribute_bytes: 1" in large.text or b"max_attribute_bytes: 1" in large.content
    assert b"max_log_line_bytes: 1" in answer.content

    def lines():
        found = collector.get("/loki/api/v1/query_range", tenant="acme", query='{service_name="test"}').json()
        return sorted(line for stream in found["data"]["result"] for _, line in stream["values"])

    assert lines() == ["kept"]
    assert eventually(lambda: left_out(collector, "max_log_line_bytes")) == 1
    collector.kill()
    collector.start()
    assert lines() == ["kept"]


def test_labels_and_old_samples_past_a_bound_are_left_out_of_a_remote_write(collectors):
    collector = limited(collectors, {"max_label_names_per_series": 3, "max_label_name_length": 16,
                                     "max_label_value_length": 16, "max_sample_age": "1h"})
    now = int(time.time() * 1000)

    def push(labels, time_ms=now):
        return remote_write.push(collector.session, collector.url + "/api/v1/write", [
            ({"__name__": "good", "i": "1"}, [(now, 1.0)]),
            ({"__name__": "m", **labels}, [(time_ms, 1.0)])], headers={"X-Scope-OrgID": "acme"})

    for labels, time_ms, reason in [
            ({"a": "1", "b": "2", "c": "3"}, now, "max_label_names_per_series"),
            ({"a" * 17: "1"}, now, "max_label_name_length"),
            ({"a": "x" * 17}, now, "max_label_value_length"),
            ({"a": "1"}, now - 3_700_000, "max_sample_age")]:
        answer = push(labels, time_ms)
        assert answer.status_code == 400 and f"{reason}: 1" in answer.text, answer.text
        assert answer.headers["X-Prometheus-Remote-Write-Samples-Written"] == "1"
        assert eventually(lambda: left_out(collector, reason)) == 1
    assert collector.value("count(good)", tenant="acme") == 1
    assert collector.query("m", tenant="acme") == [] and collector.query("m offset 61m", tenant="acme") == []
    assert push({"a": "1"}).status_code == 204


def test_requests_of_one_sender_at_the_same_time_are_bounded(collectors):
    collector = limited(collectors, {"max_concurrent_requests": 1})
    body = otlp.logs(["slow"]).SerializeToString()
    slow = http.client.HTTPConnection("127.0.0.1", collector.ports["otlp_http"], timeout=30)
    slow.putrequest("POST", "/v1/logs")
    for name, value in {"Content-Type": "application/x-protobuf", "X-Scope-OrgID": "acme", "Content-Length": str(len(body))}.items():
        slow.putheader(name, value)
    slow.endheaders()
    eventually(lambda: collector.own_metric("tenantscope_ingest_in_flight_bytes") == len(body), every=0.05)
    second = send_logs(collector, ["x"])
    assert second.status_code == 429 and second.headers["Retry-After"] == "1"
    assert send_logs(collector, ["x"], tenant="globex").status_code == 200
    slow.send(body)
    assert slow.getresponse().status == 200
    assert send_logs(collector, ["x"]).status_code == 200
    assert eventually(lambda: refused(collector, "max_concurrent_requests")) == 1


def test_a_tier_and_a_reload_decide_what_is_in_force(collectors):
    accounts = {"acme": "111122223333", "globex": "444455556666"}
    collector = collectors(start=False)
    collector.folder.mkdir(parents=True, exist_ok=True)
    (collector.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
        {"id": "acme", "accounts": [accounts["acme"]], "attributes": {"tier": "gold"}},
        {"id": "globex", "accounts": [accounts["globex"]]}]}))
    tokens = [{"name": name, "token_sha256": hashlib.sha256(f"token-of-{name}".encode()).hexdigest(), "accounts": [account]}
              for name, account in accounts.items()]
    collector.config = {"registry": {"file": "tenants.yaml"}, "identity": {"tokens": tokens},
                        "limits": dict(OWN, default={"max_log_line_bytes": 10}, tiers={"gold": {"max_log_line_bytes": 20}})}
    collector.start()

    def is_left_out(name):
        headers = {"Authorization": f"Bearer token-of-{name}"}
        answer = collector.send("logs", otlp.logs(["fifteen letters"]), headers=headers)
        assert answer.status_code == 200, answer.text
        return b"max_log_line_bytes" in answer.content

    assert not is_left_out("acme") and is_left_out("globex")
    collector.config["limits"]["tiers"]["gold"]["max_log_line_bytes"] = 5
    collector.command()
    collector.reload()
    eventually(lambda: is_left_out("acme"))


def test_a_body_past_everybodys_bound_is_on_the_tenants_page_with_that_bound(collectors):
    collector = collectors({"limits": {"own_series_interval": "200ms", "max_body_bytes": "4KiB"}})
    assert send_logs(collector, ["kept"]).status_code == 200
    assert send_logs(collector, ["x" * 10_000]).status_code == 413
    assert eventually(lambda: refused(collector, "body_too_large")) == 1
    page = collector.get("/tenants/acme").text
    assert "<td>body_too_large</td>" in page and "max_body_bytes 4096" in page


def test_a_tenant_that_owes_is_refused_before_its_body_is_decoded(collectors):
    collector = limited(collectors, {"samples_per_second": 1, "samples_burst": 1})
    points = [({"i": i}, 1.0, otlp.now_ns()) for i in range(60)]
    assert collector.send("metrics", otlp.gauges("g", points), tenant="acme").status_code == 200
    garbage = {"Content-Encoding": "gzip"}
    assert collector.send("metrics", b"no gzip", tenant="acme", headers=garbage).status_code == 429, "nobody looked into it"
    assert collector.send("metrics", b"no gzip", tenant="globex", headers=garbage).status_code == 400
    assert collector.send("logs", otlp.logs(["another rate"]), tenant="acme").status_code == 200
    assert collector.send("metrics", otlp.gauges("g", points), tenant="globex").status_code == 200
    assert eventually(lambda: refused(collector, "samples_per_second")) == 1
    assert collector.own_metric("tenantscope_ingest_unreserved_total", reason="samples_per_second") == 1


def open_requests(collector, tenant, count, length):
    """Requests whose bodies never come."""
    made = []
    for _ in range(count):
        slow = http.client.HTTPConnection("127.0.0.1", collector.ports["otlp_http"], timeout=30)
        slow.putrequest("POST", "/v1/logs")
        for name, value in {"Content-Type": "application/x-protobuf", "X-Scope-OrgID": tenant, "Content-Length": str(length)}.items():
            slow.putheader(name, value)
        slow.endheaders()
        made.append(slow)
    return made


def test_whoever_holds_all_that_it_may_in_flight_leaves_room_for_others(collectors):
    collector = collectors({"limits": dict(OWN, max_body_bytes="1MiB", max_in_flight_bytes="16MiB")})
    held = open_requests(collector, "acme", 20, 1 << 20) + open_requests(collector, "bully", 20, 1 << 20)
    eventually(lambda: collector.own_metric("tenantscope_ingest_unreserved_total", reason="sender_in_flight") >= 28)
    assert 10 << 20 < collector.own_metric("tenantscope_ingest_in_flight_bytes") <= 12 << 20
    answer = send_logs(collector, ["x"], tenant="acme")
    assert answer.status_code == 429 and answer.headers["Retry-After"] == "1", answer.text
    assert send_logs(collector, ["y" * 900_000], tenant="globex").status_code == 200
    for one in held:
        one.close()
    eventually(lambda: collector.own_metric("tenantscope_ingest_in_flight_bytes") == 0)
    assert send_logs(collector, ["x"], tenant="acme").status_code == 200
    assert eventually(lambda: refused(collector, "sender_in_flight")) >= 12


def test_a_sender_of_garbage_is_not_even_read_after_a_while(collectors):
    collector = limited(collectors)
    bomb = gzip.compress(bytes(100 << 20))

    def send(_):
        answer = requests.post(collector.otlp_http + "/v1/logs", data=bomb, timeout=60, headers={
            "Content-Type": "application/x-protobuf", "Content-Encoding": "gzip", "X-Scope-OrgID": "bully"})
        return answer.status_code

    with futures.ThreadPoolExecutor(40) as pool:
        statuses = set(pool.map(send, range(80)))
    assert statuses == {413, 429}
    assert send_logs(collector, ["x"], tenant="globex").status_code == 200
    assert collector.own_metric("tenantscope_ingest_doubted_total") >= 1
    assert eventually(lambda: refused(collector, "too_much_refused", "bully")) >= 1
    assert refused(collector, "too_much_refused", "globex") == 0


ACCOUNTS = {"acme": "111122223333", "globex": "444455556666"}


def relayed(collectors, **limits):
    """A collector with a relay for two tenants; what the relay sends of metrics of each of them."""
    collector = collectors(start=False)
    collector.folder.mkdir(parents=True, exist_ok=True)
    (collector.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
        {"id": name, "accounts": [account]} for name, account in ACCOUNTS.items()]}))
    tokens = [{"name": "relay", "token_sha256": hashlib.sha256(b"relayed").hexdigest(), "accounts": list(ACCOUNTS.values())}]
    readers = [{"name": name, "token_sha256": hashlib.sha256(f"reads-{name}".encode()).hexdigest(), "scope": {"tenants": [name]}}
               for name in ACCOUNTS]
    collector.config = {"registry": {"file": "tenants.yaml"}, "identity": {"tokens": tokens}, "readers": readers,
                        "limits": dict(OWN, **limits)}
    collector.start()

    def send(**points):
        request = otlp.gauges("g", [])
        del request.resource_metrics[:]
        for name, count in points.items():
            made = [({"i": i}, 1.0, otlp.now_ns()) for i in range(count)]
            request.MergeFrom(otlp.gauges("g", made, {"cloud.account.id": ACCOUNTS[name]}))
        return collector.send("metrics", request, headers={"Authorization": "Bearer relayed"})

    def value(name, expression):
        return collector.value(expression, headers={"Authorization": f"Bearer reads-{name}"}) or 0

    return collector, send, value


@pytest.mark.parametrize("limit", [{"samples_per_second": 1, "samples_burst": 1}, {"active_series": 30}])
def test_a_relays_tenant_past_a_rate_is_left_out_and_its_others_are_stored(collectors, limit):
    reason = next(iter(limit))
    collector, send, value = relayed(collectors, default=limit)
    assert send(acme=30).status_code == 200
    mixed = send(acme=31, globex=20)
    assert mixed.status_code == 200 and f"{reason}: 31".encode() in mixed.content
    alone = send(acme=31)
    assert alone.status_code == 429 and int(alone.headers["Retry-After"]) >= 1, "it may be sent again, nothing was stored"

    def stored():
        return value("acme", "count(g)"), value("globex", "count(g)")

    assert stored() == (30, 20)
    assert eventually(lambda: value("acme", f'sum(tenantscope_tenant_rejected_records_total{{reason="{reason}"}})')) == 31
    assert eventually(lambda: value("acme", f'sum(tenantscope_tenant_refused_batches_total{{reason="{reason}"}})')) == 1
    assert value("globex", 'sum(tenantscope_tenant_rejected_records_total)') == 0
    collector.kill()
    collector.start()
    assert stored() == (30, 20)


def test_a_relay_is_bounded_in_all_that_it_sends(collectors):
    _, send, _ = relayed(collectors, relays={"requests_per_second": 1})
    statuses = [send(acme=1).status_code for _ in range(14)]
    assert statuses[:10] == [200] * 10 and statuses[-1] == 429


def test_a_grpc_message_past_the_bound_is_counted_by_tenant(collectors):
    collector = collectors({"limits": {"own_series_interval": "200ms", "max_body_bytes": "4KiB"}})
    channel = grpc.insecure_channel(f"127.0.0.1:{collector.ports['otlp_grpc']}")
    with pytest.raises(grpc.RpcError) as refusal:
        LogsServiceStub(channel).Export(otlp.logs(["x" * 10_000]), metadata=[("x-scope-orgid", "acme")], timeout=30)
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    channel.close()
    assert eventually(lambda: refused(collector, "body_too_large")) == 1


def test_a_delivery_of_firehose_is_never_answered_with_413(collectors):
    """After 413 alone Firehose does not keep a delivery."""
    collector = collectors({"limits": {"max_firehose_body_bytes": "20MiB"}})

    def deliver(size):
        line = base64.b64encode(json.dumps({"padding": "x" * size}).encode()).decode()
        body = json.dumps({"requestId": "r", "timestamp": 1, "records": [{"data": line}]})
        return collector.session.post(collector.url + "/firehose/logs", data=body, timeout=60, headers={
            "Content-Type": "application/json", "X-Amz-Firehose-Request-Id": "r"})

    for size in (14 << 20, 20 << 20):
        answer = deliver(size)
        assert answer.status_code == 400 and answer.json()["requestId"] == "r", answer.text[:200]
        assert ("is over" in answer.json()["errorMessage"]) == (size == 20 << 20), answer.json()


def test_a_tenants_query_past_a_limit_is_on_its_page(collectors):
    collector = collectors({"limits": {"own_series_interval": "200ms", "default": {"query": {"max_range": "1h"}}}})
    assert collector.send("metrics", otlp.gauge_json("g", 1.0), tenant="acme").status_code == 200
    assert collector.get("/api/v1/query", "acme", query="count_over_time(g[2h])").status_code == 400
    assert collector.get("/api/v1/query", "acme", query="g").status_code == 200
    counted = lambda: collector.value('sum(tenantscope_tenant_refused_queries_total{reason="range"})', tenant="acme")
    assert eventually(counted) == 1
    page = collector.get("/tenants/acme").text
    assert "<td>range</td>" in page and "query.max_range 1h" in page


def test_a_reload_puts_other_sizes_in_force_for_every_way_in(collectors):
    collector = collectors({"limits": dict(OWN)})
    channel = grpc.insecure_channel(f"127.0.0.1:{collector.ports['otlp_grpc']}")
    lines = ["".join(random.Random(i).choices(string.ascii_letters, k=1000)) for i in range(10)]

    def over_grpc():
        try:
            LogsServiceStub(channel).Export(otlp.logs(lines), metadata=[("x-scope-orgid", "acme")], timeout=30)
            return grpc.StatusCode.OK
        except grpc.RpcError as refusal:
            assert "body is over 4096 bytes" in refusal.details()
            return refusal.code()

    def over_remote_write():
        labels = {"__name__": "m", **{f"l{i}": line for i, line in enumerate(lines)}}
        return remote_write.push(collector.session, collector.url + "/api/v1/write", [
            (labels, [(int(time.time() * 1000), 1.0)])], headers={"X-Scope-OrgID": "acme"}).status_code

    def over_firehose():
        data = base64.b64encode(json.dumps({"padding": lines}).encode()).decode()
        body = json.dumps({"requestId": "r", "timestamp": 1, "records": [{"data": data}]})
        answer = collector.session.post(collector.url + "/firehose/logs", data=body, timeout=60, headers={
            "Content-Type": "application/json", "X-Amz-Firehose-Request-Id": "r"})
        return "is over" in answer.json()["errorMessage"]

    def answers():
        return [send_logs(collector, lines).status_code, over_grpc(), over_remote_write(), over_firehose()]

    def put_in_force(**limits):
        collector.config["limits"] = dict(OWN, **limits)
        collector.command()
        reloaded = collector.session.post(collector.url + "/-/reload", timeout=30)
        assert reloaded.status_code == 200, reloaded.text

    taken = [200, grpc.StatusCode.OK, 204, False]
    assert answers() == taken
    put_in_force(max_body_bytes="4KiB", max_firehose_body_bytes="4KiB")
    assert answers() == [413, grpc.StatusCode.INVALID_ARGUMENT, 413, True]
    assert send_logs(collector, ["short"]).status_code == 200
    put_in_force(max_decoded_bytes="4KiB")
    decoded = collector.send("logs", gzip.compress(otlp.logs(["x" * 10_000]).SerializeToString()), tenant="acme",
                             headers={"Content-Encoding": "gzip"})
    assert decoded.status_code == 413 and "4096" in decoded.text, decoded.text
    put_in_force()
    assert answers() == taken
    channel.close()
    assert "in force after a restart only" not in collector.log()


def test_a_reload_that_lowers_what_may_be_under_way_ends_nothing(collectors):
    collector = collectors({"limits": dict(OWN, max_body_bytes="1MiB", max_in_flight_bytes="16MiB")})
    body = otlp.logs(["x" * 900_000]).SerializeToString()
    held = open_requests(collector, "acme", 4, len(body))
    in_flight = lambda: collector.own_metric("tenantscope_ingest_in_flight_bytes")
    eventually(lambda: in_flight() == 4 * len(body), every=0.05)
    collector.config["limits"].update(max_body_bytes="1KiB", max_in_flight_bytes="2MiB")
    collector.command()
    assert collector.session.post(collector.url + "/-/reload", timeout=30).status_code == 200
    full = send_logs(collector, ["y"], tenant="globex")
    assert full.status_code == 503 and full.headers["Retry-After"] == "1", full.text
    for one in held:
        one.send(body)
        assert one.getresponse().status == 200, "it was let in with a larger bound"
    assert eventually(lambda: in_flight() == 0)
    assert send_logs(collector, ["y"], tenant="globex").status_code == 200
