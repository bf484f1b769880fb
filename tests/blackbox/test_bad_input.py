"""What is wrong is refused with the right status, counted, and harms nobody else."""

import gzip
import socket
import subprocess

import otlp
import pytest
import remote_write
from collector import eventually
from conftest import program


def still_serves(collector):
    assert collector.send("metrics", otlp.gauge_json("alive", 1.0), tenant="other").status_code == 200
    assert collector.value('alive{tenant="other"}') == 1.0


def refused(collector):
    return collector.own_metric("tenantscope_ingest_refused_total")


@pytest.mark.parametrize("path", ["metrics", "logs", "traces"])
@pytest.mark.parametrize("body", [b"\xff\xff\xff\xff\xff", b"not otlp at all"])
def test_what_is_no_otlp_is_refused_and_counted(collector, path, body):
    before = refused(collector)
    assert collector.send(path, body).status_code == 400
    eventually(lambda: refused(collector) > before)
    still_serves(collector)


def test_json_that_is_no_otlp(collector):
    answer = collector.send("metrics", {"resourceMetrics": "none"})
    assert answer.status_code == 400
    still_serves(collector)


def test_a_wrong_compression_is_refused(collector):
    body = otlp.logs(["x"]).SerializeToString()
    assert collector.send("logs", body, headers={"Content-Encoding": "gzip"}).status_code == 400
    assert collector.send("logs", body, headers={"Content-Encoding": "lzma"}).status_code == 415
    still_serves(collector)


def test_an_unknown_content_type_is_refused(collector):
    assert collector.send("logs", b"<xml/>", headers={"Content-Type": "text/xml"}).status_code == 415
    still_serves(collector)


def test_a_gzip_bomb_is_refused(collector):
    bomb = gzip.compress(bytes(512 << 20), compresslevel=1)
    before = collector.process.resident_bytes()
    assert collector.send("logs", bomb, headers={"Content-Encoding": "gzip"}).status_code in (400, 413)
    assert collector.process.resident_bytes() < before + (256 << 20)
    still_serves(collector)


def test_a_body_over_the_limit_is_refused(collector):
    try:
        status = collector.send("logs", bytes(80 << 20)).status_code
    except OSError:
        status = 413  # the connection may be closed on a sender that goes on sending
    assert status == 413
    still_serves(collector)


def test_remote_write_that_is_none(collector):
    url = collector.url + "/api/v1/write"
    answer = collector.session.post(url, data=b"garbage", headers=remote_write.HEADERS, timeout=20)
    assert answer.status_code == 400
    assert remote_write.push(collector.session, url, [({"job": "nameless"}, [(otlp.now_ns() // 1_000_000, 1.0)])]).status_code == 400
    still_serves(collector)


def test_a_request_that_is_no_http(collector):
    for port in collector.ports.values():
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(b"\x00\x01garbage\r\n\r\n" * 50)
            raw.settimeout(20)
            try:
                while raw.recv(4096):
                    pass
            except OSError:
                pass
    still_serves(collector)


@pytest.mark.parametrize("query, kind", [("sum(", "bad_data"), ("rate(up)", "bad_data"), ("", "bad_data")])
def test_a_wrong_query_says_what_is_wrong(collector, query, kind):
    answer = collector.get("/api/v1/query", query=query)
    assert answer.status_code == 400
    assert answer.json()["status"] == "error"
    assert answer.json()["errorType"] == kind
    assert answer.json()["error"]


def run(name, *arguments, **env):
    import os
    return subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=30, check=False,
                          env={**os.environ, **env})


@pytest.mark.parametrize("name", ["tenantscope-collector", "tenantscope-agent"])
def test_a_wrong_option_ends_with_2_and_help_helps(name):
    wrong = run(name, "--no-such-option")
    assert wrong.returncode == 2
    assert "--no-such-option" in wrong.stderr
    helped = run(name, "--help")
    assert helped.returncode == 0
    assert "Usage" in helped.stdout


def test_check_names_file_and_line(tmp_path):
    config = tmp_path / "collector.yaml"
    config.write_text("data_dir: data\nlisten:\n  htpp: 127.0.0.1:1\n")
    wrong = run("tenantscope-collector", "check", "--config", config)
    assert wrong.returncode == 1
    assert f"{config}:3" in wrong.stderr and "htpp" in wrong.stderr


@pytest.mark.parametrize("file, text, line, word", [
    ("tenants.yaml", "tenants:\n  - {id: acme, accounts: ['1111']}\n", 2, "1111"),
    ("rules/a.yaml", "groups:\n  - name: a\n    rules:\n      - {record: x, expr: 'sum('}\n", 4, "unclosed left parenthesis"),
    ("slo/a.yaml", "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: a}\nspec: {objectves: []}\n", 4, "objectves"),
])
def test_check_looks_into_every_file_it_names(tmp_path, file, text, line, word):
    (tmp_path / "rules").mkdir()
    (tmp_path / "slo").mkdir()
    (tmp_path / "tenants.yaml").write_text("tenants: []\n")
    (tmp_path / file).write_text(text)
    config = tmp_path / "collector.yaml"
    config.write_text("registry: {file: tenants.yaml}\nrules: ['rules/*.yaml']\nobjectives: ['slo/*.yaml']\n")
    wrong = run("tenantscope-collector", "check", "--config", config)
    assert wrong.returncode == 1
    assert f"{file}:{line}" in wrong.stderr and word in wrong.stderr, wrong.stderr


def test_a_right_configuration_passes(tmp_path):
    config = tmp_path / "collector.yaml"
    config.write_text("data_dir: data\n")
    assert run("tenantscope-collector", "check", "--config", config).returncode == 0


def test_open_mode_stays_on_loopback(tmp_path):
    wrong = run("tenantscope-collector", "serve", "--data-dir", tmp_path, "--http", "0.0.0.0:0")
    assert wrong.returncode in (1, 2)
    assert "loopback" in wrong.stderr


def test_the_agents_configuration_is_checked(tmp_path):
    config = tmp_path / "agent.yaml"
    config.write_text("collector: http://127.0.0.1:4317\nsources:\n  cloudwach: {}\n")
    wrong = run("tenantscope-agent", "check", "--config", config)
    assert wrong.returncode in (1, 2)
    assert f"{config}:3" in wrong.stderr and "cloudwach" in wrong.stderr
