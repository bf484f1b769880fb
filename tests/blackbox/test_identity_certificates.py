"""Mutual TLS: the account or the reader's scope from a name in the client's certificate, renewed without a restart."""

import certificates
import grpc
import otlp
import pytest
import requests
import yaml
from collector import eventually
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from processes import Process, listens

ACME, GLOBEX = "111122223333", "444455556666"
SPIFFE = "URI:spiffe://test/account/"


@pytest.fixture
def made(tmp_path):
    """A folder with authorities of the server and of clients, and certificates by them."""
    folder = certificates.mutual(tmp_path)
    for name, names in [("acme", f"{SPIFFE}{ACME}"), ("globex", f"DNS:{GLOBEX}.agents.test"), ("gateway", "URI:spiffe://test/gateway"),
                        ("doubtful", f"{SPIFFE}{ACME},{SPIFFE}{GLOBEX}"), ("longer", f"{SPIFFE}{ACME}/x"), ("nobody", "DNS:x.test"),
                        ("oncall", "URI:spiffe://test/reader/oncall"), ("customer", "URI:spiffe://test/tenant/acme")]:
        certificates.certificate(folder, name, names, by="clients", subject=ACME)
    certificates.certificate(folder, "forged", f"{SPIFFE}{ACME}", by="others")
    return folder


@pytest.fixture
def mutual(collectors, made):
    config = {
        "listen": {"tls": {"cert": str(made / "tls.crt"), "key": str(made / "tls.key"), "client_ca": str(made / "clients.pem")}},
        "identity": {"certificates": [{"san": "spiffe://test/account/{account}"}, {"san": "{account}.agents.test"},
                                      {"name": "gateway", "san": "spiffe://test/gateway", "accounts": [ACME, GLOBEX]}]},
        "registry": {"file": "tenants.yaml"},
        "readers": [{"name": "oncall", "certificate": "spiffe://test/reader/oncall", "scope": "all"},
                    {"name": "customers", "certificate": "spiffe://test/tenant/{tenant}"}]}
    running = collectors(config, start=False)
    running.folder.mkdir(parents=True)
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
        {"id": "acme", "accounts": [ACME]}, {"id": "globex", "accounts": [GLOBEX]}]}))
    running.process = Process("collector", running.command(), running.folder / "collector.log")
    ready = lambda: listens(running.ports["http"]) and ask(running, made, "http", "GET", "/-/ready").ok
    running.process.wait_until(ready, 60, "was not ready")
    return running


def ask(collector, made, listener, method, path, client=None, ca="ca.pem", **more):
    url = f"https://localhost:{collector.ports[listener]}{path}"
    cert = (str(made / f"{client}.crt"), str(made / f"{client}.key")) if client else None
    return requests.request(method, url, verify=str(made / ca), cert=cert, timeout=20, **more)


def sent(collector, made, client, resource=None, listener="otlp_http"):
    message = otlp.gauges("shop_carts", [({}, 1.0, otlp.now_ns())], resource)
    return ask(collector, made, listener, "POST", "/v1/metrics", client, data=message.SerializeToString(),
               headers={"Content-Type": "application/x-protobuf"})


def seen(collector, made, client, **headers):
    answer = ask(collector, made, "http", "GET", "/api/v1/query", client, params={"query": "shop_carts"}, headers=headers)
    assert answer.status_code == 200, answer.text
    return {(s["metric"]["tenant"], s["metric"]["account_id"]) for s in answer.json()["data"]["result"]}


def test_the_certificates_name_is_the_account(mutual, made):
    claim = {"cloud.account.id": GLOBEX, "tenant.id": "globex"}
    for listener in ("otlp_http", "http"):
        assert sent(mutual, made, "acme", claim, listener).status_code == 200
    assert seen(mutual, made, "oncall") == {("acme", ACME)}
    assert sent(mutual, made, "globex").status_code == 200
    assert seen(mutual, made, "oncall") == {("acme", ACME), ("globex", GLOBEX)}
    assert seen(mutual, made, "customer") == {("acme", ACME)}
    assert seen(mutual, made, "customer", **{"X-Scope-OrgID": "globex"}) == set()


def test_a_batch_over_grpc_and_the_exchange(mutual, made):
    read = lambda name: (made / name).read_bytes()
    credentials = grpc.ssl_channel_credentials(read("ca.pem"), read("acme.key"), read("acme.crt"))
    with grpc.secure_channel(f"localhost:{mutual.ports['otlp_grpc']}", credentials) as channel:
        LogsServiceStub(channel).Export(otlp.logs(["by gRPC"]), timeout=20)
    request = {"agent": "a", "mode": "once", "version": "1", "proof": {"kind": "certificate"}}
    exchange = lambda client: ask(mutual, made, "otlp_http", "POST", "/tenantscope/v1/identity", client, json=request)
    assert exchange("acme").json()["account"] == ACME
    assert exchange(None).status_code == 401


def test_a_gateway_speaks_for_its_accounts(mutual, made):
    assert sent(mutual, made, "gateway", {"cloud.account.id": GLOBEX}).status_code == 200
    assert seen(mutual, made, "oncall") == {("globex", GLOBEX)}
    refused = sent(mutual, made, "gateway", {"cloud.account.id": "777788889999"})
    assert b"foreign_account" in refused.content


def test_who_has_no_such_name_is_nobody(mutual, made):
    for client in (None, "nobody", "longer", "doubtful", "oncall", "customer"):
        assert sent(mutual, made, client).status_code == 401, client
    for client in (None, "nobody", "acme", "gateway"):
        assert ask(mutual, made, "http", "GET", "/api/v1/query", client, params={"query": "up"}).status_code == 401, client
    # An authority that is not trusted does not get past the handshake.
    with pytest.raises(requests.exceptions.ConnectionError):
        sent(mutual, made, "forged")


def test_certificates_and_authorities_are_renewed_without_a_restart(mutual, made):
    message = otlp.gauges("shop_carts", [({}, 1.0, otlp.now_ns())]).SerializeToString()
    protobuf = {"Content-Type": "application/x-protobuf"}
    stays = requests.Session()
    stays.trust_env = False
    stays.verify, stays.cert = str(made / "ca.pem"), (str(made / "acme.crt"), str(made / "acme.key"))
    stay = lambda: stays.post(f"https://localhost:{mutual.ports['otlp_http']}/v1/metrics", data=message, headers=protobuf, timeout=20)
    assert stay().status_code == 200
    certificates.authority(made, "new")
    certificates.certificate(made, "renewed", "DNS:localhost", by="new")
    (made / "clients.pem").write_bytes((made / "others.pem").read_bytes())
    for part in ("crt", "key"):
        (made / f"renewed.{part}").rename(made / f"tls.{part}")

    def renewed():
        return ask(mutual, made, "http", "GET", "/-/ready", ca="new.pem").ok
    eventually(renewed, 40)
    with pytest.raises(requests.exceptions.SSLError):
        ask(mutual, made, "http", "GET", "/-/ready")
    assert stay().status_code == 401, "on a connection from before, too"
    post = lambda client: ask(mutual, made, "otlp_http", "POST", "/v1/metrics", client, ca="new.pem", data=message, headers=protobuf)
    assert post("forged").status_code == 200, "its authority is trusted now"
    with pytest.raises(requests.exceptions.ConnectionError):
        post("acme")


def test_a_broken_certificate_leaves_the_old_one_in_force(mutual, made):
    (made / "tls.crt").write_text("broken")
    mutual.reload()
    eventually(lambda: "configuration not reloaded" in mutual.log())
    assert sent(mutual, made, "acme").status_code == 200
