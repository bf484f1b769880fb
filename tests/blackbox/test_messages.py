"""What the collector says of what is wrong: where, in whose form, and what to do."""

import os
import subprocess

import pytest
import requests
from collector import Collector
from conftest import program


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    running = Collector(program("tenantscope-collector"), tmp_path_factory.mktemp("messages") / "collector", {})
    running.start()
    yield running
    running.stop()


def run(*arguments):
    return subprocess.run([program("tenantscope-collector"), *arguments], capture_output=True, text=True, timeout=60, check=False,
                          env=os.environ)


def test_what_is_not_there_is_told_as_prometheus_tells_errors(plain):
    answer = requests.get(plain.url + "/api/nothing", timeout=30)
    assert answer.status_code == 404
    assert answer.json()["status"] == "error" and answer.json()["errorType"] == "not_found" and answer.json()["error"]


def test_what_is_not_there_is_told_as_our_own_api_tells_errors(plain):
    answer = requests.get(plain.url + "/tenantscope/v1/nothing", timeout=30)
    assert answer.status_code == 404
    assert "/tenantscope/v1/nothing" in answer.json()["error"] and "openapi.json" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/nothing", "/loki/api/v1/nothing", "/tempo/api/nothing"])
def test_what_is_not_there_is_told_in_a_line_of_text_elsewhere(plain, path):
    answer = requests.get(plain.url + path, timeout=30)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/plain") and path in answer.text
    assert len(requests.get(plain.url + "/" + "x" * 5000, timeout=30).text) < 300


@pytest.mark.parametrize("path, method", [("/tenantscope/v1/tenants", "DELETE"), ("/accounts", "POST"), ("/-/reload", "GET")])
def test_a_wrong_method_is_told(plain, path, method):
    answer = requests.request(method, plain.url + path, timeout=30)
    assert answer.status_code == 405
    assert path in answer.text and method in answer.text


@pytest.mark.parametrize("method, path, says", [
    ("GET", "/tenantscope/v1/reports", "the parameter month is missing"),
    ("GET", "/tenantscope/v1/reports?month=2026-01&format=pdf", "a parameter can't be read: format"),
    ("GET", "/tenantscope/v1/reports?month=2099-01", "the month 2099-01 has not begun"),
    ("GET", "/?page=first", "a parameter can't be read: page"),
    ("POST", "/tenantscope/v1/removals", "the parameter tenant is missing"),
])
def test_a_wrong_parameter_is_named(plain, method, path, says):
    answer = requests.request(method, plain.url + path, timeout=30)
    assert answer.status_code == 400
    assert says in answer.text and "deserialize" not in answer.text


def test_a_warning_is_told_and_fails_only_where_it_is_asked_to(tmp_path):
    (tmp_path / "tenants.yaml").write_text("tenants: [{id: acme, attributes: {tier: gold}}]\n")
    config = tmp_path / "collector.yaml"
    config.write_text("registry: {file: tenants.yaml}\nlimits:\n  tiers:\n    gould: {active_series: 1}\n")
    told = run("check", "--config", config)
    assert told.returncode == 0
    assert told.stderr.startswith(f"{config}:4: limits.tiers.gould: ") and "there are gold" in told.stderr
    assert told.stderr.rstrip().endswith("(a warning)")
    assert run("check", "--strict", "--config", config).returncode == 1


def test_a_start_stops_at_what_check_finds(tmp_path):
    config = tmp_path / "collector.yaml"
    config.write_text("data_dir: data\nrules:\n  - none*.yaml\ncost: {prices: {logs_per_gib: -1}}\n"
                      "listen: {http: '127.0.0.1:0', otlp_grpc: '127.0.0.1:0', otlp_http: '127.0.0.1:0'}\n")
    checked, started = run("check", "--config", config), run("serve", "--config", config)
    assert checked.returncode == started.returncode == 1
    assert f"{config}:3: rules[0]: no file fits" in checked.stderr and f"{config}:4: cost.prices.logs_per_gib: " in checked.stderr
    assert checked.stderr in started.stderr


def test_help_says_what_codes_and_variables_mean():
    text = run("--help").stdout
    assert "Exit codes: 0" in text and "_LOG_FORMAT" in text and "docs/collector-configuration.md" in text
    assert "[env: TENANTSCOPE_DATA_DIR=]" in run("serve", "--help").stdout
