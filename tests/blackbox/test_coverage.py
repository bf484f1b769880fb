"""Coverage, pooled accounts and quarantine: who reports, whose shared data is, what is held of strangers."""

import hashlib
import time

import organization
import otlp
import pytest
import yaml
from collector import eventually
from conftest import program
from processes import Process, free_port
from test_registry_organizations import prove

ACME, GLOBEX, POOL, STRANGER, OTHER = "111122223333", "444455556666", "777788889999", "121212121212", "343434343434"


def token(name, *accounts):
    return {"name": name, "token_sha256": hashlib.sha256(f"{name}-token".encode()).hexdigest(), "accounts": list(accounts)}


def as_(name):
    return {"Authorization": f"Bearer {name}-token"}


@pytest.fixture
def started(collectors):
    """Starts a collector with a file; `registry` is what else its block says."""

    def start(tenants, pooled=None, limits=None, **registry):
        running = collectors({}, start=False)
        running.config = {
            "registry": {"file": "tenants.yaml", **registry}, "limits": {"own_series_interval": "500ms", **(limits or {})},
            "identity": {"tokens": [token("acme", ACME), token("globex", GLOBEX), token("pool", POOL), token("stranger", STRANGER),
                                    token("other", OTHER), token("relay", ACME, POOL, STRANGER)]}}
        running.folder.mkdir(parents=True)
        write_tenants(running, tenants, pooled)
        running.start()
        return running

    return start


def write_tenants(running, tenants, pooled=None):
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": tenants, **({"pooled": pooled} if pooled else {})}))


def reload(running):
    answer = running.session.post(running.url + "/-/reload", timeout=30)
    assert answer.status_code == 200, answer.text


def coverage(running, tenant=None, **wanted):
    answer = running.get("/tenantscope/v1/coverage", tenant, **wanted)
    assert answer.status_code == 200, answer.text
    return {(one["tenant"], one["account"]): one for one in answer.json()["accounts"]}


def states(running):
    return {tenant: one["state"] for (tenant, _), one in coverage(running).items()}


BOTH = [{"id": "acme", "accounts": [ACME]}, {"id": "globex", "accounts": [GLOBEX]}]


def test_who_reports_who_is_silent_and_who_was_never_there(started):
    running = started(BOTH, coverage={"silent_after": "3s", "settle": "1s"})
    assert running.send("metrics", otlp.gauge_json("shop_carts", 1.0), headers=as_("acme")).status_code == 200
    assert states(running) == {"acme": "reporting", "globex": "never"}
    one = coverage(running)["acme", ACME]
    assert one["signals"]["metrics"]["state"] == "reporting"
    assert one["signals"]["logs"] == {"state": "idle"}, "its sender shows itself and has no logs"

    # As a series, in the tenant's own scope.
    eventually(lambda: running.value('tenantscope_tenant_coverage{signal="metrics",state="reporting"}', tenant="acme") == 1)
    eventually(lambda: running.query('tenantscope_tenant_coverage{state="never"}', tenant="globex"))
    assert running.query('tenantscope_tenant_coverage{tenant="globex"}', tenant="acme") == []

    silent = eventually(lambda: coverage(running, state="silent").get(("acme", ACME)), seconds=20)
    assert silent["last_contact_ms"] == silent["signals"]["metrics"]["last_ms"] <= time.time() * 1000 - 3000
    eventually(lambda: running.query('tenantscope_tenant_coverage{signal="metrics",state="silent"}', tenant="acme"))
    eventually(lambda: not running.query('tenantscope_tenant_coverage{signal="metrics",state="reporting"}', tenant="acme"))
    page = running.get("/accounts?state=silent").text
    assert ACME in page and GLOBEX not in page
    assert GLOBEX not in running.get("/accounts", tenant="acme").text


def test_an_idle_account_is_told_from_a_silent_one_over_a_restart(collectors, moto):
    members = organization.Organization(moto.url)
    idle, never = members.account("Idle", tenant="idle"), members.account("Never", tenant="never")
    running = collectors({**organization.config(moto.url), "limits": {"own_series_interval": "200ms"}}, start=False)
    running.env = organization.environment(moto.url)
    running.start()
    assert prove(running, moto, idle).status_code == 200
    expected = {idle: "idle", never: "never"}
    found = lambda: {account: one["state"] for (_, account), one in coverage(running).items() if account in expected}
    assert found() == expected
    time.sleep(1)
    running.stop()
    running.start()
    assert found() == expected


def test_an_agent_with_nothing_to_send_shows_itself(started, tmp_path):
    running = started(BOTH)
    config = tmp_path / "agent.yaml"
    config.write_text(yaml.safe_dump({
        "collector": running.otlp_grpc, "name": "edge", "proof": "token", "token_env": "TOKEN", "spool": {"dir": str(tmp_path / "spool")},
        "sources": {"otlp": {"http": f"127.0.0.1:{free_port()}"}}}))
    agent = Process("agent", [program("tenantscope-agent"), "run", "--config", config], tmp_path / "agent.log", env={"TOKEN": "acme-token"})
    try:
        eventually(lambda: states(running)["acme"] == "idle", seconds=30)
        assert all(signal["state"] == "idle" for signal in coverage(running)["acme", ACME]["signals"].values())
        assert states(running)["globex"] == "never"
    finally:
        agent.stop()


def test_an_agent_that_can_not_read_its_source_is_told_from_one_that_has_nothing(started):
    running = started(BOTH)

    def tell(**documents):
        request = {"agent": "edge", "mode": "run", "version": "0.2.0", "proof": {"kind": "token", "token": "acme-token"}, "documents": documents}
        answer = running.session.post(running.otlp_http + "/tenantscope/v1/identity", json=request, timeout=30)
        assert answer.status_code == 200, answer.text

    tell(source_failing="logs in eu-west-1: AccessDenied")
    one = coverage(running, state="failing")["acme", ACME]
    assert one["failing"] == "logs in eu-west-1: AccessDenied"
    assert {signal: found["state"] for signal, found in one["signals"].items()} == {"metrics": "idle", "logs": "failing", "spans": "idle"}
    assert "AccessDenied" in running.get("/accounts").text and "AccessDenied" not in running.get("/accounts", tenant="globex").text
    eventually(lambda: running.query('tenantscope_tenant_coverage{signal="logs",state="failing"}', tenant="acme"))
    # What comes all the same comes.
    assert running.send("metrics", otlp.gauge_json("shop_carts", 1.0), headers=as_("acme")).status_code == 200
    assert states(running)["acme"] == "reporting"
    tell()
    assert coverage(running)["acme", ACME]["signals"]["logs"]["state"] == "idle" and "failing" not in coverage(running)["acme", ACME]


def test_a_new_account_settles_and_a_closing_one_wakes_nobody(started):
    running = started(BOTH[:1], coverage={"silent_after": "1s", "settle": "4s"})
    assert states(running) == {"acme": "never"}, "what is there at the first start did not come just now"
    write_tenants(running, BOTH)
    reload(running)
    assert states(running)["globex"] == "settling"
    eventually(lambda: states(running)["globex"] == "never", seconds=20)
    write_tenants(running, [{**BOTH[0], "closing": [ACME]}, BOTH[1]])
    reload(running)
    assert states(running)["acme"] == "closing"
    eventually(lambda: not running.query('tenantscope_tenant_coverage{tenant="acme",state=~"never|silent"}'))


ALWAYS = {"groups": [{"name": "always", "interval": "1s", "rules": [
    {"alert": "Always", "expr": 'max by (tenant, account_id) (tenantscope_tenant_info)'}]}]}


def test_alerts_of_an_account_that_settles_open_no_incident(started):
    running = started(BOTH[:1], coverage={"settle": "8s"})
    rules = running.folder / "rules.yaml"
    rules.write_text(yaml.safe_dump(ALWAYS))
    running.config["rules"] = ["rules.yaml"]
    running.command()
    write_tenants(running, BOTH)
    reload(running)
    told = lambda: {tenant for incident in running.get("/tenantscope/v1/incidents").json()["incidents"]
                    for tenant in incident["tenants"]}
    eventually(lambda: "acme" in told(), seconds=30)
    # What is about the new account is told once it has settled, if it still holds.
    eventually(lambda: "globex" in told(), seconds=120)
    arrived_ms = coverage(running)["globex", GLOBEX]["arrived_ms"]
    opened = [incident["opened_ms"] for incident in running.get("/tenantscope/v1/incidents").json()["incidents"]
              if incident["tenants"] == ["globex"] or incident["reach"] != "single"]
    assert opened and min(opened) >= arrived_ms + 8000
    assert running.own_metric("tenantscope_incidents_quiet_alerts_total") > 0


POOLED = [{"accounts": [POOL], "attribute": "app.customer", "tenants": ["acme", "globex"]}]


def carts(value, customer=None, **more):
    resource = {**({"app.customer": customer} if customer else {}), **more}
    return otlp.gauges("shop_carts", [({}, value, otlp.now_ns())], resource)


def test_a_pooled_account_names_its_tenants_and_no_others(started):
    running = started(BOTH, POOLED)
    batch = carts(1.0, "acme")
    batch.MergeFrom(carts(2.0, "globex"))
    batch.MergeFrom(carts(3.0, "initech"))
    batch.MergeFrom(carts(4.0))
    answer = running.send("metrics", batch, headers=as_("pool"))
    assert answer.status_code == 200
    assert running.value("shop_carts", tenant="acme") == 1.0 and running.value("shop_carts", tenant="globex") == 2.0
    assert {found["metric"]["account_id"] for found in running.query("shop_carts")} == {POOL}
    assert len(running.query("shop_carts")) == 2, "another tenant, or none, is refused"
    for reason in ("foreign_tenant", "no_tenant"):
        assert running.own_metric("tenantscope_ingest_rejected_records_total", reason=reason) == 1
    # A relay names the account as well.
    relayed = carts(5.0, "globex", **{"cloud.account.id": POOL})
    assert running.send("metrics", relayed, headers=as_("relay")).status_code == 200
    assert running.value("shop_carts", tenant="globex") == 5.0
    logs = otlp.logs(["paid"], {"service.name": "shop", "app.customer": "acme"})
    assert running.send("logs", logs, headers=as_("pool")).status_code == 200
    assert coverage(running)["acme", POOL]["signals"]["logs"]["state"] == "reporting"
    eventually(lambda: running.query(f'tenantscope_tenant_info{{account_id="{POOL}"}}', tenant="acme"))


def test_what_a_pooled_account_names_wrongly_can_be_held(started):
    running = started(BOTH, [{**POOLED[0], "others": "quarantine"}])
    assert running.send("metrics", carts(3.0, "initech"), headers=as_("pool")).status_code == 200
    assert running.value("shop_carts", tenant="unassigned") == 3.0
    assert [held["account"] for held in running.get("/tenantscope/v1/quarantine").json()["accounts"]] == [POOL]


def test_quarantine_is_bounded_seen_and_released_by_adding_the_account(started):
    limits = {"max_records_per_day": 40, "max_accounts": 1}
    running = started(BOTH, unknown="quarantine", quarantine=limits)
    send = lambda value, name: running.send("metrics", otlp.gauge_json("shop_carts", value), headers=as_(name))
    for value in range(10):
        assert send(float(value), "stranger").status_code == 200
    # A quarter of a day's is one account's; its agent's spool keeps the rest until somebody adds the account.
    full = send(99.0, "stranger")
    assert full.status_code == 429 and int(full.headers["Retry-After"]) >= 60
    assert send(1.0, "other").status_code == 429, "no more than one account"
    held = running.get("/tenantscope/v1/quarantine").json()["accounts"]
    assert [(one["account"], one["records"]) for one in held] == [(STRANGER, 10)] and held[0]["refused"] >= 1
    assert STRANGER in running.get("/accounts").text
    assert running.get("/tenantscope/v1/quarantine", tenant="acme").json()["accounts"] == []
    eventually(lambda: running.own_metric("tenantscope_tenancy_quarantined_accounts") == 1)

    # A restart forgets nothing of it.
    time.sleep(1.5)
    running.kill()
    running.start()
    assert running.get("/tenantscope/v1/quarantine").json()["accounts"][0]["records"] == 10
    assert send(99.0, "stranger").status_code == 429

    write_tenants(running, BOTH + [{"id": "newcomer", "accounts": [STRANGER]}])
    reload(running)
    assert send(100.0, "stranger").status_code == 200
    assert running.value("shop_carts", tenant="newcomer") == 100.0
    # What was held stays where it was decided, and is found by its account.
    assert running.query(f'shop_carts{{account_id="{STRANGER}",tenant="unassigned"}}')
    eventually(lambda: running.get("/tenantscope/v1/quarantine").json()["accounts"] == [])


def test_a_relay_can_not_fill_the_quarantine_for_a_tenant(started):
    running = started(BOTH, unknown="quarantine", quarantine={"max_records_per_day": 4})
    both = lambda: [otlp.gauges("shop_carts", [({}, 1.0, otlp.now_ns())], {"cloud.account.id": account}) for account in (ACME, STRANGER)]
    for _ in range(3):
        for batch in both():
            assert running.send("metrics", batch, headers=as_("relay")).status_code == 200
    assert running.own_metric("tenantscope_ingest_rejected_records_total", reason="quarantine_full") == 2
    assert running.value("shop_carts", tenant="acme") == 1.0
