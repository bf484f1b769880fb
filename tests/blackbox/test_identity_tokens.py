"""Static tokens, access keys and our own tokens: two valid at a time, rotated, revoked, fenced, and never logged."""

import hashlib
import json

import identity
import otlp
import pytest
import yaml
from collector import eventually

ACME, GLOBEX, FOREIGN = "111122223333", "444455556666", "777788889999"


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


CONFIG = {
    "identity": {
        "tokens": [{"name": "acme", "token_sha256": sha256("acme-token-1"), "accounts": [ACME]},
                   {"name": "gateway", "token_sha256": sha256("gateway-token-1"), "accounts": [ACME, GLOBEX]}],
        "firehose": [{"name": "streams", "key_sha256": sha256("access-key-1"), "accounts": [ACME]}]},
    "registry": {"file": "tenants.yaml"},
    "readers": [{"name": "oncall", "token_sha256": sha256("oncall-token-1"), "scope": "all"}],
}


@pytest.fixture
def strict(collectors):
    running = collectors(json.loads(json.dumps(CONFIG)), start=False)
    running.env = {"TENANTSCOPE_LOG": "debug"}
    running.folder.mkdir(parents=True)
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
        {"id": "acme", "accounts": [ACME]}, {"id": "globex", "accounts": [GLOBEX]}]}))
    running.start()
    return running


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def exchange(collector, token, agent="test-agent", **more):
    request = {"agent": agent, "mode": "once", "version": "1", "proof": {"kind": "token", "token": token}, **more}
    return collector.session.post(collector.otlp_http + "/tenantscope/v1/identity", json=request, timeout=30)


def sent(collector, token, headers=None, resource=None):
    # A refusal comes before the body is read, and ends the connection: the next request is not to meet that end.
    headers = {"Connection": "close", **bearer(token), **(headers or {})}
    return collector.send("metrics", otlp.gauge_json("shop_carts", 1.0, resource), headers=headers)


def reconfigure(collector, change):
    """Writes another configuration, reloads, and waits until it is in force."""
    change(collector.config)
    (collector.folder / "collector.yaml").write_text(yaml.safe_dump(collector.config))
    before = collector.log().count("configuration reloaded")
    collector.reload()
    eventually(lambda: collector.log().count("configuration reloaded") > before)


def test_two_tokens_hold_while_one_is_exchanged(strict):
    entry = lambda config: config["identity"]["tokens"][0]
    assert sent(strict, "acme-token-1").status_code == 200
    reconfigure(strict, lambda c: entry(c).update(token_sha256=sha256("acme-token-2"), previous_token_sha256=sha256("acme-token-1")))
    assert [sent(strict, t).status_code for t in ("acme-token-1", "acme-token-2", "acme-token-3")] == [200, 200, 401]
    reconfigure(strict, lambda c: entry(c).pop("previous_token_sha256"))
    assert [sent(strict, t).status_code for t in ("acme-token-1", "acme-token-2")] == [401, 200]


def test_a_new_key_signs_and_the_old_ones_tokens_hold(strict):
    key = strict.folder / "data" / "identity.key"
    token = exchange(strict, "acme-token-1").json()["token"]
    key.rename(key.with_name("identity.key.previous"))
    reconfigure(strict, lambda c: None)
    newer = exchange(strict, "acme-token-1").json()["token"]
    assert key.stat().st_mode & 0o777 == 0o600
    assert [sent(strict, t).status_code for t in (token, newer)] == [200, 200]
    key.with_name("identity.key.previous").unlink()
    reconfigure(strict, lambda c: None)
    assert [sent(strict, t).status_code for t in (token, newer)] == [401, 200]
    strict.stop()
    strict.start()
    assert sent(strict, newer).status_code == 200


def test_an_account_is_revoked_at_once_and_over_a_restart(strict):
    token = exchange(strict, "acme-token-1").json()["token"]
    assert sent(strict, token).status_code == 200
    reconfigure(strict, lambda c: c["identity"].update(revoked=[{"account": ACME}]))
    for _ in range(2):
        assert [sent(strict, t).status_code for t in (token, "acme-token-1")] == [403, 403]
        assert exchange(strict, "acme-token-1").status_code == 403
        through = sent(strict, "gateway-token-1", resource={"cloud.account.id": ACME})
        assert "foreign_account" in through.text
        assert sent(strict, "gateway-token-1", resource={"cloud.account.id": GLOBEX}).json() in ({}, {"partialSuccess": {}})
        strict.stop()
        strict.start()
    reconfigure(strict, lambda c: c["identity"].update(revoked=[{"account": ACME, "before": "2099-01-01T00:00:00Z"}]))
    assert [sent(strict, t).status_code for t in (token, "acme-token-1")] == [401, 200]


def test_a_relay_speaks_for_its_accounts_and_what_it_may_not_is_counted(strict):
    for account in (ACME, GLOBEX):
        assert sent(strict, "gateway-token-1", resource={"cloud.account.id": account}).status_code == 200
    for account in (FOREIGN, None, "x"):
        answer = sent(strict, "gateway-token-1", resource={"cloud.account.id": account} if account else {})
        assert answer.json()["partialSuccess"]["rejectedDataPoints"] in (1, "1"), answer.text
    stamps = strict.query("shop_carts", headers=bearer("oncall-token-1"))
    assert {(s["metric"]["tenant"], s["metric"]["account_id"]) for s in stamps} == {("acme", ACME), ("globex", GLOBEX)}
    for reason in ("foreign_account", "no_account", "invalid_account"):
        assert any(f'"{reason}"' in line for line in strict.get("/metrics").text.splitlines()), reason


def lane(sequence, epoch):
    return {"tenantscope-agent": "test-agent", "tenantscope-lane": "metrics", "tenantscope-epoch": str(epoch),
            "tenantscope-sequence": str(sequence)}


def test_a_newer_start_of_an_agent_fences_the_older_one(strict):
    older, newer = (exchange(strict, "acme-token-1", wants_epoch=True).json() for _ in range(2))
    assert newer["epoch"] > older["epoch"]
    # Before the newer one has stored anything, and whatever epoch the older one claims.
    for epoch in (older["epoch"], newer["epoch"], newer["epoch"] + 1):
        assert sent(strict, older["token"], lane(1, epoch)).status_code == 403
    assert sent(strict, newer["token"], lane(1, newer["epoch"] + 1)).status_code == 403
    assert sent(strict, newer["token"], lane(1, newer["epoch"])).status_code == 200


def test_no_secret_is_logged_or_answered(strict):
    ours = exchange(strict, "acme-token-1").json()["token"]
    secrets = ["acme-token-1", "gateway-token-1", "access-key-1", "oncall-token-1", ours, "guessed-token-1", "ts1.guessed.token"]
    answers = []
    for secret in secrets:
        answers.append(sent(strict, secret, lane(1, 1)))
        answers.append(exchange(strict, secret))
        answers.append(strict.get("/api/v1/query", headers=bearer(secret), query="up"))
        answers.append(strict.session.post(strict.url + "/api/v1/write", data=b"x", headers=bearer(secret), timeout=30))
        for path in ("/firehose/metrics", "/firehose/logs"):
            answers.append(strict.session.post(strict.url + path, json={}, headers={"X-Amz-Firehose-Access-Key": secret}, timeout=30))
    reconfigure(strict, lambda c: None)
    strict.stop()
    written = strict.log() + "".join(answer.text for answer in answers if "ts1." not in answer.text or answer.status_code != 200)
    for secret in secrets:
        assert secret not in written
        assert hashlib.sha256(secret.encode()).hexdigest() not in written
    assert "DEBUG" in written
