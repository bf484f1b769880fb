"""A tenant by another name keeps its history and nobody else gets it; an account that moves leaves what it sent where it was."""

import json
import subprocess

import organization
import otlp
import pytest
import yaml
from collector import eventually
from test_isolation import ACCOUNTS, CANARY, OBJECTIVE, READERS, RULES, SENDERS, ask, bearer, config, questions, send_everything, sha256
from test_registry_organizations import listed, prove

# None of the questions holds the canary.
CARTS = '{__name__=~".+_carts.*", item=~".+", __name__!~"tenant:.*"}'
TRACE = b"glob".ljust(16, b"0")
ACME = {"id": "acme", "accounts": [ACCOUNTS["acme"]], "attributes": {"tier": "gold"}}
GLOBEX = {"id": "globex", "accounts": [ACCOUNTS["globex"]], "attributes": {"tier": "silver"}}
RENAMED = {"id": "initech", "accounts": [ACCOUNTS["globex"]], "attributes": {"tier": "silver"}, "aliases": ["globex"]}


@pytest.fixture
def running(collectors):
    """Two tenants, of which globex's data holds the canary, and a reader for each tenant that there will be."""
    made = config("1s")
    for tenant in ("globex", "initech"):
        READERS[tenant] = f"reads-{tenant}"
        made["readers"].append({"name": tenant, "token_sha256": sha256(READERS[tenant]), "scope": {"tenants": [tenant]}})
    made["limits"] = {"own_series_interval": "300ms"}
    started = collectors(made, start=False)
    started.folder.mkdir(parents=True)
    (started.folder / "rules.yaml").write_text(RULES)
    (started.folder / "slo.yaml").write_text(yaml.safe_dump(OBJECTIVE))
    write(started, ACME, GLOBEX)
    started.start()
    send_everything(started, "acme", "plain", trace_id=b"acme".ljust(16, b"0"))
    send_everything(started, "globex", CANARY, trace_id=TRACE)
    eventually(lambda: found(started, "oncall"))
    eventually(lambda: query(started, "oncall", f'tenantscope_tenant_info{{account_id="{ACCOUNTS["globex"]}"}}'))
    return started


def write(running, *tenants):
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": list(tenants)}))


def reload(running, *tenants):
    write(running, *tenants)
    return running.session.post(running.url + "/-/reload", headers=bearer(READERS["oncall"]), timeout=30).status_code


def query(running, reader, expression, tenant=None):
    return running.query(expression, tenant=tenant, headers=bearer(READERS[reader]))


def found(running, reader, tenant=None):
    """Whether a reader finds what globex sent, of every signal."""
    headers = {"X-Scope-OrgID": tenant} if tenant else {}
    asked = [("/api/v1/query", {"query": CARTS}), ("/loki/api/v1/query_range", {"query": '{service_name=~".+"}'}),
             (f"/tempo/api/traces/{TRACE.hex()}", {})]
    return [CANARY in running.get(path, headers={**bearer(READERS[reader]), **headers}, **parameters).text
            for path, parameters in asked] == [True] * 3


def leaks(running, reader, *words):
    """The questions whose raw answers hold a word that the reader must not see."""
    words = [word.encode() for word in (CANARY, *words)]
    told = []
    more = [(path, {}) for path in ("/accounts", "/tenantscope/v1/coverage", "/tenantscope/v1/cost", "/tenantscope/v1/agents",
                                    "/tenantscope/v1/quarantine", "/tenantscope/v1/tag-policy", "/federate?match[]=%7Btenant!=%22%22%7D")]
    for path, parameters in [*questions(), *more]:
        answer = ask(running, reader, path, parameters)
        raw = (answer.content + str(answer.headers).encode()).lower()
        told += [(path, parameters, word) for word in words if word in raw]
    return told


def entry(running, reader, tenant):
    answer = ask(running, reader, "/tenantscope/v1/tenants", {})
    return {one["id"]: one for one in answer.json()["tenants"]}[tenant]


def test_a_renamed_tenant_keeps_its_history_and_nobody_else_gets_it(running):
    assert not found(running, "initech")
    assert reload(running, ACME, RENAMED) == 200
    # Its own reader, whoever narrows to it, and who was given the old id: all find it. It stays as it was stored.
    assert found(running, "initech") and found(running, "oncall", tenant="initech") and found(running, "globex")
    assert {one["metric"]["tenant"] for one in query(running, "initech", CARTS)} == {"globex"}
    assert not found(running, "acme") and not found(running, "acme", tenant="initech") and not found(running, "acme", tenant="globex")
    assert leaks(running, "acme", "globex", "initech", ACCOUNTS["globex"]) == []

    # What comes now has the new name, which the old id's reader does not see.
    assert running.send("metrics", otlp.gauge_json("late_carts", 1.0), headers=bearer(SENDERS["globex"])).status_code == 200
    assert query(running, "initech", "late_carts")[0]["metric"]["tenant"] == "initech" and query(running, "globex", "late_carts") == []
    one = entry(running, "initech", "initech")
    assert one["former_ids"] == ["globex"] and one["accounts"] == [ACCOUNTS["globex"]] and "moved_accounts" not in one
    assert [tenant["id"] for tenant in ask(running, "initech", "/tenantscope/v1/tenants", {}).json()["tenants"]] == ["initech"]
    assert "formerly globex" in ask(running, "initech", "/tenants/initech", {}).text
    assert "/tenants/initech" in ask(running, "oncall", "/tenants/globex", {}).text
    assert "initech" not in ask(running, "globex", "/tenants/globex", {}).text

    # One row for the tenant as it is called now; at the time of the old name, the old row joins the old series.
    info = f'tenantscope_tenant_info{{account_id="{ACCOUNTS["globex"]}"}}'
    eventually(lambda: [row["metric"]["tenant"] for row in query(running, "oncall", info)] == ["initech"])
    joined = f"last_over_time({CARTS}[10m]) * on (tenant, account_id) group_left (tier) last_over_time(tenantscope_tenant_info[10m])"
    assert {row["metric"]["tier"] for row in query(running, "initech", joined)} == {"silver"}

    # The command line says it, to each within what it may see.
    def asked(reader, *arguments):
        token = running.folder / f"{reader}.token"
        token.write_text(READERS[reader])
        return subprocess.run([running.program, "tenants", *arguments, "--config", running.folder / "collector.yaml", "--token-file", token],
                              capture_output=True, text=True, timeout=60)

    running.config["listen"] = {"http": f"127.0.0.1:{running.ports['http']}"}
    running.command()
    lines = [line.split("\t") for line in asked("oncall", "list").stdout.splitlines()]
    assert ["initech", ACCOUNTS["globex"], "tier=silver", "globex"] in lines and "acme" in {line[0] for line in lines}
    assert [line.split("\t")[0] for line in asked("acme", "list").stdout.splitlines()] == ["TENANT", "acme"]
    assert json.loads(asked("initech", "show", "globex").stdout)["id"] == "initech"
    unknown = asked("acme", "show", "initech")
    assert unknown.returncode == 1 and unknown.stdout == "" and "no tenant initech" in unknown.stderr

    # A restart changes nothing of it.
    running.kill()
    running.start()
    assert found(running, "initech") and not found(running, "acme")


def test_two_tenants_of_one_name_are_refused_with_the_place(running):
    assert reload(running, ACME, RENAMED) == 200
    assert reload(running, ACME, RENAMED, {"id": "globex"}) != 200
    assert found(running, "initech"), "what was in force stays"
    said = subprocess.run([running.program, "check", "--config", running.folder / "collector.yaml"], capture_output=True, text=True, timeout=60)
    assert said.returncode == 1 and "tenants.yaml:" in said.stderr and "alias globex of tenant initech is a tenant itself" in said.stderr
    # Nor can it be removed while it is one.
    removal = running.session.post(running.url + "/tenantscope/v1/removals?tenant=globex", headers=bearer(READERS["oncall"]), timeout=30)
    assert removal.status_code == 409 and "former id of tenant initech" in removal.text and found(running, "initech")
    # Without the alias the history is nobody's but the old id's, and another tenant may not claim it beside the first.
    assert reload(running, {**ACME, "aliases": ["globex"]}, RENAMED) != 200
    assert reload(running, ACME, {**RENAMED, "aliases": []}) == 200
    assert not found(running, "initech") and found(running, "globex") and found(running, "oncall")


def turns(running, value):
    """A delta, whose running total is kept by the collector."""
    batch = otlp.gauges("unused", [])
    counted = batch.resource_metrics[0].scope_metrics[0].metrics.add(name="turns")
    counted.sum.aggregation_temporality, counted.sum.is_monotonic = 1, True
    now = otlp.now_ns()
    counted.sum.data_points.add(time_unix_nano=now, start_time_unix_nano=now - 1_000_000_000, as_double=value)
    assert running.send("metrics", batch, headers=bearer(SENDERS["globex"])).status_code == 200


def test_an_account_that_moves_leaves_what_it_sent_where_it_was(running):
    turns(running, 7.0)
    both = {**ACME, "accounts": [ACCOUNTS["acme"], ACCOUNTS["globex"]]}
    assert reload(running, both, {**GLOBEX, "accounts": []}) == 200
    moved = eventually(lambda: entry(running, "oncall", "acme").get("moved_accounts"))
    assert [(one["account"], one["from"], one["to"]) for one in moved] == [(ACCOUNTS["globex"], "globex", "acme")]

    # From now on it is acme's, which sees nothing of what it was before: no record, no running total, no name.
    turns(running, 2.0)
    assert query(running, "acme", "turns_total")[0]["value"][1] == "2" and query(running, "globex", "turns_total")[0]["value"][1] == "7"
    assert not found(running, "acme") and found(running, "globex")
    assert leaks(running, "acme", "globex") == []
    own = entry(running, "acme", "acme")
    assert ACCOUNTS["globex"] in own["accounts"] and own["accounts_since_ms"][ACCOUNTS["globex"]] == moved[0]["at_ms"]
    assert own["moved_accounts"] == [{"account": ACCOUNTS["globex"], "to": "acme", "at_ms": moved[0]["at_ms"]}]
    page = ask(running, "acme", "/tenants/acme", {}).text
    assert f"account {ACCOUNTS['globex']} came from another tenant" in page

    # The one that had it keeps its history, found by the account's number, and is not told whose it is.
    left = entry(running, "globex", "globex")
    assert left["moved_accounts"] == [{"account": ACCOUNTS["globex"], "from": "globex", "at_ms": moved[0]["at_ms"]}] and left["accounts"] == []
    assert query(running, "globex", f'{{__name__=~".+_carts.*",account_id="{ACCOUNTS["globex"]}"}}')
    assert "acme" not in ask(running, "globex", "/tenants/globex", {}).text
    lines = lambda: [json.loads(line) for line in (running.folder / "data" / "audit.jsonl").read_text().splitlines()]
    told = eventually(lambda: [line for line in lines() if line["event"] == "account_moved"])
    assert [(line["account"], line["from"], line["to"]) for line in told] == [(ACCOUNTS["globex"], "globex", "acme")]

    running.kill()
    running.start()
    assert entry(running, "acme", "acme")["moved_accounts"] and not found(running, "acme")


def test_tags_name_former_ids_and_homes(collectors, moto):
    members = organization.Organization(moto.url)
    first = members.account("First", tenant="old", home="eu")
    second = members.account("Second", tenant="old")
    abroad = members.account("Abroad", tenant="far", home="us")
    made = organization.config(moto.url, home="eu")
    running = collectors(made, start=False)
    running.env = organization.environment(moto.url)
    running.start()
    answer = prove(running, moto, first)
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert running.send("metrics", otlp.gauge_json("shop_carts", 1.0), headers=headers).status_code == 200
    refused = prove(running, moto, abroad)
    assert refused.status_code == 403 and 'belongs to the collector "us"' in refused.json()["message"]
    assert listed(running)["far"]["home"] == "us"

    # One account after the other is given the new name: while one has the old, that is a tenant of its own.
    members.tag(first, tenant="new", tenant_aliases="old")
    eventually(lambda: "new" in listed(running), seconds=20)
    assert running.query("shop_carts", tenant="new") == []
    conflicts = running.get("/tenantscope/v1/registry").json()["conflicts"]
    assert [(one["kind"], one["attribute"], one["in_force"], one["ignored"]) for one in conflicts] == [("alias", "old", "old", "new")]
    members.tag(second, tenant="new")
    eventually(lambda: running.query("shop_carts", tenant="new"), seconds=20)
    assert listed(running)["new"]["former_ids"] == ["old"] and listed(running)["new"]["accounts"] == sorted([first, second])
    assert running.query("shop_carts", tenant="far") == []


def test_a_reload_brings_an_organization_and_changes_its_rules(collectors, moto):
    members = organization.Organization(moto.url)
    inside = members.account("Inside", members.unit("Tenants"), tenant="one", customer="two")
    outside = members.account("Outside", tenant="three")
    made = organization.config(moto.url)
    organizations = made["registry"].pop("organizations")
    made["registry"]["file"] = "tenants.yaml"
    running = collectors(made, start=False)
    running.env = organization.environment(moto.url)
    running.folder.mkdir(parents=True)
    write(running, {"id": "acme"})
    running.start()
    assert prove(running, moto, inside).status_code == 403

    def change(rules, **registry):
        running.config["registry"] = {"file": "tenants.yaml", **({"organizations": {**organizations, **rules}} if rules is not None else {}), **registry}
        running.command()
        assert running.session.post(running.url + "/-/reload", timeout=30).status_code == 200

    owner = lambda account: prove(running, moto, account).json().get("tenant")
    change({})
    eventually(lambda: prove(running, moto, inside).status_code == 200, seconds=20)
    assert (owner(inside), owner(outside)) == ("one", "three")
    change({"tenant_tag": "customer", "untagged": "unknown", "under": ["/Tenants"]})
    assert owner(inside) == "two" and prove(running, moto, outside).status_code == 403
    change({"under": ["/Tenants"]}, unknown="quarantine")
    assert (owner(inside), owner(outside)) == ("one", "unassigned")
    change(None)
    assert prove(running, moto, inside).status_code == 403 and set(listed(running)) == {"acme"}
