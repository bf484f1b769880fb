"""Web identity tokens (JWTs): senders by an account's claim, readers by claims that map to a scope."""

import identity
import otlp
import pytest
import requests
import yaml
from collector import eventually
from conftest import program
from cryptography.hazmat.primitives.asymmetric import rsa
from issuer import Issuer, of_account
from processes import Process, free_port, listens

ACME, GLOBEX, STRANGER = "111122223333", "444455556666", "777788889999"


@pytest.fixture
def issuer():
    running = Issuer()
    running.add_key("first")
    yield running
    running.stop()


@pytest.fixture
def strict(collectors, issuer):
    """A collector that takes the issuer's tokens from senders, and from readers of two kinds."""
    path = ["https://sts.amazonaws.com/", "aws_account"]
    config = {"identity": {"jwt": [issuer.config(account_claim=path, subject="arn:aws:iam::*:role/tenantscope-agent")]},
              "registry": {"file": "tenants.yaml"},
              "readers": [{"name": "oncall", "jwt": issuer.config(claims={"groups": "oncall"}), "scope": "all"},
                          {"name": "gold", "jwt": issuer.config(claims={"groups": "gold"}), "scope": {"attributes": {"tier": "gold"}}},
                          {"name": "customers", "jwt": issuer.config(subject="customer-*"), "scope": {"claim": "tenants"}}]}
    running = collectors(config, start=False)
    running.folder.mkdir(parents=True)
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
        {"id": "acme", "accounts": [ACME], "attributes": {"tier": "gold"}}, {"id": "globex", "accounts": [GLOBEX]}]}))
    running.start()
    return running


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def sent(collector, token, body=None):
    body = body or otlp.gauge_json("shop_carts", 1.0, {"cloud.account.id": GLOBEX, "tenant.id": "globex"})
    # A refusal comes before the body is read, and ends the connection: the next request is not to meet that end.
    return collector.send("metrics", body, headers={"Connection": "close", **bearer(token)}).status_code


def seen(collector, token, tenant=None):
    found = collector.query("shop_carts", tenant, headers=bearer(token))
    return {series["metric"]["tenant"] for series in found}


def test_the_account_comes_from_the_claim_in_a_batch_and_in_the_exchange(strict, issuer):
    assert sent(strict, issuer.token("first", **of_account(ACME))) == 200
    answer = identity.exchange(strict, {"kind": "jwt", "token": issuer.token("first", **of_account(GLOBEX))})
    assert (answer.status_code, answer.json()["account"]) == (200, GLOBEX)
    assert sent(strict, answer.json()["token"], otlp.gauge_json("shop_carts", 2.0)) == 200
    oncall = issuer.token("first", groups=["oncall"])
    stamps = {(s["metric"]["tenant"], s["metric"]["account_id"]) for s in strict.query("shop_carts", headers=bearer(oncall))}
    assert stamps == {("acme", ACME), ("globex", GLOBEX)}
    assert issuer.asked <= 4, "one fetch for each entry that needs the keys"


def test_forged_tokens_are_refused(strict, issuer):
    good = of_account(ACME)
    assert sent(strict, issuer.token("first", **of_account(STRANGER))) == 403
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    head, claims, signature = issuer.token("first", **good).split(".")
    _, other_claims, _ = issuer.token("first", **of_account(GLOBEX)).split(".")
    for token in [issuer.token("first", key=stranger, **good),
                  issuer.token("first", header={"kid": "second"}, **good),
                  issuer.token("first", header={"alg": "none"}, **good),
                  issuer.token("first", header={"alg": "HS256"}, **good),
                  issuer.token("first", header={"crit": ["exp"]}, **good),
                  issuer.token("first", header={"jku": issuer.url, "kid": None}, key=stranger, **good),
                  issuer.token("first", aud="https://elsewhere.test", **good),
                  issuer.token("first", iss="http://127.0.0.1:9", **good),
                  issuer.token("first", sub="arn:aws:iam::111122223333:role/developer", **good),
                  issuer.token("first", exp=1, **good),
                  issuer.token("first", exp=None, **good),
                  issuer.token("first", exp="99999999999", **good),
                  issuer.token("first", nbf=99999999999, **good),
                  issuer.token("first", aws_account=ACME),
                  f"{head}.{other_claims}.{signature}", f"{head}.{claims}."]:
        assert sent(strict, token) == 401, token
        assert identity.exchange(strict, {"kind": "jwt", "token": token}).status_code == 401
    assert strict.own_metric("tenantscope_tenancy_senders_refused_total", reason="jwt_signature") >= 2


def test_an_issuers_new_key_counts_and_made_up_ones_make_nobody_ask(strict, issuer):
    issuer.add_key("second")
    assert sent(strict, issuer.token("second", **of_account(ACME))) == 200
    before = issuer.asked
    for kid in range(20):
        assert sent(strict, issuer.token("first", header={"kid": f"made-up-{kid}"}, **of_account(ACME))) == 401
    assert issuer.asked == before


def test_a_readers_claims_are_its_scope(strict, issuer):
    for account in (ACME, GLOBEX):
        assert sent(strict, issuer.token("first", **of_account(account)), otlp.gauge_json("shop_carts", 1.0)) == 200
    token = lambda **claims: issuer.token("first", **claims)
    customer = lambda tenants: token(sub="customer-1", tenants=tenants)
    assert seen(strict, token(groups=["oncall", "x"])) == {"acme", "globex"}
    assert seen(strict, token(groups="gold")) == {"acme"}
    assert seen(strict, customer("globex")) == {"globex"}
    assert seen(strict, customer(["globex", "acme"])) == {"acme", "globex"}
    # X-Scope-OrgID narrows and never widens.
    assert seen(strict, customer(["globex", "acme"]), tenant="acme") == {"acme"}
    assert seen(strict, customer("globex"), tenant="acme|globex") == {"globex"}
    assert seen(strict, customer("globex"), tenant="acme") == set()
    for nothing in (customer(None), customer([]), customer({"all": True}), customer("*"), customer("a|b")):
        assert seen(strict, nothing) == set()
    stranger = strict.get("/api/v1/query", query="shop_carts", headers=bearer(token(groups=["other"])))
    assert stranger.status_code == 401 and "tenant" not in stranger.text


def test_an_issuers_document_says_where_its_keys_are(collectors, issuer):
    def start(name, **document):
        issuer.document = document
        config = {"identity": {"jwt": [issuer.config(account=ACME, jwks="discovery")]}, "registry": {"file": "tenants.yaml"}}
        running = collectors(config, name=name, start=False)
        running.folder.mkdir(parents=True)
        (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [{"id": "acme", "accounts": [ACME]}]}))
        running.start()
        return running

    running = start("followed")
    assert sent(running, issuer.token("first")) == 200
    asked = issuer.asked
    assert asked == 2 and sent(running, issuer.token("first")) == 200 and issuer.asked == asked, "the document and the keys, once"
    # A document of another issuer, or one that leads where nobody may be asked, is not followed.
    assert sent(start("foreign", issuer=issuer.url + "/other"), issuer.token("first")) == 503
    assert sent(start("elsewhere", jwks_uri="http://192.0.2.1/keys"), issuer.token("first")) == 503


def test_a_scope_by_attributes_follows_the_registry(strict, issuer):
    for account in (ACME, GLOBEX):
        assert sent(strict, issuer.token("first", **of_account(account)), otlp.gauge_json("shop_carts", 1.0)) == 200
    gold = issuer.token("first", groups="gold")
    assert seen(strict, gold) == {"acme"}
    (strict.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
        {"id": "acme", "accounts": [ACME]}, {"id": "globex", "accounts": [GLOBEX], "attributes": {"tier": "gold"}}]}))
    strict.reload()
    eventually(lambda: seen(strict, gold) == {"globex"})


def test_an_agent_proves_itself_by_a_token_that_is_renewed_in_its_file(strict, issuer, tmp_path):
    file, port = tmp_path / "token", free_port()
    file.write_text(issuer.token("first", exp=1, **of_account(ACME)) + "\n")
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump({
        "collector": strict.otlp_grpc, "name": "edge", "proof": "jwt", "token_file": str(file), "drain": "1s",
        "spool": {"dir": str(tmp_path / "spool")}, "sources": {"otlp": {"http": f"127.0.0.1:{port}"}}}))
    agent = Process("agent", [program("tenantscope-agent"), "run", "--config", tmp_path / "agent.yaml"], tmp_path / "agent.log")
    try:
        agent.wait_until(lambda: listens(port), 30, "did not listen")
        gauge = otlp.gauges("shop_carts", [({}, 3.0, otlp.now_ns())]).SerializeToString()
        sent_to = f"http://127.0.0.1:{port}/v1/metrics"
        assert requests.post(sent_to, data=gauge, headers={"Content-Type": "application/x-protobuf"}, timeout=10).status_code == 200
        eventually(lambda: strict.own_metric("tenantscope_tenancy_proofs_total", result="expired_jwt"))
        token = issuer.token("first", **of_account(ACME))
        file.write_text(token)
        eventually(lambda: seen(strict, issuer.token("first", groups="oncall")) == {"acme"}, 60)
    finally:
        agent.stop()
    assert token not in agent.log.read_text()
