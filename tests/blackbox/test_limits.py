"""Limits of a tenant: what is past one is refused with its name, counted, shown, and changes nothing for others."""

import hashlib
import http.client
import time

import otlp
import pytest
import remote_write
import yaml
from collector import eventually

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
