"""An agent that proves its account by mutual TLS: whose it is, whose it is not, and certificates that are exchanged."""

import shutil

import certificates
import otlp
import pytest
import requests
import yaml
from collector import eventually
from conftest import program
from processes import Process, free_port, listens

ACME, GLOBEX = "111122223333", "444455556666"


@pytest.fixture
def made(tmp_path):
    """Authorities, the collector's certificate, and agents' by their names."""
    folder = certificates.mutual(tmp_path)
    for name, account in (("acme", ACME), ("globex", GLOBEX), ("unknown", "999988887777")):
        certificates.certificate(folder, name, f"URI:spiffe://test/account/{account}", by="clients")
    certificates.certificate(folder, "nobody", f"URI:spiffe://elsewhere/account/{ACME},DNS:{ACME}", by="clients", subject=ACME)
    certificates.certificate(folder, "forged", f"URI:spiffe://test/account/{ACME}", by="others")
    return folder


@pytest.fixture
def centre(collectors, made):
    """A collector that speaks TLS to agents and asks for their certificates; readers come on loopback without."""
    running = collectors(start=False)
    running.folder.mkdir(parents=True)
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
        {"id": "acme", "accounts": [ACME]}, {"id": "globex", "accounts": [GLOBEX]}]}))
    tls = {"cert": str(made / "tls.crt"), "key": str(made / "tls.key"), "client_ca": str(made / "clients.pem")}
    running.config = {"listen": {"otlp_grpc_tls": tls}, "registry": {"file": "tenants.yaml"}, "agents": {"ask_every": "1s"},
                      "identity": {"certificates": [{"san": "spiffe://test/account/{account}"}]}}
    running.start()
    return running


class Agent:
    """An agent that shows a certificate and passes on what applications send."""

    def __init__(self, folder, centre, made, certificate, port="otlp_grpc"):
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        self.take(made, certificate)
        (folder / "agent.yaml").write_text(yaml.safe_dump({
            "collector": f"https://localhost:{centre.ports[port]}", "name": "edge", "proof": "certificate", "drain": "3s",
            "tls": {"ca": str(made / "ca.pem"), "cert": str(folder / "agent.crt"), "key": str(folder / "agent.key")},
            "spool": {"dir": str(folder / "spool")}, "sources": {"otlp": {"http": f"127.0.0.1:{self.port}"}}}))
        self.process = None

    def take(self, made, certificate):
        for part in ("crt", "key"):
            shutil.copy(made / f"{certificate}.{part}", self.folder / f"agent.{part}")

    def command(self, mode):
        command = [program("tenantscope-agent"), mode, "--config", self.folder / "agent.yaml"]
        return Process("agent", command, self.folder / "agent.log")

    def start(self):
        self.process = self.command("run")
        self.process.wait_until(lambda: listens(self.port), 30, "did not listen")

    def send(self, value):
        message = otlp.gauges("shop_carts", [({}, value, otlp.now_ns())]).SerializeToString()
        answer = requests.post(f"http://127.0.0.1:{self.port}/v1/metrics", data=message,
                               headers={"Content-Type": "application/x-protobuf"}, timeout=10)
        assert answer.status_code == 200

    def log(self):
        return (self.folder / "agent.log").read_text()


@pytest.fixture
def agent(tmp_path, centre, made):
    started = []

    def make(certificate):
        started.append(Agent(tmp_path / certificate, centre, made, certificate))
        return started[-1]

    yield make
    for running in started:
        if running.process:
            running.process.stop()


def test_the_certificates_name_is_the_account_and_it_is_exchanged_without_a_restart(centre, made, agent):
    running = agent("acme")
    running.start()
    running.send(1.0)
    eventually(lambda: centre.value('shop_carts{tenant="acme"}') == 1.0)
    assert [series["metric"]["account_id"] for series in centre.query("shop_carts")] == [ACME]

    # A file that is wrong is told, and changes nothing.
    (running.folder / "agent.crt").write_text("broken")
    eventually(lambda: "certificates can't be renewed" in running.log() and "agent.crt" in running.log())
    running.send(2.0)
    eventually(lambda: centre.value('shop_carts{tenant="acme"}') == 2.0)

    # The next one counts from the next proof on, over connections of its own.
    running.take(made, "globex")
    eventually(lambda: "new connections use them" in running.log())
    centre.config["identity"]["revoked"] = [{"account": ACME}]
    centre.command()
    assert centre.session.post(centre.url + "/-/reload", timeout=30).status_code == 200
    running.send(3.0)
    eventually(lambda: centre.value('shop_carts{tenant="globex"}') == 3.0, 60)


@pytest.mark.parametrize("certificate, expected", [
    ("nobody", "no name of the certificate is known"),
    ("unknown", "403"),
])
def test_who_has_no_such_name_is_refused_and_told_why(agent, certificate, expected):
    stranger = agent(certificate)
    assert stranger.command("once").child.wait(60) == 1
    assert "identity exchange" in stranger.log() and expected in stranger.log(), stranger.log()


def test_a_certificate_of_another_authority_ends_the_handshake(centre, agent):
    forger = agent("forged")
    assert forger.command("once").child.wait(60) == 1
    # For the agent the handshake is over before the collector says why, so it may just see the end of the connection.
    assert "identity exchange" in forger.log()
    assert centre.own_metric("tenantscope_wire_ended_connections_total", reason="tls_handshake") >= 1


def test_a_certificate_and_another_ones_key_are_found_by_check(agent, made):
    mixed = agent("acme")
    shutil.copy(made / "globex.key", mixed.folder / "agent.key")
    assert mixed.command("check").child.wait(30) == 2
    assert "agent.yaml:" in mixed.log() and "tls.cert" in mixed.log(), mixed.log()
