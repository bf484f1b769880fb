"""Objectives: budgets against sums by hand, burn-rate alerts, reports, and who gets them."""

import csv
import datetime
import hashlib
import json
import re
import subprocess
import time

import pytest
import remote_write
import yaml
from collector import Collector, eventually
from conftest import program

TOKENS = {"oncall": "all-of-it", "acme": "acmes-own", "empty": "of-nobody"}

# Two months back: a whole month, whenever the test runs.
MONTH_START = (datetime.datetime.now(datetime.timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
               - datetime.timedelta(days=40)).replace(day=1)
MONTH = MONTH_START.strftime("%Y-%m")
PAST_S = int((MONTH_START + datetime.timedelta(days=9, hours=7)).timestamp())
NOW_S = int(time.time()) - 60

# Events a minute, and bad ones among them, for each tenant; `None` where there is no series of bad ones.
SUMS = {"acme": (10.0, 1.0), "globex": (50.0, 0.1), "spotless": (20.0, None)}


def slo(name, counter, bad, total, target, **annotations):
    query = lambda text: {"metricSource": {"type": "Prometheus", "spec": {"query": text}}}
    return {"apiVersion": "openslo/v1", "kind": "SLO",
            "metadata": {"name": name, "displayName": f"The {name}", "annotations": annotations},
            "spec": {"description": "d", "service": "shop", "budgetingMethod": "Occurrences",
                     "indicator": {"metadata": {"name": f"{name}-sli"}, "spec": {"ratioMetric": {
                         "counter": counter, "bad": query(bad), "total": query(total)}}},
                     "timeWindow": [{"duration": "30d", "isRolling": True}], "objectives": [{"target": target}]}}


DOCUMENTS = [
    slo("sums", False, "shop_errors_sum", "shop_orders_sum", 0.95),
    slo("counters", True, 'http_requests_total{code=~"5.."}', "http_requests_total", 0.99),
    # An hour in 36 seconds.
    slo("burning", False, "burn_errors_sum", "burn_orders_sum", 0.99, **{"tenantscope.io/time-scale": "0.01"}),
]


def send(collector, tenant, series):
    answer = remote_write.push(collector.session, collector.url + "/api/v1/write", series, {"X-Scope-OrgID": tenant})
    assert answer.status_code in (200, 204), answer.text


def sums_of(tenant, end_s, minutes):
    """CloudWatch's form: a count for each minute."""
    total, bad = SUMS[tenant]
    times = [(end_s - 60 * back) * 1000 for back in range(minutes)]
    series = [({"__name__": "shop_orders_sum", "fn": "api"}, [(t, total) for t in sorted(times)])]
    if bad is not None:
        series.append(({"__name__": "shop_errors_sum", "fn": "api"}, [(t, bad) for t in sorted(times)]))
    return series


def counters_of(end_s, minutes):
    """A counter that starts at nothing and is reset half way: 100 requests a minute, every fiftieth fails."""
    def samples(per_minute):
        half = minutes // 2
        return [((end_s - 60 * (minutes - 1 - n)) * 1000, float(per_minute * (n if n < half else n - half))) for n in range(minutes)]
    return [({"__name__": "http_requests_total", "code": "200"}, samples(98)),
            ({"__name__": "http_requests_total", "code": "503"}, samples(2))]


# The first sample says nothing of what was before, nor does the one after the reset, which is at nothing again.
COUNTER_EVENTS = 100.0 * (400 - 2)


def headers(reader):
    return {"Authorization": f"Bearer {TOKENS[reader]}"} if reader else {}


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    """A collector with three objectives and readers; open for senders, as on one machine."""
    sha256 = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in TOKENS.items()}
    running = Collector(program("tenantscope-collector"), tmp_path_factory.mktemp("objectives") / "collector")
    running.config = {
        "listen": {"http": f"127.0.0.1:{running.ports['http']}"}, "metrics": {"retention": "150d"}, "objectives": ["slo/*.yaml"],
        "readers": [{"name": "oncall", "token_sha256": sha256["oncall"], "scope": "all"},
                    {"name": "acme", "token_sha256": sha256["acme"], "scope": {"tenants": ["acme"]}},
                    {"name": "empty", "token_sha256": sha256["empty"], "scope": {"tenants": ["nobody"]}}]}
    (running.folder / "slo").mkdir(parents=True)
    (running.folder / "slo" / "all.yaml").write_text("---\n".join(yaml.safe_dump(document) for document in DOCUMENTS))
    for name, token in TOKENS.items():
        (running.folder / f"{name}.token").write_text(token + "\n")
    running.start()
    for tenant in SUMS:
        send(running, tenant, sums_of(tenant, NOW_S, 120) + sums_of(tenant, PAST_S, 300))
    send(running, "globex", counters_of(NOW_S, 400) + counters_of(PAST_S, 400))
    # Some of the future, too, so that there is an event each second while the test waits.
    burning = int(time.time())
    burn = lambda name, value: ({"__name__": name}, [((burning + s) * 1000, value) for s in range(-60, 120)])
    send(running, "acme", [burn("burn_orders_sum", 10.0), burn("burn_errors_sum", 5.0)])
    send(running, "globex", [burn("burn_orders_sum", 10.0), burn("burn_errors_sum", 0.0)])
    yield running
    running.stop()


def budgets(collector, reader="oncall", tenant=None):
    answer = collector.get("/tenantscope/v1/budgets", tenant, headers(reader))
    assert answer.status_code == 200, answer.text
    return {(b["objective"], b["tenant"]): b for b in answer.json()["budgets"]}


def test_budgets_are_what_the_samples_say(collector):
    found = budgets(collector)
    assert {key for key in found if key[0] == "sums"} == {("sums", tenant) for tenant in SUMS}
    for tenant, (total, bad) in SUMS.items():
        budget = found["sums", tenant]
        assert budget["total_events"] == pytest.approx(120 * total) and budget["bad_events"] == pytest.approx(120 * (bad or 0))
        assert budget["error_ratio"] == pytest.approx((bad or 0) / total)
        assert budget["remaining_ratio"] == pytest.approx(1 - (bad or 0) / total / 0.05)
        assert (budget["target"], budget["window"]) == (0.95, "30d")
    counters = found["counters", "globex"]
    assert counters["total_events"] == pytest.approx(COUNTER_EVENTS, rel=0.01)
    assert counters["bad_events"] == pytest.approx(COUNTER_EVENTS / 50, rel=0.01)
    assert counters["remaining_ratio"] == pytest.approx(-1.0, rel=0.01), "twice the budget was spent"
    assert ("counters", "acme") not in found, "no events, no budget"


def test_the_recorded_budget_says_the_same(collector):
    # As dashboards and the fleet page have it; the first recording is within two minutes of the start.
    recorded = lambda: collector.value('slo:error_budget_remaining:ratio{slo="burning", tenant="acme"}', headers=headers("oncall"))
    assert eventually(recorded) == pytest.approx(budgets(collector)["burning", "acme"]["remaining_ratio"], rel=0.01)


def test_burn_rate_alerts_fire_within_the_scaled_windows(collector):
    def firing(reader="oncall"):
        found = collector.get("/api/v1/alerts", headers=headers(reader)).json()["data"]["alerts"]
        return [alert for alert in found if alert["state"] == "firing" and alert["labels"]["alertname"] == "ErrorBudgetBurnFast"]
    alert = eventually(firing, seconds=40)[0]
    assert {name: alert["labels"][name] for name in ("tenant", "slo", "service", "severity", "time_scale")} == \
        {"tenant": "acme", "slo": "burning", "service": "shop", "severity": "page", "time_scale": "0.01"}
    assert alert["annotations"]["summary"] == "acme spends the error budget of The burning too fast"
    assert alert["annotations"]["description"].startswith("50%")
    # The others burn nothing of theirs, or are in real time, where two minutes are not enough to say so.
    assert {(a["labels"]["tenant"], a["labels"]["slo"]) for a in firing()} == {("acme", "burning")}
    assert len(firing("acme")) == 1 and firing("empty") == []


def report(collector, *options, reader="oncall", month=MONTH, out=None):
    command = [collector.program, "report", "--config", collector.folder / "collector.yaml", "--month", month, "--out", out,
               "--token-file", collector.folder / f"{reader}.token", *options]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)


def test_json_reports_of_a_month_are_what_the_samples_say(collector, tmp_path):
    done = report(collector, "--format", "json", out=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{tenant}.json" for tenant in SUMS)
    for tenant, (total, bad) in SUMS.items():
        document = json.loads((tmp_path / f"{tenant}.json").read_text())
        assert (document["tenant"], document["period"]["name"]) == (tenant, MONTH)
        assert document["period"]["from_ms"] == MONTH_START.timestamp() * 1000
        sums = {objective["slo"]: objective for objective in document["objectives"]}["sums"]
        ratio = (bad or 0) / total
        assert sums["total_events"] == pytest.approx(300 * total) and sums["bad_events"] == pytest.approx(300 * (bad or 0))
        assert sums["achieved"] == pytest.approx(1 - ratio) and sums["met"] is (ratio <= 0.05)
        assert sums["budget_remaining"] == pytest.approx(1 - ratio / 0.05)
        # Five hours at this share of errors are as bad as so long without any success.
        assert sums["downtime_equivalent_s"] == pytest.approx(ratio * 5 * 3600, rel=0.03)
        assert sum(point["bad_events"] for point in sums["points"]) == pytest.approx(sums["bad_events"])
        assert bool(sums["bad_periods"]) is (ratio > 0.05)
    counters = {o["slo"]: o for o in json.loads((tmp_path / "globex.json").read_text())["objectives"]}["counters"]
    assert counters["total_events"] == pytest.approx(COUNTER_EVENTS, rel=0.01)
    assert counters["bad_events"] == pytest.approx(COUNTER_EVENTS / 50, rel=0.01)


def test_html_reports_are_complete_in_themselves(collector, tmp_path):
    done = report(collector, out=tmp_path)
    assert done.returncode == 0 and "3 reports" in done.stdout, done.stderr
    for tenant in SUMS:
        page = (tmp_path / f"{tenant}.html").read_text()
        assert "<svg" in page and tenant in page and MONTH in page and "The sums" in page
        assert all(target[0] == "#" for target in re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]*)""", page))
        assert not re.search(r"<(script|link|iframe|object)\b|@import|url\(", page)
        assert not any(other in page for other in SUMS if other != tenant)


@pytest.mark.parametrize("form", ["csv", "md"])
def test_csv_and_markdown(collector, tmp_path, form):
    done = report(collector, "--tenant", "acme", "--format", form, out=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [f"acme.{form}"]
    text = (tmp_path / f"acme.{form}").read_text()
    if form == "md":
        assert f"acme, {MONTH}" in text and "| acme | The sums | 95 % | 90 % | -100.0 % | no |" in text
        return
    row, = (row for row in csv.DictReader(text.splitlines()) if row["slo"] == "sums")
    assert (row["tenant"], float(row["total_events"]), float(row["bad_events"])) == ("acme", 3000.0, 300.0)


@pytest.mark.parametrize("month, says", [("2026-13", "2026-13"), ("yesterday", "yesterday"), ("2026", "2026"),
                                         ("2099-01", "has not begun")])
def test_a_wrong_month_ends_with_1_and_a_message(collector, tmp_path, month, says):
    done = report(collector, month=month, out=tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "") and says in done.stderr and "month" in done.stderr
    assert not (tmp_path / "none").exists() or list((tmp_path / "none").iterdir()) == []


def test_a_month_without_data_is_a_report_without_objectives(collector, tmp_path):
    done = report(collector, "--tenant", "acme", "--format", "json", month="2020-02", out=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "acme.json").read_text())["objectives"] == []


def test_a_collector_that_is_not_there_ends_with_1_and_a_message(collector, tmp_path):
    (tmp_path / "elsewhere.yaml").write_text("listen: {http: '127.0.0.1:1'}\n")
    done = subprocess.run([str(collector.program), "report", "--config", str(tmp_path / "elsewhere.yaml"), "--month", MONTH,
                           "--out", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "the collector can't be asked" in done.stderr


def test_a_tenants_reader_gets_its_own_report_alone(collector, tmp_path):
    done = report(collector, "--format", "json", reader="acme", out=tmp_path / "all")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["acme.json"]
    for tenant in ("globex", "nosuch"):
        done = report(collector, "--tenant", tenant, reader="acme", out=tmp_path / "other")
        assert done.returncode == 1 and "404" in done.stderr

    def ask(reader=None, org=None, **parameters):
        scope = {"X-Scope-OrgID": org} if org else {}
        return collector.session.get(collector.url + "/tenantscope/v1/reports", params={"month": MONTH, **parameters},
                                     headers={**headers(reader), **scope}, timeout=30)

    other, missing = ask("acme", tenant="globex"), ask("acme", tenant="nosuch")
    assert (other.status_code, other.content) == (404, missing.content)
    assert ask("acme", org="globex", tenant="globex").status_code == 404
    # The fleet's report for acme is about acme; narrowed to globex, about nobody.
    fleet, nobody = ask("acme", format="json"), ask("acme", org="globex", format="json")
    assert fleet.status_code == 200 and "acme" in fleet.text and "globex" not in fleet.text and "spotless" not in fleet.text
    assert nobody.status_code == 200 and nobody.json()["objectives"] == []
    assert ask("acme").json()["tenants"] == ["acme"] and ask("empty").json()["tenants"] == []
    assert ask().status_code == 401
    assert {tenant for _, tenant in budgets(collector, "acme")} == {"acme"}
    assert budgets(collector, "acme", tenant="globex") == {} == budgets(collector, "empty")
    assert {tenant for _, tenant in budgets(collector, "oncall", tenant="globex")} == {"globex"}
