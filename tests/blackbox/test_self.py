"""What the programs say about themselves: traces, log lines, metrics, health."""

import json
import os
import re
import threading
import time

import otlp
import pytest
import requests
import yaml
from collector import Collector, eventually
from conftest import ROOT, program
from processes import Process, free_port, listens

TENANT = "a-name-that-no-metric-may-hold"
ACCOUNT = "998877665544"
PAYLOAD = "a-payload-that-no-span-may-hold"
RULES = {"groups": [{"name": "own", "interval": "1s", "rules": [
    {"record": "carts:sum", "expr": "sum(shop_carts)"},
    {"alert": "Always", "expr": "vector(1) > 0"}]}]}


class Agent:
    """An agent that passes on what it receives to an open collector."""

    def __init__(self, folder, collector, env=None, **config):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.env = folder, env
        self.ports = {name: free_port() for name in ("grpc", "http", "telemetry")}
        self.config = folder / "agent.yaml"
        self.config.write_text(yaml.safe_dump({
            "collector": collector, "name": "edge", "proof": "none", "spool": {"dir": str(folder / "spool")},
            "listen": {"http": f"127.0.0.1:{self.ports['telemetry']}"},
            "sources": {"otlp": {"grpc": f"127.0.0.1:{self.ports['grpc']}", "http": f"127.0.0.1:{self.ports['http']}"}}} | config))
        self.process = None

    def start(self):
        command = [program("tenantscope-agent"), "run", "--config", self.config]
        self.process = Process("agent", command, self.folder / "agent.log", env=self.env)
        self.process.wait_until(lambda: listens(self.ports["http"]) and listens(self.ports["telemetry"]), 30, "did not listen")
        return self

    def send(self, signal_name, message):
        return requests.post(f"http://127.0.0.1:{self.ports['http']}/v1/{signal_name}", data=message.SerializeToString(),
                             headers={"Content-Type": "application/x-protobuf"}, timeout=10)

    def metrics(self):
        return requests.get(f"http://127.0.0.1:{self.ports['telemetry']}/metrics", timeout=10).text

    def log(self):
        return (self.folder / "agent.log").read_text()

    def stop(self):
        return self.process.stop() if self.process else 0


class Busy:
    """Collector and agent after traffic of every kind; both send their spans to a second collector."""

    def __init__(self, folder):
        self.second = Collector(program("tenantscope-collector"), folder / "second")
        rules = folder / "first" / "rules.yaml"
        rules.parent.mkdir(parents=True)
        rules.write_text(yaml.safe_dump(RULES))
        self.first = Collector(program("tenantscope-collector"), folder / "first", {
            "traces": {"otlp_grpc": self.second.otlp_grpc}, "rules": ["rules.yaml"],
            "metrics": {"flush_interval": "1s"}, "lake": {"flush_interval": "1s"},
            "incidents": {"notifiers": [{"name": "hook", "kind": "webhook", "url": self.second.url + "/nobody"}],
                          "routes": [{"match": {}, "notify": ["hook"]}]},
            "forward": [{"name": "second", "kind": "otlp_grpc", "url": self.second.otlp_grpc}]})
        self.agent = Agent(folder / "agent", self.first.otlp_grpc, traces={"endpoint": self.second.otlp_grpc})

    def start(self):
        self.second.start()
        self.first.start()
        self.agent.start()
        resource = {"service.name": "shop", "cloud.account.id": ACCOUNT, "tenant.id": "claimed"}
        gauge = otlp.gauges("shop_carts", [({}, 7.0, otlp.now_ns())], resource)
        for name, message in [("metrics", gauge), ("logs", otlp.logs([PAYLOAD], resource)), ("traces", otlp.spans([PAYLOAD], resource))]:
            assert self.first.send(name, message, tenant=TENANT).status_code == 200
            assert self.agent.send(name, message).status_code == 200
        assert self.first.send("logs", b"\xff\xff", tenant=TENANT).status_code == 400
        assert self.first.value("sum(shop_carts)", tenant=TENANT) == 7.0
        now = time.time_ns()
        for path, parameters in [("/loki/api/v1/query_range", {"query": '{service_name="shop"}', "start": now - 10**12, "end": now}),
                                 ("/tempo/api/search", {"q": '{name="x"}'})]:
            assert self.first.get(path, tenant=TENANT, **parameters).status_code == 200
        eventually(lambda: "tenantscope_incidents_notifications_total" in self.first.get("/metrics").text, 60)
        eventually(lambda: 'outcome="acknowledged"' in self.agent.metrics(), 60)

    def stop(self):
        for running in (self.agent, self.first, self.second):
            running.stop()

    def spans(self, service):
        """Names of the spans by which a program has shown up, with their attributes."""
        query = '{resource.service.name="%s"}' % service
        answer = self.second.get("/tempo/api/search", q=query, limit=200, spss=20)
        assert answer.status_code == 200, answer.text
        found = []
        for trace in answer.json()["traces"]:
            whole = self.second.get(f"/tempo/api/traces/{trace['traceID']}").json()
            for resource in whole["batches"]:
                for scope in resource["scopeSpans"]:
                    found += scope["spans"]
        return found


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    running = Busy(tmp_path_factory.mktemp("busy"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


# Traces

def test_the_collectors_spans_are_found_in_another(busy):
    expected = {"batch", "GET /api/v1/query", "GET /loki/api/v1/query_range", "rule_group", "flush", "notify"}
    eventually(lambda: expected <= {span["name"] for span in busy.spans("tenantscope-collector")}, 40, every=1)


def test_the_agents_spans_are_found_in_another(busy):
    eventually(lambda: "send" in {span["name"] for span in busy.spans("tenantscope-agent")}, 40, every=1)


def test_spans_are_our_own_and_hold_neither_tenant_nor_payload(busy):
    spans = eventually(lambda: busy.spans("tenantscope-collector"), 40)
    names = {span["name"] for span in spans}
    assert all(name in {"batch", "rule_group", "flush", "notify"} or re.match("(GET|POST) /", name) for name in names), names
    text = json.dumps(spans)
    for secret in (TENANT, ACCOUNT, PAYLOAD):
        assert secret not in text


def test_a_batchs_span_says_how_it_ended(busy):
    def outcomes():
        batches = [span for span in busy.spans("tenantscope-collector") if span["name"] == "batch"]
        return {attribute["value"]["stringValue"] for span in batches for attribute in span["attributes"]
                if attribute["key"] == "outcome"}
    eventually(lambda: len(outcomes() - {"stored"}) > 0 and "stored" in outcomes(), 40, every=1)


def test_a_query_continues_its_clients_trace(busy):
    trace = os.urandom(16).hex()
    parent = {"traceparent": f"00-{trace}-{os.urandom(8).hex()}-01"}
    assert busy.first.get("/api/v1/query", headers=parent, query="1").status_code == 200
    eventually(lambda: "/api/v1/query" in busy.second.get(f"/tempo/api/traces/{trace}").text, 30)


def test_without_an_endpoint_nothing_is_sent_or_said(collector):
    assert collector.send("logs", otlp.logs(["x"])).status_code == 200
    collector.query("1")
    assert collector.stop() == 0
    assert not re.search("trace|export|opentelemetry", collector.log())


def test_an_endpoint_that_is_none_is_found_by_check(collectors):
    wrong = collectors({"traces": {"otlp_grpc": "elsewhere"}}, start=False)
    wrong.command()
    checked = Process("check", [program("tenantscope-collector"), "check", "--config", wrong.folder / "collector.yaml"],
                      wrong.folder / "check.log")
    assert checked.child.wait(30) == 1
    assert "traces.otlp_grpc" in checked.log.read_text()


def test_an_endpoint_that_is_away_disturbs_nobody(collectors):
    running = collectors({"traces": {"otlp_grpc": f"http://127.0.0.1:{free_port()}"}})
    assert running.send("logs", otlp.logs(["x"])).status_code == 200
    assert running.get("/api/v1/query", query="1").status_code == 200
    eventually(lambda: running.own_metric("tenantscope_server_spans_total", outcome="lost") > 1, 60)
    assert running.log().count("our own traces are not taken") == 1
    assert running.stop() == 0


# Log lines

def test_json_log_lines(tmp_path):
    running = Collector(program("tenantscope-collector"), tmp_path / "collector")
    command = running.command() + ["--log-format", "json"]
    running.command = lambda: command
    running.start()
    agent = Agent(tmp_path / "agent", running.otlp_grpc, env={"TENANTSCOPE_LOG_FORMAT": "json"}).start()
    agent.stop()
    assert running.stop() == 0
    for log in (running.log(), agent.log()):
        lines = [json.loads(line) for line in log.splitlines()]
        assert len(lines) > 1
        assert all({"timestamp", "level", "message", "target"} <= line.keys() for line in lines)
        assert {line["level"] for line in lines} <= {"INFO", "WARN"}


def test_log_lines_in_a_file_have_no_colours_and_no_chatter(busy):
    for log in (busy.first.log(), busy.agent.log()):
        assert "\x1b" not in log
        assert not re.search("delta_kernel|datafusion|hyper|tonic", log)


def test_the_log_filter_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TENANTSCOPE_LOG", "warn,tenantscope_server=debug")
    running = Collector(program("tenantscope-collector"), tmp_path / "collector")
    running.start()
    agent = Agent(tmp_path / "agent", running.otlp_grpc, env={"TENANTSCOPE_LOG": "error"}).start()
    agent.stop()
    assert running.stop() == 0
    assert "drained" in running.log()
    assert agent.log() == ""


# Metrics

def documented():
    """The rows of docs/metrics.md by program: name -> (type, labels, whether it is always there)."""
    sections = re.split("^## ", (ROOT / "docs" / "metrics.md").read_text(), flags=re.MULTILINE)
    tables = {}
    for section in sections[1:4]:
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| `")]
        tables[section.split("\n")[0]] = {
            name.strip("`"): (kind, set(re.findall("`([a-z_]+)`", labels)), not appears) for name, kind, labels, appears, _ in rows}
    return tables["Both programs"], tables["Collector"], tables["Agent"]


def exposed(text):
    """What a program exposes: name -> (type, labels)."""
    found = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:4]
            found[name] = (kind, set())
        elif not line.startswith("#"):
            series = line.rpartition(" ")[0]
            family = series.split("{")[0]
            family = family if family in found else re.sub("_(bucket|sum|count)$", "", family)
            found[family][1].update(label for label in re.findall(r'([a-z_]+)="', series) if label != "le")
    return found


def test_every_metric_is_documented(busy):
    both, collector, agent = documented()
    for text, own in ((busy.first.get("/metrics").text, collector), (busy.agent.metrics(), agent)):
        known = both | own
        for name, (kind, labels) in exposed(text).items():
            assert name in known, f"{name} is not in docs/metrics.md"
            assert known[name][:2] == (kind, labels), name


def test_every_documented_metric_is_there(busy):
    both, collector, agent = documented()

    def missing():
        of_collector, of_agent = exposed(busy.first.get("/metrics").text), exposed(busy.agent.metrics())
        always = lambda table: {name for name, (_, _, is_always) in table.items() if is_always}
        return ((always(both) | always(collector)) - of_collector.keys()) | ((always(both) | always(agent)) - of_agent.keys())

    deadline = time.monotonic() + 60
    while missing() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not missing()


def test_no_metric_names_a_tenant_or_an_account(busy):
    for text in (busy.first.get("/metrics").text, busy.agent.metrics()):
        for name in (TENANT, ACCOUNT, "anonymous", "claimed"):
            assert name not in text


def test_what_a_process_uses(busy):
    for text in (busy.first.get("/metrics").text, busy.agent.metrics()):
        value = lambda name: float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])
        assert value("process_resident_memory_bytes") > 1 << 20
        assert abs(time.time() - value("process_start_time_seconds")) < 600
        assert value("process_open_fds") > 3
        assert re.search(r'^tenantscope_build_info\{version="[0-9.]+"\} 1$', text, re.MULTILINE)


# Health

@pytest.fixture
def starting(collectors):
    """A collector whose start waits for a rule file that is a pipe, for as long as a test likes."""
    made = collectors({"rules": ["slow.yaml"]}, start=False)
    made.folder.mkdir(parents=True)
    os.mkfifo(made.folder / "slow.yaml")
    made.process = Process("collector", made.command(), made.folder / "collector.log")
    made.process.wait_until(lambda: listens(made.ports["http"]), 30, "did not listen")
    return made


def test_a_collector_that_is_not_ready_says_so(starting):
    assert starting.get("/-/healthy").status_code == 200
    for path in ("/-/ready", "/api/v1/query?query=1", "/metrics"):
        answer = starting.get(path)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
    assert starting.get("/-/ready").text == "replaying\n"
    pipe = starting.folder / "slow.yaml"
    writer = threading.Thread(target=pipe.write_text, args=("groups: []\n",), daemon=True)
    writer.start()
    eventually(lambda: starting.get("/-/ready").status_code == 200)
    assert starting.query("1")
    assert starting.get("/-/healthy").status_code == 200


def test_a_collector_that_is_not_ready_ends_at_once(starting):
    assert starting.get("/-/healthy").status_code == 200
    starting.process.child.terminate()
    assert starting.process.child.wait(10) == 0
