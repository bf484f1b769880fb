"""The tenant comes from the account that the sender proved, and from nothing else. moto checks the signatures here."""

import json

import identity
import otlp
import pytest
import yaml
from aws import Moto

ACME, GLOBEX, STRANGER = "111122223333", "444455556666", "777788889999"

# The calls of `credentials` below: moto checks signatures from the next call on.
SET_UP_CALLS = 4


@pytest.fixture
def credentials(tmp_path):
    """A moto that checks signatures, and credentials in three accounts and in a role that agents do not have."""
    moto = Moto(tmp_path, checked_after=SET_UP_CALLS)
    made = {account: identity.assume_role(moto.url, account) for account in (ACME, GLOBEX, STRANGER)}
    made["other role"] = identity.assume_role(moto.url, ACME, role="developer")
    yield moto.url, made
    moto.stop()


@pytest.fixture
def strict(collectors, credentials):
    """A collector with a registry of two tenants."""
    sts_url, _ = credentials
    running = collectors(identity.config(sts_url), start=False)
    running.folder.mkdir(parents=True)
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
        {"id": "acme", "accounts": [ACME], "attributes": {"tier": "gold"}},
        {"id": "globex", "accounts": [GLOBEX]}]}))
    running.start()
    return running


def token(collector, credentials):
    answer = identity.exchange(collector, identity.proof(credentials))
    assert answer.status_code == 200, answer.text
    return answer.json()["token"]


def bearer(text):
    return {"Authorization": f"Bearer {text}"}


def test_a_proof_gives_a_token_and_the_token_decides_the_tenant(strict, credentials):
    mine = token(strict, credentials[1][ACME])
    forged = otlp.gauges("shop_carts", [({"tenant": "globex"}, 1.0, otlp.now_ns())],
                         {"tenant.id": "globex", "cloud.account.id": GLOBEX})
    assert strict.send("metrics", forged, headers=bearer(mine)).status_code == 200
    labels = strict.query("shop_carts")[0]["metric"]
    assert (labels["tenant"], labels["account_id"], labels["exported_tenant"]) == ("acme", ACME, "globex")
    assert strict.query('shop_carts{tenant="globex"}') == []


def test_x_scope_orgid_does_not_decide_the_tenant_of_a_write(strict, credentials):
    mine = token(strict, credentials[1][ACME])
    strict.send("metrics", otlp.gauge_json("shop_carts", 1.0), tenant="globex", headers=bearer(mine))
    assert {e["metric"]["tenant"] for e in strict.query("shop_carts")} <= {"acme"}


def test_a_wrong_secret_is_refused(strict, credentials):
    key, secret, session = credentials[1][ACME]
    wrong = identity.exchange(strict, identity.proof((key, secret[::-1], session)))
    assert wrong.status_code in (401, 403)
    assert secret not in wrong.text and session not in wrong.text


def test_a_proof_for_another_collector_is_refused(strict, credentials):
    stolen = identity.proof(credentials[1][ACME], server="collector.elsewhere")
    assert identity.exchange(strict, stolen).status_code in (401, 403)
    # Naming us afterwards breaks the signature.
    stolen["server"] = identity.SERVER_NAME
    assert identity.exchange(strict, stolen).status_code in (401, 403)


def test_a_proof_serves_once(strict, credentials):
    made = identity.proof(credentials[1][ACME])
    assert identity.exchange(strict, made).status_code == 200
    assert identity.exchange(strict, made).status_code in (401, 403)


def test_an_unknown_account_another_role_and_an_unknown_region_are_refused(strict, credentials):
    assert identity.exchange(strict, identity.proof(credentials[1][STRANGER])).status_code == 403
    assert identity.exchange(strict, identity.proof(credentials[1]["other role"])).status_code in (401, 403)
    elsewhere = identity.proof(credentials[1][ACME], region="us-east-1")
    assert identity.exchange(strict, elsewhere).status_code in (400, 401, 403)


def test_without_a_token_nothing_is_taken(strict):
    for headers in ({}, bearer("nonsense"), {"X-Scope-OrgID": "acme"}):
        for signal, body in [("metrics", otlp.gauge_json("x", 1.0)), ("logs", otlp.logs(["x"])), ("traces", otlp.spans(["x"]))]:
            assert strict.send(signal, body, headers=headers).status_code == 401
    assert strict.query("x") == []


def test_a_token_survives_a_restart_and_is_not_logged(strict, credentials):
    mine = token(strict, credentials[1][ACME])
    strict.stop()
    strict.start()
    assert strict.send("metrics", otlp.gauge_json("shop_carts", 1.0), headers=bearer(mine)).status_code == 200
    assert mine not in strict.log()


def lane(sequence, epoch=1, name="metrics"):
    return {"tenantscope-agent": "test-agent", "tenantscope-lane": name, "tenantscope-epoch": str(epoch),
            "tenantscope-sequence": str(sequence)}


def test_a_batch_with_an_identity_is_stored_once(strict, credentials):
    mine = bearer(token(strict, credentials[1][ACME]))
    for _ in range(3):
        assert strict.send("logs", otlp.logs(["only once"]), headers={**mine, **lane(1)}).status_code == 200
    strict.kill()
    strict.start()
    assert strict.send("logs", otlp.logs(["only once"]), headers={**mine, **lane(1)}).status_code == 200
    found = strict.get("/loki/api/v1/query_range", query='{tenant="acme"}').json()["data"]["result"]
    assert sum(len(stream["values"]) for stream in found) == 1


def test_an_older_epoch_is_refused_for_good(strict, credentials):
    mine = bearer(token(strict, credentials[1][ACME]))
    assert strict.send("logs", otlp.logs(["new"]), headers={**mine, **lane(1, epoch=2)}).status_code == 200
    assert 400 <= strict.send("logs", otlp.logs(["old"]), headers={**mine, **lane(9, epoch=1)}).status_code < 429


def test_positions_come_back_to_an_agent_without_its_spool(strict, credentials):
    import base64
    mine = bearer(token(strict, credentials[1][ACME]))
    moved = {"tenantscope-positions": base64.b64encode(json.dumps({"logs:/a": 42}).encode()).decode()}
    strict.send("logs", otlp.logs(["x"]), headers={**mine, **lane(1), **moved})
    # Whoever needs an epoch has lost its spool, which knew them.
    without_spool = identity.exchange(strict, identity.proof(credentials[1][ACME]), wants_epoch=True).json()
    assert without_spool["positions"] == {"logs:/a": 42}
    with_spool = identity.exchange(strict, identity.proof(credentials[1][ACME])).json()
    assert not with_spool.get("positions")


def test_the_registry_is_reloaded_and_a_wrong_one_changes_nothing(strict, credentials):
    from collector import eventually
    path = strict.folder / "tenants.yaml"
    right = yaml.safe_load(path.read_text())
    path.write_text("tenants: [{id: acme, accounts: ['12']}]")
    strict.reload()
    eventually(lambda: "tenants.yaml:1" in strict.log())
    token(strict, credentials[1][ACME])
    right["tenants"].append({"id": "stranger", "accounts": [STRANGER]})
    path.write_text(yaml.safe_dump(right))
    strict.reload()
    eventually(lambda: identity.exchange(strict, identity.proof(credentials[1][STRANGER])).status_code == 200)


def test_tenant_info_carries_the_registrys_attributes(strict):
    from collector import eventually
    eventually(lambda: strict.query('tenantscope_tenant_info{tenant="acme", tier="gold"}'))
    assert strict.query('tenantscope_tenant_info', tenant="globex")[0]["metric"]["tenant"] == "globex"
