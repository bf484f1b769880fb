"""Listeners with TLS: every way in and out, and plain text on none of them."""

import socket
import ssl
import subprocess

import grpc
import otlp
import pytest
import requests
import yaml
from collector import eventually
from conftest import program
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from processes import Process, free_port, listens


def openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A folder with an authority (ca.pem), a server's certificate for localhost by it, and another authority."""
    folder = tmp_path_factory.mktemp("authority")
    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem", cwd=folder)
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
            "-keyout", "tls.key", "-out", "tls.csr", cwd=folder)
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", "tls.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "tls.crt", cwd=folder)
    return folder


@pytest.fixture
def over_tls(collectors, authority):
    """A collector all of whose listeners speak TLS."""
    made = collectors({"listen": {"tls": {"cert": str(authority / "tls.crt"), "key": str(authority / "tls.key")}}}, start=False)
    made.process = Process("collector", made.command(), made.folder / "collector.log")
    ready = lambda: listens(made.ports["http"]) and https(made, authority, "http", "GET", "/-/ready").ok
    made.process.wait_until(ready, 60, "was not ready")
    return made


def https(collector, authority, listener, method, path, ca="ca.pem", **more):
    url = f"https://localhost:{collector.ports[listener]}{path}"
    return requests.request(method, url, verify=authority / ca, timeout=20, **more)


def post(collector, authority, listener, signal_name, message):
    return https(collector, authority, listener, "POST", f"/v1/{signal_name}", data=message.SerializeToString(),
                 headers={"Content-Type": "application/x-protobuf"})


def test_otlp_and_queries_over_tls(over_tls, authority):
    gauge = otlp.gauges("shop_carts", [({}, 7.0, otlp.now_ns())])
    assert post(over_tls, authority, "otlp_http", "metrics", gauge).status_code == 200
    assert post(over_tls, authority, "http", "logs", otlp.logs(["by the readers' listener"])).status_code == 200
    credentials = grpc.ssl_channel_credentials((authority / "ca.pem").read_bytes())
    with grpc.secure_channel(f"localhost:{over_tls.ports['otlp_grpc']}", credentials) as channel:
        LogsServiceStub(channel).Export(otlp.logs(["by gRPC"]), timeout=20)
    answer = https(over_tls, authority, "http", "GET", "/api/v1/query", params={"query": "shop_carts"})
    assert answer.json()["data"]["result"][0]["value"][1] == "7"
    query = {"query": '{service_name="test"} |= "by gRPC"'}
    assert https(over_tls, authority, "http", "GET", "/loki/api/v1/query_range", params=query).json()["data"]["result"]


@pytest.mark.parametrize("listener", ["http", "otlp_grpc", "otlp_http"])
def test_plain_text_gets_nothing(over_tls, authority, listener):
    with socket.create_connection(("127.0.0.1", over_tls.ports[listener]), timeout=15) as plain:
        plain.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            received = plain.recv(1024)
        except ConnectionResetError:
            received = b""
    # At most a TLS alert (record type 21), never an answer.
    assert b"HTTP" not in received and received[:1] in (b"", b"\x15")
    assert https(over_tls, authority, "http", "GET", "/-/ready").ok


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("listener, path", [("otlp_http", "/v1/logs"), ("http", "/api/v1/write"), ("http", "/loki/api/v1/push")])
def test_a_body_that_is_too_large_is_told_so_to_its_sender(over_tls, authority, listener, path):
    """The answer comes before the body was read, and is not lost in the end of the connection."""
    kinds = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"} if listener == "http" else {"Content-Type": "application/x-protobuf"}
    for _ in range(5):
        assert https(over_tls, authority, listener, "POST", path, data=bytes(20 << 20), headers=kinds).status_code == 413


def test_old_versions_of_tls_are_refused(over_tls, authority):
    context = ssl.create_default_context(cafile=authority / "ca.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", over_tls.ports["http"]), timeout=15) as plain:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            context.wrap_socket(plain, server_hostname="localhost")


def run_agent(folder, authority, collector, ca):
    folder.mkdir()
    port = free_port()
    (folder / "agent.yaml").write_text(yaml.safe_dump({
        "collector": f"https://localhost:{collector.ports['otlp_grpc']}", "tls": {"ca": str(authority / ca)}, "name": "edge",
        "proof": "none", "spool": {"dir": str(folder / "spool")}, "drain": "1s",
        "sources": {"otlp": {"http": f"127.0.0.1:{port}"}}}))
    agent = Process("agent", [program("tenantscope-agent"), "run", "--config", folder / "agent.yaml"], folder / "agent.log")
    agent.wait_until(lambda: listens(port), 30, "did not listen")
    sent = requests.post(f"http://127.0.0.1:{port}/v1/metrics", timeout=10, headers={"Content-Type": "application/x-protobuf"},
                         data=otlp.gauges("from_agent", [({}, 3.0, otlp.now_ns())]).SerializeToString())
    assert sent.status_code == 200
    return agent


def test_an_agent_sends_over_tls_to_who_its_authority_vouches_for(over_tls, authority, tmp_path):
    found = lambda: https(over_tls, authority, "http", "GET", "/api/v1/query", params={"query": "from_agent"}).json()["data"]["result"]
    stranger = run_agent(tmp_path / "stranger", authority, over_tls, "other.pem")
    try:
        eventually(lambda: "trying again" in stranger.log.read_text(), 30)
        assert not found()
    finally:
        stranger.stop()
    agent = run_agent(tmp_path / "agent", authority, over_tls, "ca.pem")
    try:
        eventually(found, 30)
    finally:
        agent.stop()


def test_a_reader_that_knows_another_authority_turns_away(over_tls, authority):
    with pytest.raises(requests.exceptions.SSLError):
        https(over_tls, authority, "http", "GET", "/-/ready", ca="other.pem")


def test_a_key_of_another_certificate_is_found_by_check(collectors, authority):
    wrong = collectors({"listen": {"tls": {"cert": str(authority / "tls.crt"), "key": str(authority / "other.key")}}}, start=False)
    wrong.command()
    checked = Process("check", [program("tenantscope-collector"), "check", "--config", wrong.folder / "collector.yaml"],
                      wrong.folder / "check.log")
    assert checked.child.wait(30) == 1
    assert str(authority / "tls.crt") in checked.log.read_text()
