"""What a tenant used and what that cost: by day, within the reader's scope, over restarts."""

import csv
import datetime
import hashlib
import io

import otlp
import pytest
from collector import eventually

PRICES = {"samples_per_million": 1_000_000, "spans_per_million": 2_000_000, "queries_per_thousand": 1000,
          "active_series_per_thousand_days": 1}
CONFIG = {"limits": {"own_series_interval": "500ms"}, "cost": {"currency": "EUR", "prices": PRICES}}


def cost(collector, reader=None, **parameters):
    headers = {"X-Scope-OrgID": reader} if reader else {}
    answer = collector.session.get(collector.url + "/tenantscope/v1/cost", params=parameters, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def used(collector, tenant, reader=None):
    """What the answer says of a tenant's days; a test may run over midnight."""
    days = cost(collector, reader, **{"from": (datetime.datetime.now(datetime.UTC) - datetime.timedelta(1)).strftime("%Y-%m-%d"),
                                      "to": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")})["days"]
    found = [entry for day in days for entry in day["tenants"] if entry["tenant"] == tenant]
    return {key: sum(entry[key] for entry in found) for key in (found[0] if found else {}) if key not in ("tenant", "costs")}


def send(collector, tenant, samples, spans=0):
    points = [({"i": i}, 1.0, otlp.now_ns()) for i in range(samples)]
    assert collector.send("metrics", otlp.gauges("g", points), tenant=tenant).status_code == 200
    if spans:
        assert collector.send("traces", otlp.spans(["s"] * spans), tenant=tenant).status_code == 200


def test_use_is_told_by_day_and_tenant_within_the_scope_and_over_restarts(collectors):
    collector = collectors(CONFIG)
    send(collector, "acme", samples=10, spans=3)
    send(collector, "globex", samples=4)
    body = otlp.logs(["a line of text"])
    assert collector.send("logs", body, tenant="acme").status_code == 200
    for _ in range(5):
        collector.value("count(g)", tenant="acme")
    acme = eventually(lambda: (found := used(collector, "acme", "acme")).get("queries", 0) >= 5 and found)
    assert acme["samples"] == 10 and acme["spans"] == 3
    # What we stamp is part of a log's weight.
    assert body.ByteSize() < acme["log_bytes"] < body.ByteSize() + 100
    assert acme["received_bytes"] > body.ByteSize() and acme["cost"] >= 10 + 2 * 3 + 5
    assert eventually(lambda: used(collector, "acme").get("active_series", 0)) > 9
    assert collector.stop() == 0
    collector.start()
    send(collector, "acme", samples=5)
    eventually(lambda: used(collector, "acme").get("samples") == 15)

    assert used(collector, "globex")["samples"] == 4 and used(collector, "globex", "acme") == {}
    assert "globex" not in collector.get("/tenantscope/v1/cost", tenant="acme").text
    assert cost(collector, "acme", tenant="globex")["days"][0]["tenants"] == []
    assert collector.query("tenantscope_tenant_samples_total", tenant="globex")[0]["metric"] == {
        "__name__": "tenantscope_tenant_samples_total", "tenant": "globex"}
    assert collector.value('sum(tenantscope_tenant_cost_total{kind="samples", currency="EUR"})', tenant="globex") is None \
        or collector.value('sum(increase(tenantscope_tenant_cost_total{kind="samples"}[1h] anchored))', tenant="globex") == 4


def test_csv_has_the_same_numbers_and_says_what_is_wrong_with_days(collectors):
    collector = collectors(CONFIG)
    send(collector, "acme", samples=10)
    eventually(lambda: used(collector, "acme").get("cost"))
    answer = collector.get("/tenantscope/v1/cost", tenant="acme", format="csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["tenant"], row["samples"], row["currency"], float(row["cost_samples"])) for row in rows] == [("acme", "10", "EUR", 10.0)]
    assert rows[0]["day"] == cost(collector)["days"][0]["day"]
    for wrong in ({"from": "2026-02-30"}, {"from": "2026-01-02", "to": "2026-01-01"}, {"from": "2026-01-01", "to": "2026-12-31"}):
        assert collector.get("/tenantscope/v1/cost", **wrong).status_code == 400


def test_other_prices_count_from_a_reload_on(collectors):
    collector = collectors(CONFIG)
    send(collector, "acme", samples=10)
    eventually(lambda: used(collector, "acme").get("cost", 0) >= 10)
    collector.config = {**CONFIG, "cost": {"currency": "EUR", "prices": {"samples_per_million": 3_000_000}}}
    collector.command()
    collector.reload()
    eventually(lambda: "configuration reloaded" in collector.log())
    send(collector, "acme", samples=10)
    eventually(lambda: used(collector, "acme")["cost"] == pytest.approx(40, abs=0.1))


def test_counts_of_a_removed_tenant_do_not_bring_it_back(collectors):
    collector = collectors(CONFIG)
    send(collector, "acme", samples=10)
    eventually(lambda: used(collector, "acme").get("active_series"))
    assert collector.session.post(collector.url + "/tenantscope/v1/removals?tenant=acme", timeout=60).status_code == 200
    send(collector, "globex", samples=7)
    eventually(lambda: used(collector, "globex").get("samples") == 7)
    send(collector, "globex", samples=7)
    eventually(lambda: used(collector, "globex").get("samples") == 14)
    assert collector.query('{tenant="acme"}') == [] and used(collector, "acme") == {}


def test_storage_is_what_the_data_takes_in_files_by_the_stores_averages(collectors):
    collector = collectors({**CONFIG, "metrics": {"flush_interval": "1s"}, "lake": {"flush_interval": "1s"},
                            "cost": {"prices": {"storage_per_gib": 1 << 30}}})

    def send_logs():
        assert collector.send("logs", otlp.logs(["a line of text"] * 11_000), tenant="logs").status_code == 200

    send(collector, "samples", samples=11_000)
    send_logs()

    def stored():
        # What came before anything was in files weighs nothing.
        send(collector, "samples", samples=100)
        send_logs()
        found = [used(collector, tenant) for tenant in ("samples", "logs")]
        return all(tenant.get("storage_bytes", 0) > 0 for tenant in found) and found

    for tenant in eventually(stored, seconds=60, every=2):
        assert tenant["cost"] == pytest.approx(tenant["storage_bytes"], rel=0.01)


def test_a_tenant_pays_for_no_query_of_readers_who_may_see_others(collectors):
    readers = {"oncall": "all", "both": {"tenants": ["acme", "globex"]}, "acme": {"tenants": ["acme"]}}
    collector = collectors({**CONFIG, "readers": [
        {"name": name, "token_sha256": hashlib.sha256(f"{name}-reads".encode()).hexdigest(), "scope": scope} for name, scope in readers.items()]})
    send(collector, "acme", samples=1)
    ask = lambda reader: collector.query("count(g)", tenant="acme", headers={"Authorization": f"Bearer {reader}-reads"})
    for reader, times in (("oncall", 5), ("both", 4), ("acme", 2)):
        for _ in range(times):
            ask(reader)
    counted = 'sum(tenantscope_tenant_queries_total{tenant="acme"})'
    value = lambda: collector.value(counted, headers={"Authorization": "Bearer oncall-reads"})
    eventually(lambda: value() == 2)
    collector.stop()  # a last round of the counters
    collector.start()
    assert collector.value(f"max_over_time(tenantscope_tenant_queries_total{{tenant=\"acme\"}}[10m])",
                           headers={"Authorization": "Bearer oncall-reads"}) == 2
