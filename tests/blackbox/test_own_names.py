"""No sender can write series under the names of those that the collector itself writes: rules join by them."""

import hashlib
import time

import otlp
import pytest
import remote_write
import yaml
from collector import Collector, eventually
from conftest import program

ACCOUNTS = {"acme": "111122223333", "globex": "444455556666"}
RULES = """\
groups:
  - name: tiers
    interval: 1s
    rules:
      - alert: GoldIsUp
        expr: up_of * on (tenant, account_id) group_left (tier) tenantscope_tenant_info{tier="gold"} > 0
      - {record: "tier:up", expr: 'up_of * on (tenant, account_id) group_left (tier) tenantscope_tenant_info'}
"""


def sha256(token):
    return hashlib.sha256(token.encode()).hexdigest()


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def collector(tmp_path):
    running = Collector(program("tenantscope-collector"), tmp_path / "collector", {
        "identity": {"tokens": [{"name": tenant, "token_sha256": sha256(f"sender-of-{tenant}"), "accounts": [account]}
                                for tenant, account in ACCOUNTS.items()]},
        "registry": {"file": "tenants.yaml"}, "rules": ["rules.yaml"], "limits": {"own_series_interval": "500ms"},
        "readers": [{"name": "oncall", "token_sha256": sha256("reads-everything"), "scope": "all"}]})
    running.folder.mkdir(parents=True)
    (running.folder / "rules.yaml").write_text(RULES)
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
        {"id": tenant, "accounts": [account], "attributes": {"tier": "gold"}} for tenant, account in ACCOUNTS.items()]}))
    running.start()
    yield running
    running.stop()


def rules(collector):
    groups = collector.get("/api/v1/rules", headers=bearer("reads-everything")).json()["data"]["groups"]
    return {rule["name"]: rule for rule in groups[0]["rules"]}


def test_a_tenant_that_forges_our_series_stops_no_rule_of_the_others(collector):
    now_ms = lambda: int(time.time() * 1000)
    push = lambda tenant, series: remote_write.push(collector.session, collector.url + "/api/v1/write", series, bearer(f"sender-of-{tenant}"))
    for tenant in ACCOUNTS:
        assert push(tenant, [({"__name__": "up_of"}, [(now_ms(), 1.0)])]).status_code == 204
    firing = lambda: sorted(alert["labels"]["tenant"] for alert in rules(collector)["GoldIsUp"]["alerts"])
    eventually(lambda: firing() == ["acme", "globex"])

    forged = [({"__name__": "tenantscope_tenant_info", "tier": "platinum"}, [(now_ms(), 1.0)]),
              ({"__name__": "ALERTS_FOR_STATE", "alertname": "GoldIsUp", "tier": "gold"}, [(now_ms() + 60_000, 1.0)])]
    assert push("acme", forged).status_code == 204
    gauge = otlp.gauges("tenantscope.tenant.info", [({"tier": "silver"}, 1.0, otlp.now_ns())], {"service.name": "forger"})
    assert collector.send("metrics", gauge, headers=bearer("sender-of-acme")).status_code == 200
    query = lambda expression: collector.query(expression, headers=bearer("reads-everything"))
    moved = eventually(lambda: query("exported_tenantscope_tenant_info"))
    assert sorted(one["metric"]["tier"] for one in moved) == ["platinum", "silver"]
    assert {one["metric"]["tier"] for one in query("tenantscope_tenant_info")} == {"gold"}

    # Rules go on for everybody, each evaluation after the forgery.
    since = time.time()
    later = lambda rule: rule["lastEvaluation"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since + 2))
    eventually(lambda: all(later(rule) for rule in rules(collector).values()))
    assert {name: rule["health"] for name, rule in rules(collector).items()} == {"GoldIsUp": "ok", "tier:up": "ok"}
    assert firing() == ["acme", "globex"]
    assert collector.own_metric("tenantscope_ingest_moved_claims_total", signal="metrics") >= 3
