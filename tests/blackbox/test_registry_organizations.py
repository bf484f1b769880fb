"""The registry from AWS Organizations: moto's organization, made by boto3, and agents' proofs from its accounts."""

import subprocess
import time

import identity
import organization
import otlp
import pytest
import yaml
from collector import eventually


@pytest.fixture
def members(moto):
    return organization.Organization(moto.url)


@pytest.fixture
def started(collectors, moto):
    """Starts a collector over moto's organization; `file` is what tenants.yaml lists."""

    def start(file=None, name="collector", organizations=None, **registry):
        if file is not None:
            registry["file"] = "tenants.yaml"
        running = collectors(organization.config(moto.url, organizations, **registry), name=name, start=False)
        running.folder.mkdir(parents=True, exist_ok=True)
        if file is not None:
            (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": file}))
        running.env = organization.environment(moto.url)
        running.start()
        return running

    return start


def prove(running, moto, account):
    """The answer to an agent's proof from the account."""
    return identity.exchange(running, identity.proof(identity.assume_role(moto.url, account)))


def tenant_of(running, moto, account):
    answer = prove(running, moto, account)
    return answer.json()["tenant"] if answer.status_code == 200 else None


def listed(running):
    return {tenant["id"]: tenant for tenant in running.get("/tenantscope/v1/tenants").json()["tenants"]}


def registry(running):
    answer = running.get("/tenantscope/v1/registry")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_accounts_tags_and_units_become_tenants(members, started, moto):
    gold = members.unit("Gold", members.unit("Tenants"))
    production = members.account("Acme production", gold, tenant="acme", tier="gold", wave="canary", colour="blue")
    testing = members.account("Acme testing", gold, tenant="acme")
    untagged = members.account("Globex")
    running = started()
    assert registry(running)["organization"]["complete"]

    tenants = listed(running)
    assert tenants["acme"]["accounts"] == sorted([production, testing])
    assert tenants["acme"]["attributes"] == {"tier": "gold", "wave": "canary", "ou": "/Tenants/Gold"}
    assert tenants[untagged]["name"] == "Globex", "without a tag, the account's number is the tenant and its name is shown"

    answer = prove(running, moto, testing)
    assert answer.json()["tenant"] == "acme"
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert running.send("metrics", otlp.gauge_json("shop_carts", 1.0), headers=headers).status_code == 200
    assert running.query("shop_carts")[0]["metric"]["tenant"] == "acme"


def test_a_new_account_is_at_work_without_a_hand(members, started, moto):
    running = started()
    late = members.account("Late", tenant="late", tier="bronze")
    # It is read each second here; the default of 30 s leaves a minute's half for the reading itself.
    assert eventually(lambda: tenant_of(running, moto, late) == "late", seconds=20)
    members.tag(late, tier="silver")
    eventually(lambda: listed(running)["late"]["attributes"]["tier"] == "silver", seconds=20)
    eventually(lambda: running.own_metric("tenantscope_tenancy_organizations_rounds_total", outcome="ok") >= 2, seconds=20)


def test_more_accounts_than_a_page_holds(members, started):
    unit = members.unit("Tenants")
    made = {members.account(f"t{n}", unit, tenant=f"t{n}") for n in range(45)}
    running = started()
    tenants = listed(running)
    assert made <= {account for tenant in tenants.values() for account in tenant["accounts"]}
    assert running.own_metric("tenantscope_tenancy_organizations_calls_total", operation="ListAccountsForParent") >= 4


def test_a_closed_account_is_marked_and_one_that_left_is_unknown(members, started, moto):
    closed = members.account("Closed", tenant="closed")
    leaving = members.account("Leaving", tenant="leaving")
    running = started()
    members.close(closed)
    members.remove(leaving)
    eventually(lambda: listed(running)["closed"].get("account_states") == {closed: "suspended"}, seconds=20)
    eventually(lambda: "leaving" not in listed(running), seconds=20)
    refused = prove(running, moto, leaving)
    assert refused.status_code == 403 and "belongs to no tenant" in refused.text
    assert f"{closed} (suspended)" in running.get("/tenants/closed").text


def test_the_file_wins_and_the_conflict_is_told(members, started, moto):
    one = members.account("One", tenant="globex", tier="silver")
    two = members.account("Two", tenant="acme", wave="late")
    running = started(file=[{"id": "acme", "accounts": [one], "attributes": {"tier": "gold"}}])
    assert tenant_of(running, moto, one) == "acme" and tenant_of(running, moto, two) == "acme"
    assert listed(running)["acme"]["attributes"] == {"tier": "gold", "wave": "late", "ou": "/"}
    conflicts = {(found["kind"], found["in_force"], found["ignored"]) for found in registry(running)["conflicts"]}
    assert conflicts == {("tenant", "acme", "globex"), ("attribute", "gold", "silver")}
    assert running.own_metric("tenantscope_tenancy_registry_conflicts", kind="tenant") == 1
    assert "file and organization differ" in running.log()


def test_only_the_units_that_are_named_count(members, started, moto):
    unit = members.unit("Tenants")
    inside = members.account("Inside", unit, tenant="inside")
    outside = members.account("Outside", tenant="outside")
    running = started(organizations={"under": ["/Tenants"], "untagged": "unknown"})
    assert tenant_of(running, moto, inside) == "inside"
    assert prove(running, moto, outside).status_code == 403
    assert set(listed(running)) == {"inside"}


def test_organizations_away_changes_nothing(members, started, moto):
    account = members.account("Acme", tenant="acme")
    running = started()
    assert "acme" in listed(running)
    running.stop()

    # Nothing listens there: neither at the start nor later can the organization be read.
    running.env = organization.environment("http://127.0.0.1:9")
    running.start()
    assert tenant_of(running, moto, account) == "acme"
    failure = eventually(lambda: registry(running)["organization"]["failure"], seconds=60)
    assert failure["error"] and tenant_of(running, moto, account) == "acme"

    running.stop()
    running.env = organization.environment(moto.url)
    running.start()
    eventually(lambda: registry(running)["organization"]["failure"] is None, seconds=20)
    members.account("Next", tenant="next")
    eventually(lambda: "next" in listed(running), seconds=20)


@pytest.fixture
def throttling(moto):
    proxy = organization.Throttling(moto.url)
    yield proxy
    proxy.stop()


def start_behind(collectors, moto, proxy, **organizations):
    running = collectors(organization.config(moto.url, organizations), start=False)
    running.env = organization.environment(proxy.url)
    running.start()
    return running


def test_calls_that_are_throttled_are_made_again(members, collectors, moto, throttling):
    made = {members.account(f"t{n}", tenant=f"t{n}") for n in range(8)}
    throttling.refuses = lambda operation, number: number % 4 == 0
    running = start_behind(collectors, moto, throttling)
    eventually(lambda: made <= {account for tenant in listed(running).values() for account in tenant["accounts"]}, seconds=60)
    assert registry(running)["organization"]["failure"] is None or registry(running)["organization"]["complete"]


def test_too_many_calls_for_long_change_nothing_and_are_told(members, collectors, moto, throttling):
    account = members.account("Acme", tenant="acme")
    running = start_behind(collectors, moto, throttling)
    assert tenant_of(running, moto, account) == "acme"
    throttling.refuses = lambda operation, number: True
    failure = eventually(lambda: registry(running)["organization"]["failure"], seconds=120)
    assert "TooManyRequestsException" in failure["error"] and "acme" in listed(running)
    assert running.own_metric("tenantscope_tenancy_organizations_calls_total", outcome="throttled") >= 1
    assert running.own_metric("tenantscope_tenancy_organizations_rounds_total", outcome="failed") >= 1
    assert "TooManyRequestsException" in running.get("/accounts").text
    throttling.refuses = lambda operation, number: False
    members.account("Next", tenant="next")
    eventually(lambda: "next" in listed(running), seconds=60)
    assert registry(running)["organization"]["failure"] is None


def test_calls_come_no_faster_than_they_may(members, collectors, moto, throttling):
    for number in range(20):
        members.account(f"t{number}", tenant=f"t{number}")
    start_behind(collectors, moto, throttling, refresh="10s", calls_per_second=5)
    before, begun = len(throttling.calls), time.monotonic()
    time.sleep(4)
    assert len(throttling.calls) - before <= (time.monotonic() - begun) * 5 + 11, "the rate, and a burst of ten"


def test_until_all_was_read_once_unknown_accounts_are_told_to_try_again(members, collectors, moto, throttling):
    account = members.account("Acme", tenant="acme")
    throttling.refuses = lambda operation, number: True
    # The start waits 20 s for a first reading, then goes on without.
    running = start_behind(collectors, moto, throttling)
    answer = prove(running, moto, account)
    assert answer.status_code == 503 and "Retry-After" in answer.headers
    throttling.refuses = lambda operation, number: False
    eventually(lambda: tenant_of(running, moto, account) == "acme", seconds=90)


def test_check_is_offline_and_needs_a_source(collectors):
    running = collectors({}, start=False)
    running.folder.mkdir(parents=True)

    def check(registry_block):
        running.config = {"registry": registry_block}
        running.command()
        environment = organization.environment("http://127.0.0.1:9")
        return subprocess.run([running.program, "check", "--config", running.folder / "collector.yaml"], capture_output=True,
                              text=True, timeout=60, env=environment)

    assert check({"organizations": {}}).returncode == 0
    nothing = check({"unknown": "refuse"})
    assert nothing.returncode == 1 and "collector.yaml:2: registry" in nothing.stderr
    assert "needs file, organizations or both" in nothing.stderr
    wrong = check({"organizations": {"refesh": "1s"}})
    assert wrong.returncode == 1 and "refesh" in wrong.stderr


def test_only_a_reader_of_all_tenants_sees_the_sources(members, started):
    members.account("Acme", tenant="acme")
    running = started()
    assert running.get("/tenantscope/v1/registry", tenant="acme").status_code == 403
