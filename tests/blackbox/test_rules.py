"""Prometheus rule files over many tenants: results, state over restarts, notifications, incidents, reload."""

import datetime
import json
import re
import shutil
import time

import pytest
import remote_write
import requests
from collector import eventually
from conftest import ROOT
from processes import Process, answers, free_port
from receiver import Receiver

RULES = """\
groups:
  - name: orders
    interval: 1s
    rules:
      - record: tenant:orders_failed:ratio
        expr: sum by (tenant) (orders_failed) / sum by (tenant) (orders_placed)
        labels: {kind: recorded}
      - alert: OrdersFail
        expr: tenant:orders_failed:ratio > 0.05
        for: 2s
        labels: {severity: page, shop: "shop-{{ $labels.tenant }}"}
        annotations:
          summary: "{{ $labels.tenant }}: {{ $value | humanizePercentage }} of orders fail"
          placed: '{{ with query "sum(orders_placed)" }}{{ . | first | value | humanize }}{{ end }}'
"""

FLEET = [f"t{number}" for number in range(8)]


def epoch(text):
    """RFC 3339 with up to nanoseconds, in seconds since the epoch."""
    return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text).replace("Z", "+00:00")).timestamp()


def push(collector, tenant, failed, placed=1000.0, at=None):
    """What a tenant's shop reports; `at` in seconds since the epoch."""
    at_ms = int((at or time.time()) * 1000)
    series = [({"__name__": "orders_failed", "shop": "main"}, [(at_ms, failed)]),
              ({"__name__": "orders_placed", "shop": "main"}, [(at_ms, placed)])]
    answer = remote_write.push(collector.session, collector.url + "/api/v1/write", series, {"X-Scope-OrgID": tenant})
    assert answer.status_code in (200, 204), answer.text


def groups(collector, tenant=None):
    return collector.get("/api/v1/rules", tenant).json()["data"]["groups"]


def rule(collector, name, tenant=None):
    found = [rule for group in groups(collector, tenant) for rule in group["rules"] if rule["name"] == name]
    assert len(found) == 1, found
    return found[0]


def alerts(collector, tenant=None, state=None, name="OrdersFail"):
    """The alerts of a name, by tenant."""
    found = collector.get("/api/v1/alerts", tenant).json()["data"]["alerts"]
    return {alert["labels"]["tenant"]: alert for alert in found
            if alert["labels"]["alertname"] == name and state in (None, alert["state"])}


def evaluated_since(collector, moment, name="OrdersFail"):
    return epoch(rule(collector, name)["lastEvaluation"]) > moment


@pytest.fixture
def ruled(collectors):
    """Makes a collector with a rule file and, if there are receivers, routes to all of them."""
    def make(text=RULES, notifiers=(), start=True, routes=None, **config):
        incidents = {"notifiers": list(notifiers),
                     "routes": routes or [{"match": {}, "notify": [n["name"] for n in notifiers]}] if notifiers else []}
        running = collectors({"rules": ["rules/*.yaml"], "incidents": incidents, **config}, start=False)
        (running.folder / "rules").mkdir(parents=True)
        (running.folder / "rules" / "orders.yaml").write_text(text)
        if start:
            running.start()
        return running
    return make


@pytest.fixture
def receiver():
    running = Receiver()
    yield running
    running.stop()


def webhook(receiver, name="hook"):
    return {"name": name, "kind": "webhook", "url": receiver.url}


def test_rules_are_evaluated_on_time_over_all_tenants_and_shown_within_the_scope(ruled):
    collector = ruled()
    push(collector, "acme", 200)
    push(collector, "globex", 300, placed=2000)
    push(collector, "quiet", 1)
    firing = eventually(lambda: (found := alerts(collector, state="firing")) if len(alerts(collector, state="firing")) == 2 else None)
    assert set(firing) == {"acme", "globex"}
    assert firing["acme"]["labels"] == {"alertname": "OrdersFail", "tenant": "acme", "kind": "recorded",
                                        "severity": "page", "shop": "shop-acme"}
    # A query in the annotation of a tenant's alert sees that tenant alone.
    assert firing["acme"]["annotations"] == {"summary": "acme: 20% of orders fail", "placed": "1k"}
    assert firing["globex"]["annotations"] == {"summary": "globex: 15% of orders fail", "placed": "2k"}
    assert (firing["acme"]["value"], firing["globex"]["value"]) == ("2e-01", "1.5e-01")

    # Recorded series and the alerts' own are their tenant's.
    for tenant, value in (("acme", 0.2), ("globex", 0.15), ("quiet", 0.001)):
        assert collector.value("tenant:orders_failed:ratio", tenant=tenant) == value
    assert [e["metric"]["tenant"] for e in collector.query('ALERTS{alertstate="firing"}', tenant="acme")] == ["acme"]

    # On time: a point each second, none missing.
    times = eventually(lambda: evaluation_times(collector, at_least=5))
    assert {round(b - a, 3) for a, b in zip(times, times[1:])} == {1.0}

    assert set(alerts(collector, "acme")) == {"acme"} and alerts(collector, "quiet") == {}
    assert [a["labels"]["tenant"] for a in rule(collector, "OrdersFail", "acme")["alerts"]] == ["acme"]
    assert rule(collector, "OrdersFail", "acme")["state"] == "firing"
    assert (rule(collector, "OrdersFail", "quiet")["state"], rule(collector, "OrdersFail", "quiet")["alerts"]) == ("inactive", [])
    assert "globex" not in collector.get("/api/v1/rules", "acme").text + collector.get("/api/v1/alerts", "acme").text


def evaluation_times(collector, at_least):
    result = collector.query("tenant:orders_failed:ratio[1m]", tenant="acme")
    times = [time_s for time_s, _ in result[0]["values"]] if result else []
    return times if len(times) >= at_least else None


def test_a_failing_rule_tells_a_tenant_nothing_of_others(ruled):
    collector = ruled("""\
groups:
  - name: broken
    interval: 1s
    rules:
      - alert: Broken
        expr: orders_failed * on (shop) orders_placed
""")
    # No tenant is at fault: the rule itself matches across tenants.
    push(collector, "acme", 1)
    push(collector, "globex", 1)
    error = eventually(lambda: rule(collector, "Broken").get("lastError"))
    assert "globex" in error, "the test needs an error that names a tenant"
    seen = rule(collector, "Broken", "acme")
    assert seen["health"] == "err" and "globex" not in json.dumps(seen)


def test_a_rule_that_names_another_tenant_is_not_shown(ruled):
    collector = ruled("""\
groups:
  - name: thresholds
    interval: 1s
    rules:
      - {alert: OrdersFail, expr: 'orders_failed{tenant="acme"} > 100'}
      - {alert: OrdersFailToo, expr: 'orders_failed{tenant="globex"} > 100'}
      - {alert: Both, expr: 'sum(orders_failed{tenant=~"acme|globex"}) > 0'}
      - {alert: Others, expr: 'orders_failed{tenant!="globex", tenant=~".+"} > 1e9'}
      - {record: "globexs:one", expr: vector(1), labels: {tenant: globex}}
  - {name: globexs, interval: 1s, rules: [{alert: Third, expr: '(up{tenant="globex"} or vector(0)) > 1'}]}
""")
    push(collector, "acme", 200)
    push(collector, "globex", 200)
    eventually(lambda: alerts(collector, state="firing") and alerts(collector, state="firing", name="OrdersFailToo"))
    names = lambda tenant=None: [rule["name"] for group in groups(collector, tenant) for rule in group["rules"]]
    assert names() == ["OrdersFail", "OrdersFailToo", "Both", "Others", "globexs:one", "Third"]
    assert (names("acme"), names("acme|globex")) == (["OrdersFail"], names())
    assert "globex" not in collector.get("/api/v1/rules", "acme").text
    # The alert is its tenant's, whatever the rule's text.
    assert set(alerts(collector, "globex", name="OrdersFailToo")) == {"globex"}


def test_a_fault_that_spreads_widens_its_incident(ruled, receiver):
    collector = ruled(notifiers=[webhook(receiver)])
    at = time.time() + 2
    for number, tenant in enumerate(FLEET):
        push(collector, tenant, 200, at=at + 1.1 * number)
    eventually(lambda: [p for p in receiver.received if p["groupLabels"]["reach"] == "fleet"])
    later = at + 1.1 * len(FLEET) + 4
    eventually(lambda: evaluated_since(collector, later))
    told = [(payload["groupLabels"]["reach"], payload["status"]) for payload in receiver.received]
    # Three steps, not eight; at no time is there no incident open.
    assert sorted(told) == sorted([("single", "firing"), ("several", "firing"), ("single", "resolved"), ("fleet", "firing"),
                                   ("several", "resolved")])
    incidents = collector.get("/tenantscope/v1/incidents").json()["incidents"]
    assert [i["reach"] for i in incidents if i["status"] == "open"] == ["fleet"]


@pytest.mark.skipif(not shutil.which("prometheus"), reason="no Prometheus here")
def test_the_answers_have_the_form_of_prometheuss(ruled, tmp_path):
    text = """\
groups:
  - name: form
    interval: 1s
    limit: 10
    rules:
      - {record: one, expr: vector(1), labels: {a: b}}
      - {alert: Fires, expr: one > 0, labels: {severity: page}, annotations: {summary: "it is {{ $value }}"}}
      - {alert: Waits, expr: one > 0, for: 1h}
      - {alert: Sleeps, expr: one > 1}
"""
    collector = ruled(text)
    (tmp_path / "rules.yaml").write_text(text)
    (tmp_path / "prometheus.yml").write_text("rule_files: [rules.yaml]\n")
    port = free_port()
    peer = Process("prometheus", ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--web.listen-address=127.0.0.1:{port}",
                                  f"--storage.tsdb.path={tmp_path}/prometheus"], tmp_path / "prometheus.log")
    try:
        theirs = f"http://127.0.0.1:{port}"
        peer.wait_until(lambda: answers(theirs + "/-/ready"), 30, "was not ready")
        for path in ("/api/v1/rules", "/api/v1/alerts"):
            get = lambda url: requests.get(url + path, timeout=10).json()
            both = eventually(lambda: (get(theirs), get(collector.url)) if settled(theirs) and settled(collector.url) else None)
            assert_same_form(*both, path)
    finally:
        peer.stop()


def settled(url):
    return {a["state"] for a in requests.get(url + "/api/v1/alerts", timeout=10).json()["data"]["alerts"]} == {"firing", "pending"}


# What differs by run, or is where the file lies.
RUN = {"evaluationTime", "lastEvaluation", "activeAt", "file"}


def assert_same_form(theirs, ours, where):
    """Everything that Prometheus says is said here, in the same form and order."""
    assert type(theirs) is type(ours) or {type(theirs), type(ours)} <= {int, float}, where
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            assert key in ours, f"{where}: no {key}"
            if key in RUN:
                assert type(value) is type(ours[key]) or {type(value), type(ours[key])} <= {int, float}, f"{where}.{key}"
            else:
                assert_same_form(value, ours[key], f"{where}.{key}")
    elif isinstance(theirs, list):
        assert len(theirs) == len(ours), where
        for at, pair in enumerate(zip(theirs, ours)):
            assert_same_form(*pair, f"{where}[{at}]")
    else:
        assert theirs == ours, where


STATES = """\
groups:
  - name: states
    interval: 1s
    rules:
      - {alert: Pending, expr: orders_failed > 100, for: 1h}
      - {alert: OrdersFail, expr: orders_failed > 100}
"""


def test_alerts_survive_kill_9(ruled, receiver):
    collector = ruled(STATES, [webhook(receiver)])
    push(collector, "acme", 200)
    eventually(lambda: alerts(collector, state="firing") and receiver.about("OrdersFail"))
    before = {name: alerts(collector, name=name)["acme"] for name in ("Pending", "OrdersFail")}
    # What is evaluated is durable once the next evaluation has begun.
    eventually(lambda: collector.query('ALERTS_FOR_STATE{alertname="Pending"}'))
    killed = time.time()
    collector.kill()
    collector.start()
    back = time.time()
    eventually(lambda: evaluated_since(collector, back + 1) and evaluated_since(collector, back + 1, "Pending"))
    after = {name: alerts(collector, name=name)["acme"] for name in ("Pending", "OrdersFail")}

    # As in Prometheus, the outage does not count as time that a pending alert waited; nothing else is lost.
    moved = epoch(after["Pending"]["activeAt"]) - epoch(before["Pending"]["activeAt"])
    assert after["Pending"]["state"] == "pending" and -0.001 <= moved <= back - killed + 2
    assert (after["OrdersFail"]["state"], after["OrdersFail"]["activeAt"]) == ("firing", before["OrdersFail"]["activeAt"])
    assert len(receiver.about("OrdersFail")) == 1, "told again, as if it were new"

    push(collector, "acme", 1)
    ended = eventually(lambda: receiver.about("OrdersFail", "resolved"))[0]
    assert ended["alerts"][0]["startsAt"] == receiver.received[0]["alerts"][0]["startsAt"]


def test_an_alert_that_ended_while_we_were_away_is_resolved(ruled, receiver):
    collector = ruled(STATES, [webhook(receiver)])
    at = time.time()
    push(collector, "acme", 200, at=at)
    eventually(lambda: receiver.about("OrdersFail"))
    push(collector, "acme", 1, at=at + 4)
    collector.kill()
    eventually(lambda: time.time() > at + 5)
    collector.start()
    eventually(lambda: receiver.about("OrdersFail", "resolved"))
    assert alerts(collector) == {}


def test_a_webhook_gets_alertmanagers_payload_and_then_that_it_is_over(ruled, receiver):
    collector = ruled(notifiers=[webhook(receiver)], external_url="https://tenantscope.example.com")
    push(collector, "acme", 200)
    payload = eventually(lambda: receiver.about("OrdersFail"))[0]
    assert set(payload) == {"version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels",
                            "commonAnnotations", "externalURL", "alerts"}
    assert (payload["version"], payload["status"], payload["receiver"]) == ("4", "firing", "hook")
    assert payload["externalURL"] == "https://tenantscope.example.com" and payload["truncatedAlerts"] == 0
    assert payload["groupLabels"] == {"alertname": "OrdersFail", "reach": "single", "tenant": "acme"}
    alert = payload["alerts"][0]
    assert set(alert) == {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}
    assert alert["labels"]["tenant"] == "acme" and alert["annotations"]["summary"].startswith("acme: 20%")
    assert alert["endsAt"] == "0001-01-01T00:00:00Z" and abs(epoch(alert["startsAt"]) - time.time()) < 30
    assert alert["generatorURL"].startswith("https://tenantscope.example.com/")

    push(collector, "acme", 1)
    over = eventually(lambda: receiver.about("OrdersFail", "resolved"))[0]
    assert (over["groupKey"], over["alerts"][0]["status"]) == (payload["groupKey"], "resolved")
    assert over["alerts"][0]["startsAt"] == alert["startsAt"] < over["alerts"][0]["endsAt"]
    assert over["alerts"][0]["fingerprint"] == alert["fingerprint"]
    assert len(receiver.received) == 2


@pytest.mark.skipif(not shutil.which("prometheus-alertmanager"), reason="no Alertmanager here")
def test_alertmanager_gets_the_alert_and_then_that_it_is_over(ruled, tmp_path):
    port, downstream = free_port(), Receiver()
    url = f"http://127.0.0.1:{port}"
    (tmp_path / "alertmanager.yml").write_text(f"""\
route: {{receiver: page, group_by: [alertname], group_wait: 1s, group_interval: 1s}}
receivers: [{{name: page, webhook_configs: [{{url: "{downstream.url}", send_resolved: true}}]}}]
""")
    peer = Process("alertmanager", ["prometheus-alertmanager", f"--config.file={tmp_path}/alertmanager.yml",
                                    f"--storage.path={tmp_path}/alertmanager", f"--web.listen-address=127.0.0.1:{port}",
                                    "--cluster.listen-address="], tmp_path / "alertmanager.log")
    try:
        peer.wait_until(lambda: answers(url + "/-/ready"), 30, "was not ready")
        collector = ruled(notifiers=[{"name": "am", "kind": "alertmanager", "url": url}])
        push(collector, "acme", 200)
        push(collector, "globex", 300)
        there = eventually(lambda: (found := requests.get(url + "/api/v2/alerts", timeout=10).json()) if len(requests.get(url + "/api/v2/alerts", timeout=10).json()) == 2 else None)
        by_tenant = {alert["labels"]["tenant"]: alert for alert in there}
        assert by_tenant["acme"]["labels"] == {"alertname": "OrdersFail", "tenant": "acme", "kind": "recorded",
                                               "severity": "page", "shop": "shop-acme"}
        assert by_tenant["globex"]["annotations"]["summary"] == "globex: 30% of orders fail"
        assert by_tenant["acme"]["status"]["state"] == "active"
        push(collector, "acme", 1)
        # Alertmanager itself passes on that one of the two is over.
        eventually(lambda: [a for p in downstream.received for a in p["alerts"]
                            if (a["status"], a["labels"]["tenant"]) == ("resolved", "acme")])
        still = [alert["labels"]["tenant"] for alert in requests.get(url + "/api/v2/alerts", timeout=10).json()]
        assert still == ["globex"]
    finally:
        peer.stop()
        downstream.stop()


def test_what_could_not_be_delivered_is_delivered_later_also_after_a_restart(ruled):
    receiver = Receiver(start=False)
    collector = ruled(notifiers=[webhook(receiver)])
    push(collector, "acme", 200)
    failed = lambda: collector.own_metric("tenantscope_incidents_notifications_total", notifier="hook", outcome="failed")
    eventually(lambda: failed() >= 1)
    assert collector.stop() == 0
    collector.start()
    eventually(lambda: failed() >= 1)
    receiver.start()
    try:
        eventually(lambda: receiver.about("OrdersFail", "firing"), seconds=45)
        push(collector, "acme", 1)
        eventually(lambda: receiver.about("OrdersFail", "resolved"))
        assert [payload["status"] for payload in receiver.received] == ["firing", "resolved"], "once each"
    finally:
        receiver.stop()


def test_a_fault_of_the_whole_fleet_is_one_incident(ruled, receiver):
    collector = ruled(notifiers=[webhook(receiver)])
    # One time for all, a little ahead, so that all are bad at the same evaluation.
    at = time.time() + 3
    for tenant in FLEET:
        push(collector, tenant, 200, at=at)
    payload = eventually(lambda: receiver.about("OrdersFail"))[0]
    assert payload["groupLabels"] == {"alertname": "OrdersFail", "reach": "fleet"}
    assert sorted(alert["labels"]["tenant"] for alert in payload["alerts"]) == FLEET
    assert "8 tenants" in payload["commonAnnotations"]["incident"]
    # One evaluation later there is nothing more to say.
    later = time.time() + 1
    eventually(lambda: evaluated_since(collector, later))
    assert len(receiver.received) == 1

    everybody = collector.get("/tenantscope/v1/incidents").json()["incidents"]
    assert [(i["reach"], i["status"], len(i["tenants"])) for i in everybody] == [("fleet", "open", 8)]
    # A tenant sees that it is affected, and not who else or how many.
    mine = collector.get("/tenantscope/v1/incidents", "t3").json()["incidents"]
    assert [(i["tenants"], len(i["alerts"])) for i in mine] == [(["t3"], 1)]
    assert "t4" not in json.dumps(mine) and "8" not in json.dumps([i["reach"] for i in mine])

    at = time.time() + 2
    for tenant in FLEET:
        push(collector, tenant, 1, at=at)
    over = eventually(lambda: receiver.about("OrdersFail", "resolved"))
    assert len(over) == 1 and {alert["status"] for alert in over[0]["alerts"]} == {"resolved"}


def test_routes_choose_by_label_and_reach(ruled):
    fleet, page, ticket = Receiver(), Receiver(), Receiver()
    try:
        collector = ruled(notifiers=[webhook(fleet, "fleet"), webhook(page, "page"), webhook(ticket, "ticket")],
                          routes=[{"match": {"reach": "fleet"}, "notify": ["fleet"]},
                                  {"match": {"severity": "page", "tenant": "acme"}, "notify": ["page"]},
                                  {"match": {"severity": "ticket"}, "notify": ["ticket"]}])
        push(collector, "acme", 200)
        eventually(lambda: page.about("OrdersFail"))
        assert (fleet.received, ticket.received) == ([], [])
    finally:
        for receiver in (fleet, page, ticket):
            receiver.stop()


def post_reload(collector):
    return requests.post(collector.url + "/-/reload", timeout=30)


@pytest.mark.parametrize("way", ["SIGHUP", "POST"])
def test_a_reload_takes_effect_and_a_broken_file_changes_nothing(ruled, way):
    collector = ruled()
    push(collector, "acme", 200)
    firing = eventually(lambda: alerts(collector, state="firing"))["acme"]
    path = collector.folder / "rules" / "orders.yaml"
    names = lambda: [rule["name"] for group in groups(collector) for rule in group["rules"]]

    path.write_text(RULES + "      - {record: tenant:orders_failed:sum, expr: sum by (tenant) (orders_failed)}\n")
    if way == "POST":
        assert post_reload(collector).status_code == 200
    else:
        collector.reload()
    eventually(lambda: "tenant:orders_failed:sum" in names())
    eventually(lambda: collector.value("tenant:orders_failed:sum", tenant="acme") == 200)
    assert alerts(collector)["acme"]["activeAt"] == firing["activeAt"], "a rule that stays keeps its alerts"

    path.write_text(RULES + "      - {record: tenant:broken, expr: 'sum by (tenant) (orders_failed'}\n")
    where = f"orders.yaml:{len(RULES.splitlines()) + 1}"
    if way == "POST":
        answer = post_reload(collector)
        assert answer.status_code == 500 and where in answer.text, answer.text
    else:
        collector.reload()
    eventually(lambda: where in collector.log())
    assert "tenant:orders_failed:sum" in names() and "tenant:broken" not in names()
    assert alerts(collector, state="firing")["acme"]["activeAt"] == firing["activeAt"]
    back = time.time()
    eventually(lambda: evaluated_since(collector, back))


def test_series_of_a_rule_that_is_gone_end(ruled):
    collector = ruled()
    push(collector, "acme", 200)
    eventually(lambda: alerts(collector, state="firing"))
    (collector.folder / "rules" / "orders.yaml").write_text("groups: []\n")
    collector.reload()
    eventually(lambda: groups(collector) == [])
    eventually(lambda: collector.query('{__name__=~"ALERTS.*|tenant:.*"}') == [])


def test_the_demos_rule_file_is_good_for_prometheus_too():
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("no promtool here")
    import subprocess
    for path in (ROOT / "deploy" / "demo" / "config" / "rules").glob("*.yaml"):
        subprocess.run([promtool, "check", "rules", path], check=True, capture_output=True)
