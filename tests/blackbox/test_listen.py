"""Where the collector listens: credentials go in plain text over no network, unless a proxy is said to end TLS."""

import subprocess

import pytest
import yaml
from collector import eventually
from conftest import program
from processes import answers, free_port


@pytest.fixture
def configured(tmp_path):
    """Writes collector.yaml with a registry and listeners beyond loopback; the file and the readers' port."""
    (tmp_path / "tenants.yaml").write_text("tenants: [{id: acme, accounts: ['111122223333']}]")

    def write(**listen):
        ports = {name: free_port() for name in ("http", "otlp_grpc", "otlp_http")}
        addresses = {name: f"0.0.0.0:{port}" for name, port in ports.items()}
        config = {"data_dir": "data", "listen": {**addresses, **listen}, "registry": {"file": "tenants.yaml"}}
        (tmp_path / "collector.yaml").write_text(yaml.safe_dump(config))
        return tmp_path / "collector.yaml", ports["http"]
    return write


def run(command, file):
    return subprocess.run([program("tenantscope-collector"), command, "--config", file], capture_output=True, text=True, timeout=60)


def test_plain_text_beyond_loopback_is_refused_by_check_and_at_the_start(configured):
    file, _ = configured()
    for command in ("check", "serve"):
        done = run(command, file)
        assert done.returncode == 1 and "plain_text: behind_a_proxy" in done.stdout + done.stderr


def test_behind_a_proxy_it_is_taken(configured):
    file, port = configured(plain_text="behind_a_proxy")
    assert run("check", file).returncode == 0
    running = subprocess.Popen([program("tenantscope-collector"), "serve", "--config", file], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), 60)
    finally:
        running.terminate()
        assert running.wait(30) == 0


def test_it_says_what_it_means(configured):
    file, _ = configured(plain_text="yes")
    done = run("check", file)
    assert done.returncode == 1 and "behind_a_proxy" in done.stdout + done.stderr
