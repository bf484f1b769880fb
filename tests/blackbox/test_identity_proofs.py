"""Replayed and forged proofs, against a moto that checks signatures. What is sent on has one form, whatever comes."""

import copy
import json

import identity
import pytest
import yaml
from aws import Moto

ACME = "111122223333"


@pytest.fixture
def setting(tmp_path, collectors):
    """A collector, and an account's credentials that moto checks from the next call on."""
    moto = Moto(tmp_path, checked_after=1)
    credentials = identity.assume_role(moto.url, ACME)
    running = collectors(identity.config(moto.url), start=False)
    running.folder.mkdir(parents=True)
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [{"id": "acme", "accounts": [ACME]}]}))
    running.start()
    yield running, credentials
    moto.stop()


def forgeries():
    """Each changes a true proof; none of them may count."""
    def field(name, value):
        return lambda proof: proof.update({name: value})

    def authorization(before, after):
        return lambda proof: proof.update(authorization=proof["authorization"].replace(before, after))

    return {
        "another server": field("server", "collector.elsewhere"),
        "the server in another case": field("server", identity.SERVER_NAME.upper()),
        "another nonce": field("nonce", "0" * 32),
        # SigV4 trims values and folds spaces: the signature is still right, the nonce another text.
        "a space before the nonce": lambda proof: proof.update(nonce=" " + proof["nonce"]),
        "a space behind the nonce": lambda proof: proof.update(nonce=proof["nonce"] + " "),
        "a tab behind the nonce": lambda proof: proof.update(nonce=proof["nonce"] + "\t"),
        "a header in the nonce": lambda proof: proof.update(nonce=proof["nonce"] + "\r\nx-amz-target: x"),
        "another region": field("region", "us-east-1"),
        "another host": field("host", "evil.example.com"),
        "another service's host": field("host", f"iam.{identity.REGION}.amazonaws.com"),
        "another time": field("amz_date", "20200101T000000Z"),
        "no token": lambda proof: proof.pop("security_token"),
        "another token": field("security_token", "x"),
        "an unsigned server": authorization(";x-tenantscope-server", ""),
        "an unsigned nonce": authorization("x-tenantscope-nonce;", ""),
        "one more signed header": authorization("x-tenantscope-server,", "x-tenantscope-server;x-y,"),
        "signed headers in another order": authorization("content-type;host", "host;content-type"),
        "signed headers in another case": authorization("content-type;host", "Content-Type;host"),
        "another service": authorization("/sts/", "/iam/"),
        "a query": field("query", "Action=AssumeRole"),
        "a body": field("body", "Action=AssumeRoleWithWebIdentity"),
        "a method": field("method", "GET"),
        "headers": field("headers", {"Accept": "application/json"}),
        "an address": field("endpoint", "http://127.0.0.1:9/"),
    }


@pytest.mark.parametrize("what", forgeries())
def test_a_changed_proof_does_not_count(setting, what):
    collector, credentials = setting
    proof = identity.proof(credentials)
    forged = copy.deepcopy(proof)
    forgeries()[what](forged)
    answer = identity.exchange(collector, forged)
    assert answer.status_code in (400, 401, 403), answer.text
    for secret in (credentials[1], credentials[2], proof["authorization"]):
        assert secret not in answer.text
    # It took nothing from the true one, which counts once.
    assert [identity.exchange(collector, proof).status_code for _ in range(2)] == [200, 401]


def test_a_proof_with_a_field_twice_is_refused(setting):
    collector, credentials = setting
    text = json.dumps({"agent": "a", "mode": "once", "version": "1", "proof": identity.proof(credentials)})
    twice = text.replace('"nonce":', '"nonce": "' + "0" * 32 + '", "nonce":')
    url = collector.otlp_http + "/tenantscope/v1/identity"
    assert collector.session.post(url, data=twice, headers={"Content-Type": "application/json"}, timeout=30).status_code == 400


def test_a_proof_counts_once_over_a_kill(setting):
    collector, credentials = setting
    proof = identity.proof(credentials)
    assert identity.exchange(collector, proof).status_code == 200
    collector.kill()
    collector.start()
    answer = identity.exchange(collector, proof)
    assert answer.status_code == 401 and "used before" in answer.text


def test_a_flood_of_false_proofs_leaves_true_ones_their_way(setting):
    from concurrent.futures import ThreadPoolExecutor
    collector, credentials = setting
    key, secret, session = credentials
    false = [identity.proof((key, secret[::-1], session)) for _ in range(200)]
    with ThreadPoolExecutor(16) as pool:
        flood = [pool.submit(lambda p=proof: identity.exchange(collector, p).status_code) for proof in false * 2]
        statuses = [task.result() for task in flood]
    assert set(statuses) <= {401, 403, 503}
    assert identity.exchange(collector, identity.proof(credentials)).status_code == 200
    assert collector.own_metric("tenantscope_tenancy_proofs_total", result="signature_rejected") >= 200
    assert collector.own_metric("tenantscope_ingest_paced_total") > 0, "whoever floods waits for its answers"
