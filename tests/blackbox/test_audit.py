"""The audit log: who was let in and who was not, what was changed and deleted, who read across tenants; never a secret."""

import hashlib
import json

import otlp
import pytest
import yaml
from collector import eventually

ACME, GLOBEX = "111122223333", "444455556666"
SECRETS = {"acme": "the-token-of-acme", "oncall": "the-token-of-oncall", "two": "the-token-of-two"}


def sha256(name):
    return hashlib.sha256(SECRETS[name].encode()).hexdigest()


def tenants(*ids):
    accounts = {"acme": ACME, "globex": GLOBEX}
    return yaml.safe_dump({"tenants": [{"id": name, "accounts": [accounts[name]]} for name in ids]})


@pytest.fixture
def audited(collectors):
    running = collectors({
        "identity": {"tokens": [{"name": "acme", "token_sha256": sha256("acme"), "accounts": [ACME]}]},
        "registry": {"file": "tenants.yaml"}, "limits": {"default": {"active_series": 10}},
        "readers": [{"name": "oncall", "token_sha256": sha256("oncall"), "scope": "all"},
                    {"name": "two", "token_sha256": sha256("two"), "scope": {"tenants": ["acme", "globex"]}}]}, start=False)
    running.folder.mkdir(parents=True)
    (running.folder / "tenants.yaml").write_text(tenants("acme", "globex"))
    running.start()
    return running


def bearer(name):
    return {"Authorization": f"Bearer {SECRETS[name]}"}


def lines(collector, event=None):
    path = collector.folder / "data" / "audit.jsonl"
    all_lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in all_lines if event in (None, line["event"])]


def exchange(collector, token):
    request = {"agent": "edge", "mode": "once", "version": "1", "proof": {"kind": "token", "token": token}}
    return collector.session.post(collector.otlp_http + "/tenantscope/v1/identity", json=request, timeout=30)


def test_grants_changes_and_deletions_are_written_at_once_and_survive_a_kill(audited):
    for _ in range(3):
        assert exchange(audited, SECRETS["acme"]).status_code == 200
    granted = eventually(lambda: lines(audited, "identity_granted"))
    assert [(line["account"], line["tenant"], line["agent"], line["last_peer"]) for line in granted] == [
        (ACME, "acme", "edge", "127.0.0.1")]

    audited.config["limits"]["default"]["active_series"] = 20
    audited.config["external_url"] = "https://elsewhere.example"
    audited.command()
    (audited.folder / "tenants.yaml").write_text(tenants("acme"))
    assert audited.session.post(audited.url + "/-/reload", headers=bearer("oncall"), timeout=30).status_code == 200
    reloaded = eventually(lambda: lines(audited, "configuration_reloaded"))[-1]
    assert reloaded["by"] == "oncall" and reloaded["changed"] == ["limits"] and reloaded["waiting"] == ["external_url"]
    assert "are in force after a restart only" in audited.log()
    limits = eventually(lambda: lines(audited, "limits_changed"))[-1]
    assert (limits["section"], limits["before"]["default"], limits["after"]["default"]) == (
        "limits", {"active_series": 10}, {"active_series": 20})
    registry = eventually(lambda: lines(audited, "registry_changed"))[-1]
    assert registry["removed"] == ["globex"] and registry["added_total"] == 0

    removal = audited.session.post(audited.url + "/tenantscope/v1/removals?tenant=globex", headers=bearer("oncall"), timeout=60)
    assert removal.status_code == 200
    removed = eventually(lambda: lines(audited, "tenant_removed"))[-1]
    assert removed["tenant"] == "globex" and lines(audited, "removal_begun")[-1]["reader"] == "oncall"
    (audited.folder / "collector.yaml").write_text("limits:\n  max_decoding: some\n")
    audited.reload()
    refused = eventually(lambda: lines(audited, "configuration_refused"))[-1]
    assert refused["by"] == "SIGHUP" and "collector.yaml:2: limits.max_decoding: a whole number" in refused["reason"]
    before = lines(audited)
    audited.kill()
    audited.start()
    assert lines(audited)[:len(before)] == before


def test_what_comes_often_is_added_up_and_no_secret_is_written(audited):
    for _ in range(30):
        assert exchange(audited, "a-false-token").status_code == 401
        assert audited.send("metrics", otlp.gauge_json("g", 1.0), headers={"Authorization": "Bearer another-false-token"}).status_code == 401
        assert audited.get("/api/v1/query", headers={"Authorization": "Bearer a-false-reader"}, query="up").status_code == 401
    for reader in ("oncall", "two"):
        for _ in range(20):
            audited.value("count(up)", headers=bearer(reader))
    audited.value("count(up)", headers={**bearer("oncall"), "X-Scope-OrgID": "acme"})
    assert audited.stop() == 0
    refused = {(line["way"], line["times"]) for line in lines(audited, "identity_refused")}
    assert refused == {("exchange", 30), ("batch", 30)}
    assert [(line["reason"], line["times"]) for line in lines(audited, "read_refused")] == [("wrong_credential", 30)]
    reads = {(line["reader"], line["route"], line["tenants"], line["times"]) for line in lines(audited, "read_across_tenants")}
    assert reads == {("oncall", "/api/v1/query", "all", 20), ("two", "/api/v1/query", "2", 20)}
    text = (audited.folder / "data" / "audit.jsonl").read_text()
    assert not any(secret in text for secret in [*SECRETS.values(), "false-token", "false-reader"])
    assert "identity_refused" not in audited.log() and "read_across_tenants" not in audited.log()


def text_of(path):
    """A file's text; none where rotation has just deleted it."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def test_the_log_is_bounded_and_where_it_is_configured(collectors):
    collector = collectors({"audit": {"file": "trail/who.jsonl", "max_bytes": 600, "max_files": 2},
                            "limits": {"default": {"active_series": 1}}})
    for bound in range(2, 16):
        collector.config["limits"]["default"]["active_series"] = bound
        collector.command()
        collector.reload()
        trail = collector.folder / "trail"
        eventually(lambda: any(f'"after":{{"default":{{"active_series":{bound}}}' in text_of(path).replace(" ", "")
                               for path in trail.iterdir()))
    files = sorted(path.name for path in trail.iterdir())
    assert len(files) == 3 and files[-1] == "who.jsonl"
    assert all(path.stat().st_size <= 600 for path in trail.iterdir())
