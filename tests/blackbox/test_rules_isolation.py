"""One tenant's data that makes a rule fail keeps the rule from no other tenant: who fails alone is left out, and comes back."""

import json
import struct
import time

import pytest
import remote_write
from collector import eventually
from test_rules import alerts, evaluated_since, rule

# A sample that says that its series has ended.
STALE = struct.unpack("<d", struct.pack("<Q", 0x7ff0000000000002))[0]

RULES = """\
groups:
  - name: shops
    interval: 1s
    rules:
      - alert: OrdersFail
        expr: orders_failed / on (tenant, service) group_left () orders_placed > 0.05
        for: 2s
        labels: {severity: page}
      - alert: AnyFails
        expr: '{__name__=~"orders_(failed|lost)"} > 100'
      - record: tenant:orders_failed:ratio
        expr: orders_failed / on (tenant, service) group_left () orders_placed
"""


@pytest.fixture
def collector(collectors):
    running = collectors({"rules": ["rules/*.yaml"]}, start=False)
    (running.folder / "rules").mkdir(parents=True)
    (running.folder / "rules" / "shops.yaml").write_text(RULES)
    running.start()
    return running


def push(collector, tenant, failed, twice=None, **more):
    """What a tenant reports for its one service: `twice` is a second series of the service's orders, and `more` are other
    metrics."""
    at_ms = int(time.time() * 1000)
    series = [({"__name__": name, "service": "web"}, [(at_ms, value)])
              for name, value in {"orders_failed": failed, "orders_placed": 1000.0, **more}.items()]
    if twice is not None:
        series.append(({"__name__": "orders_placed", "service": "web", "extra": "1"}, [(at_ms, twice)]))
    answer = remote_write.push(collector.session, collector.url + "/api/v1/write", series, {"X-Scope-OrgID": tenant})
    assert answer.status_code in (200, 204), answer.text


def own_metric(collector, name):
    """The sum of the collector's own series that begin so."""
    lines = [line for line in collector.get("/metrics").text.splitlines() if line.startswith(name)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def test_duplicates_of_one_tenant_freeze_its_alert_and_nobody_elses(collector):
    push(collector, "bad", 200)
    eventually(lambda: alerts(collector, state="firing").get("bad"))
    active_at = alerts(collector)["bad"]["activeAt"]
    push(collector, "bad", 1, twice=1000.0)
    eventually(lambda: "lastError" in rule(collector, "OrdersFail", "bad"))

    # The good tenant's alert fires and resolves.
    push(collector, "good", 200)
    eventually(lambda: alerts(collector, state="firing").get("good"))
    assert rule(collector, "OrdersFail")["health"] == "ok"
    assert collector.value("tenant:orders_failed:ratio", tenant="good") == 0.2
    push(collector, "good", 1)
    eventually(lambda: "good" not in alerts(collector))
    assert collector.value("tenant:orders_failed:ratio", tenant="good") == 0.001

    # Of the bad one nothing is known, so that its alert holds as it was, though its orders no longer fail.
    assert alerts(collector, state="firing")["bad"]["activeAt"] == active_at

    # Its duplicate goes, and it comes back.
    push(collector, "bad", 1, twice=STALE)
    eventually(lambda: "bad" not in alerts(collector))
    assert "lastError" not in rule(collector, "OrdersFail", "bad") and rule(collector, "OrdersFail", "bad")["health"] == "ok"


def test_who_is_left_out_is_told_to_its_own_readers_and_counted(collector):
    push(collector, "good", 200)
    push(collector, "bad", 200, orders_lost=200.0)
    eventually(lambda: alerts(collector, state="firing", name="AnyFails").get("good"))
    seen = rule(collector, "AnyFails")
    assert seen["health"] == "ok", seen
    assert seen["lastError"].startswith("evaluated without 1 tenant") and "bad: " in seen["lastError"]
    of_bad = rule(collector, "AnyFails", "bad")
    assert of_bad["health"] == "err" and "same labelset" in of_bad["lastError"]
    of_good = rule(collector, "AnyFails", "good")
    assert of_good["health"] == "ok" and "lastError" not in of_good and "bad" not in json.dumps(of_good)

    assert own_metric(collector, 'tenantscope_rules_tenants_left_out_total{reason="data"}') > 0
    assert own_metric(collector, "tenantscope_rules_isolation_evaluations_total") >= 2
    assert "bad" not in "".join(line for line in collector.get("/metrics").text.splitlines() if "left_out" in line)
    count = "tenantscope_tenant_left_out_rule_evaluations_total"
    found = eventually(lambda: collector.query(count, tenant="bad"), seconds=60)
    assert found[0]["metric"] == {"__name__": count, "tenant": "bad", "reason": "data"}
    assert collector.query(count, tenant="good") == []


def test_a_tenant_that_is_left_out_stays_as_it_was_over_kill_9(collector):
    push(collector, "good", 1)
    push(collector, "bad", 200)
    eventually(lambda: alerts(collector, state="firing").get("bad"))
    active_at = alerts(collector)["bad"]["activeAt"]
    push(collector, "bad", 1, twice=1000.0)
    eventually(lambda: "lastError" in rule(collector, "OrdersFail", "bad"))
    collector.kill()
    collector.start()
    back = time.time()
    eventually(lambda: evaluated_since(collector, back + 1))
    assert alerts(collector, state="firing")["bad"]["activeAt"] == active_at
    assert rule(collector, "OrdersFail")["health"] == "ok"
