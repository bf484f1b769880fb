"""`tenants remove`: refused while the registry lists the tenant, then complete, and nothing comes back: not by a kill at any
time, a replay, or a forward target at an old cursor. In the end no byte of it is in the data folder."""

import hashlib
import json
import subprocess
import threading
import time

import certificates
import otlp
import pytest
import remote_write
import requests
import yaml
from collector import eventually
from receiver import Receiver

ACCOUNTS = {"gonecorp": "111122223333", "globex": "444455556666"}
# Stands in everything that the removed tenant sends, so that it is found wherever something is left.
CANARY = "kanary7d1f"
RULES = {"groups": [{"name": "g", "interval": "1s", "rules": [
    {"alert": "Carts", "expr": 'sum by (tenant, shop) (shop_carts) > 0', "annotations": {"summary": "{{ $labels.shop }}"}},
    {"record": "shop:carts", "expr": "sum by (tenant, shop) (shop_carts)"}]}]}


def token(tenant):
    return {"Authorization": f"Bearer token-of-{tenant}"}


def sender(tenant):
    digest = hashlib.sha256(f"token-of-{tenant}".encode()).hexdigest()
    return {"name": tenant, "token_sha256": digest, "accounts": [ACCOUNTS[tenant]]}


def list_tenants(running, *tenants, reload=True):
    listed = [{"id": tenant, "accounts": [ACCOUNTS[tenant]]} for tenant in tenants]
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": listed}))
    if reload:
        assert running.session.post(running.url + "/-/reload", timeout=30).status_code == 200


def start(collectors, more=None, name="collector"):
    running = collectors({}, name=name, start=False)
    running.config = {"listen": {"http": f"127.0.0.1:{running.ports['http']}"}, "registry": {"file": "tenants.yaml"},
                      "identity": {"tokens": [sender(tenant) for tenant in ACCOUNTS]},
                      "limits": {"cursor_interval": "500ms", "state_interval": "1s", "own_series_interval": "1s"},
                      "lake": {"flush_interval": "1s"}, **(more or {})}
    running.folder.mkdir(parents=True)
    (running.folder / "second.token").write_text("token-of-globex")
    (running.folder / "rules.yaml").write_text(yaml.safe_dump(RULES))
    list_tenants(running, *ACCOUNTS, reload=False)
    running.start()
    return running


def remove(running, tenant, *more):
    command = [running.program, "tenants", "remove", tenant, "--config", running.folder / "collector.yaml", *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def mark(tenant):
    return CANARY if tenant == "gonecorp" else "other"


def send(running, tenant):
    """By every way in, uncompressed where there is a choice."""
    word, headers, now_ms = mark(tenant), token(tenant), int(time.time() * 1000)
    resource = {"shop": word, "service.name": word}
    gauge = otlp.gauges("shop_carts", [({"shop": word}, 1.0, otlp.now_ns())], resource)
    answers = [running.send("metrics", gauge, headers=headers),
               running.send("logs", otlp.logs([f"{word} sold a cart"], resource), headers=headers),
               running.send("traces", otlp.spans([f"{word} checkout"], resource), headers=headers),
               remote_write.push(running.session, running.url + "/api/v1/write", [({"__name__": f"{word}_written"}, [(now_ms, 2.0)])], headers)]
    pushed = {"streams": [{"stream": {"service_name": word}, "values": [[str(otlp.now_ns()), f"{word} pushed a line"]]}]}
    answers.append(running.session.post(running.url + "/loki/api/v1/push", json=pushed, headers=headers, timeout=30))
    assert [answer.status_code for answer in answers] == [200, 200, 200, 204, 204], [answer.text for answer in answers]


def found(running, tenant):
    """How many series, log lines and traces there are of a tenant; of the one that stays, what we say of it does not count."""
    more = ', __name__=~"shop_carts|.*_written"' if tenant == "globex" else ""
    series = running.get("/api/v1/series", **{"match[]": f'{{tenant="{tenant}"{more}}}'}).json()["data"]
    streams = running.get("/loki/api/v1/query_range", query=f'{{tenant="{tenant}"}}', limit=1000).json()["data"]["result"]
    traces = running.get("/tempo/api/search", q=f'{{ resource.tenant.id = "{tenant}" }}', limit=100).json()["traces"]
    return len(series), sum(len(stream["values"]) for stream in streams), len(traces)


def removals(running):
    answer = running.get("/tenantscope/v1/removals")
    assert answer.status_code == 200, answer.text
    return answer.json()["removals"]


def files_with(running, *words):
    """The files of the data folder that hold one of the words."""
    folder = running.folder / "data"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
            and any(word.encode() in path.read_bytes() for word in words)}


def test_it_is_refused_while_the_registry_lists_the_tenant_and_where_there_is_nothing(collectors):
    running = start(collectors)
    send(running, "gonecorp")
    refused = remove(running, "gonecorp")
    assert refused.returncode == 1 and "the registry lists tenant gonecorp" in refused.stderr
    assert remove(running, "nope").returncode == 1 and "nothing of tenant nope was found" in remove(running, "nope").stderr
    # One that shares an account with others, and has none of its own, is listed as well.
    pooled = {"accounts": [ACCOUNTS["gonecorp"]], "tenants": ["gonecorp", "another"]}
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"pooled": [pooled]}))
    assert running.session.post(running.url + "/-/reload", timeout=30).status_code == 200
    refused = remove(running, "gonecorp")
    assert refused.returncode == 1 and "the registry lists tenant gonecorp" in refused.stderr
    assert found(running, "gonecorp")[1:] == (2, 1)


def test_nothing_of_it_is_left_and_nothing_comes_back(collectors):
    receiver = Receiver()
    second = start(collectors, {"identity": {"tokens": [{**sender("globex"), "accounts": list(ACCOUNTS.values())}]}}, "second")
    second.stop()
    notifying = {"notifiers": [{"name": "hook", "kind": "webhook", "url": receiver.url}], "routes": [{"match": {}, "notify": ["hook"]}]}
    running = start(collectors, {"rules": ["rules.yaml"], "incidents": notifying,
                                 "forward": [{"name": "second", "kind": "otlp_http", "url": second.otlp_http, "token_file": "second.token"}]})
    for tenant in ACCOUNTS:
        send(running, tenant)
    incidents = lambda: running.get("/tenantscope/v1/incidents").json()["incidents"]
    eventually(lambda: any("gonecorp" in incident["tenants"] for incident in incidents()))
    eventually(lambda: CANARY in json.dumps(receiver.received))
    eventually(lambda: running.value(f'shop:carts{{shop="{CANARY}"}}') == 1.0)
    assert any("journal" in path for path in files_with(running, CANARY))

    list_tenants(running, "globex")
    removed = remove(running, "gonecorp")
    assert removed.returncode == 0, removed.stderr
    told = len(receiver.received)
    record = json.loads(removed.stdout)
    deleted = record["deleted"]
    assert record["tenant"] == "gonecorp" and record["state"] == "deleted" and record["pending"] == []
    assert deleted["metrics"]["series"] >= 4 and deleted["lake"]["logs_rows"] == 2 and deleted["lake"]["spans_rows"] == 1
    # The rule may have been evaluated once more in between, and have found that its alert is over.
    assert deleted["incidents"]["incidents"] == 1 and deleted["state"]["reporters"] == 3
    assert {wait["cursor"] for wait in record["waits_for"]} == {"forward.second"}, "the target is away"
    before = found(running, "globex")
    assert found(running, "gonecorp") == (0, 0, 0) and before == (2, 2, 1)
    assert not any("gonecorp" in json.dumps(incident) for incident in incidents())

    running.kill()
    running.start()
    assert found(running, "gonecorp") == (0, 0, 0) and found(running, "globex") == before
    second.start()
    eventually(lambda: found(second, "globex")[1:] == (2, 1))
    final = eventually(lambda: [one for one in removals(running) if one["state"] == "final"], seconds=60)[0]
    assert final["number"] == record["number"] and final["waits_for"] == []
    assert running.own_metric("tenantscope_forward_removed_tenants_total", target="second") >= 5
    # The other collector's registry lists it, so that it says something of it itself.
    of_removed = second.get("/api/v1/series", **{"match[]": '{tenant="gonecorp", __name__!~"tenantscope_tenant_.*"}'}).json()["data"]
    assert (of_removed, found(second, "gonecorp")[1:]) == ([], (0, 0)) and files_with(second, CANARY) == set()
    # Some rounds of rules and of our own series later.
    time.sleep(3)
    assert found(running, "gonecorp") == (0, 0, 0)
    assert "gonecorp" not in json.dumps(receiver.received[told:]) and CANARY not in json.dumps(receiver.received[told:])
    assert files_with(running, CANARY) == set()
    assert files_with(running, "gonecorp", ACCOUNTS["gonecorp"]) <= {"journal/removals", "audit.jsonl", "metrics/MANIFEST"}
    audit = (running.folder / "data" / "audit.jsonl").read_text()
    line = next(json.loads(line) for line in audit.splitlines() if '"tenant_removed"' in line)
    assert (line["tenant"], line["log_records"], line["spans"]) == ("gonecorp", 2, 1) and line["series"] >= 4
    receiver.stop()


def test_a_kill_in_the_middle_does_not_stop_it(collectors):
    running = start(collectors)
    for tenant in ACCOUNTS:
        send(running, tenant)
    list_tenants(running, "globex")
    before = found(running, "globex")
    # So early that nothing, and so late that everything is done by then.
    for delay_ms in (0, 2, 5, 10, 20, 40, 80):
        def ask():
            try:
                requests.post(running.url + "/tenantscope/v1/removals", params={"tenant": "gonecorp"}, timeout=60)
            except requests.RequestException:
                pass
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(delay_ms / 1000)
        running.kill()
        asking.join()
        running.start()
        known = removals(running)
        if known:
            # It goes on by itself.
            eventually(lambda: all(one["state"] != "removing" for one in removals(running)), seconds=60)
            assert found(running, "gonecorp") == (0, 0, 0)
        assert found(running, "globex") == before
    assert removals(running)


def test_a_tenant_of_the_same_name_begins_anew(collectors):
    running = start(collectors)
    send(running, "gonecorp")
    list_tenants(running, "globex")
    assert remove(running, "gonecorp").returncode == 0
    list_tenants(running, *ACCOUNTS)
    assert found(running, "gonecorp")[1:] == (0, 0)
    send(running, "gonecorp")
    assert found(running, "gonecorp")[1:] == (2, 1)
    running.kill()
    running.start()
    assert found(running, "gonecorp")[1:] == (2, 1), "what came behind the tombstone is replayed"
    eventually(lambda: all(one["state"] == "final" for one in removals(running)), seconds=60)
    assert found(running, "gonecorp")[1:] == (2, 1)


def test_what_is_held_of_unknown_accounts_goes_with_unassigned(collectors):
    running = start(collectors, {"registry": {"file": "tenants.yaml", "unknown": "quarantine"}})
    list_tenants(running, "globex")
    held = lambda: ACCOUNTS["gonecorp"] in json.dumps(running.get("/tenantscope/v1/quarantine").json())
    for _ in range(2):
        send(running, "gonecorp")
        assert found(running, "unassigned")[1:] == (2, 1) and held()
        assert remove(running, "unassigned").returncode == 0
        assert found(running, "unassigned") == (0, 0, 0) and not held()


def test_readers_of_some_tenants_may_neither_remove_nor_look(collectors):
    running = start(collectors, {"readers": [
        {"name": name, "token_sha256": hashlib.sha256(name.encode()).hexdigest(), "scope": scope}
        for name, scope in (("all", "all"), ("one", {"tenants": ["globex"]}))]})
    ask = lambda method, name: running.session.request(method, running.url + "/tenantscope/v1/removals", params={"tenant": "gonecorp"},
                                                       headers={"Authorization": f"Bearer {name}"}, timeout=30).status_code
    assert [ask("GET", "one"), ask("POST", "one"), ask("GET", "nobody")] == [403, 403, 401]
    assert [ask("GET", "all"), ask("POST", "all")] == [200, 409]


@pytest.mark.parametrize("listed", [[], ["globex"]])
def test_the_command_trusts_the_authority_that_it_is_given(collectors, tmp_path, listed):
    for name in ("ca", "other"):
        certificates.authority(tmp_path, name)
    crt, key = certificates.certificate(tmp_path, "collector", "DNS:collector.example,IP:127.0.0.1")
    running = collectors({}, start=False)
    running.config = {"listen": {"http": f"127.0.0.1:{running.ports['http']}", "tls": {"cert": str(crt), "key": str(key)}},
                      "registry": {"file": "tenants.yaml"}, "identity": {"server_name": "collector.example"}}
    running.folder.mkdir(parents=True)
    list_tenants(running, *listed, reload=False)
    running.session.verify = str(tmp_path / "ca.pem")
    command = running.command()
    from processes import Process
    running.process = Process("collector", command, running.folder / "collector.log", running.env)
    running.process.wait_until(lambda: "ready" in running.log(), 60, "was not ready")
    expected = "the registry lists tenant globex" if listed else "nothing of tenant globex was found"
    trusted = remove(running, "globex", "--ca", tmp_path / "ca.pem")
    assert trusted.returncode == 1 and expected in trusted.stderr
    for more in (["--ca", tmp_path / "other.pem"], []):
        refused = remove(running, "globex", *more)
        assert refused.returncode == 1 and expected not in refused.stderr and "can't be asked" in refused.stderr
    missing = remove(running, "globex", "--ca", tmp_path / "nowhere.pem")
    assert missing.returncode == 1 and "nowhere.pem" in missing.stderr
