"""Everything stamped goes on: none missing after the target was away and the collector was killed, each stored once."""

import hashlib

import otlp
import yaml
from collector import eventually

ACCOUNT = "111122223333"
TOKEN = "a-forwarders-token"


def second_collector(collectors):
    """A collector that takes what another one forwards, under the accounts that its token may speak for."""
    second = collectors({"identity": {"tokens": [{"name": "first", "accounts": [ACCOUNT, "444455556666"],
                                                  "token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}]},
                         "registry": {"file": "tenants.yaml"}}, name="second", start=False)
    write_registry(second)
    second.start()
    return second


def write_registry(collector):
    collector.folder.mkdir(parents=True, exist_ok=True)
    (collector.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
        {"id": "acme", "accounts": [ACCOUNT]}, {"id": "globex", "accounts": ["444455556666"]}]}))


def first_collector(collectors, second, kind, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "forward.token").write_text(TOKEN)
    url = second.otlp_grpc if kind == "otlp_grpc" else second.otlp_http
    first = collectors({
        "identity": {"tokens": [{"name": "sender", "accounts": [ACCOUNT],
                                 "token_sha256": hashlib.sha256(b"sender").hexdigest()}]},
        "registry": {"file": "tenants.yaml"}, "journal": {"segment_max_bytes": "64KiB"},
        "forward": [{"name": "second", "kind": kind, "url": url, "token_file": "forward.token"}]}, name="first", start=False)
    write_registry(first)
    first.start()
    return first


def send(first, number):
    headers = {"Authorization": "Bearer sender"}
    padding = "x" * 400
    assert first.send("logs", otlp.logs([f"line {number} {i} {padding}" for i in range(20)]), headers=headers).status_code == 200
    assert first.send("traces", otlp.spans([f"span {number}"]), headers=headers).status_code == 200
    gauge = otlp.gauges("forwarded", [({"n": str(number)}, float(number), otlp.now_ns())])
    assert first.send("metrics", gauge, headers=headers).status_code == 200


def stored(second):
    """Log lines, spans and series that the second collector has of the first one's tenant."""
    streams = second.get("/loki/api/v1/query_range", query='{tenant="acme"}', limit=5000).json()["data"]["result"]
    lines = [line for stream in streams for _, line in stream["values"]]
    traces = second.get("/tempo/api/search", q='{ resource.tenant.id = "acme" }', limit=1000).json()["traces"]
    series = second.value("count(forwarded)") or 0
    return lines, len(traces), int(series)


def check(collectors, tmp_path, kind):
    second = second_collector(collectors)
    first = first_collector(collectors, second, kind, tmp_path)
    for number in range(5):
        send(first, number)
    eventually(lambda: len(stored(second)[0]) == 100)
    second.stop()
    for number in range(5, 45):  # more than a segment of 64 KiB in the journal of logs
        send(first, number)
    first.kill()
    second.start()
    first.start()
    eventually(lambda: len(set(stored(second)[0])) == 900 and stored(second)[1:] == (45, 45), seconds=60)
    lines, _, _ = stored(second)
    assert len(lines) == 900, "a forwarded batch was stored twice"
    assert second.query("forwarded")[0]["metric"]["account_id"] == ACCOUNT


def test_nothing_is_missing_at_another_collector_by_grpc(collectors, tmp_path):
    check(collectors, tmp_path, "otlp_grpc")


def test_nothing_is_missing_at_another_collector_by_http(collectors, tmp_path):
    check(collectors, tmp_path, "otlp_http")
