"""The agent from outside: moto as AWS, a real collector, and what a reader then finds under the right tenant."""

import json
import re
import secrets
import signal
import time
from datetime import datetime, timedelta, timezone

import grpc
import identity
import otlp
import pytest
import requests
import yaml
from collector import eventually
from conftest import program
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from processes import Process, free_port, listens

ACME = "111122223333"
GROUP = "/aws/lambda/checkout"


class Agent:
    """`tenantscope-agent` in a folder of its own, with the credentials of one account."""

    def __init__(self, folder, aws_url, credentials, collector_url, name="acme-agent", aws_sources=True,
                 spool_bytes="16MiB", **config):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ports = {name: free_port() for name in ("grpc", "http", "telemetry")}
        self.config = folder / "agent.yaml"
        sources = {kind: {"interval": "1s"} for kind in ("cloudwatch", "logs", "xray") if aws_sources}
        sources["otlp"] = {"grpc": f"127.0.0.1:{self.ports['grpc']}", "http": f"127.0.0.1:{self.ports['http']}"}
        self.config.write_text(yaml.safe_dump({
            "collector": collector_url, "name": name, "server_name": identity.SERVER_NAME,
            "spool": {"dir": str(folder / "spool"), "max_bytes": spool_bytes},
            "listen": {"http": f"127.0.0.1:{self.ports['telemetry']}"},
            "sources": sources, "drain": "10s"} | config))
        key, secret, session = credentials
        self.env = {"AWS_ENDPOINT_URL": aws_url, "AWS_REGION": identity.REGION, "AWS_ACCESS_KEY_ID": key,
                    "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": session, "AWS_EC2_METADATA_DISABLED": "true"}
        self.process = None

    def command(self, mode):
        return Process("agent", [program("tenantscope-agent"), mode, "--config", self.config],
                       self.folder / "agent.log", env=self.env)

    def once(self, seconds=90):
        """The exit code of one round."""
        return self.command("once").child.wait(seconds)

    def start(self):
        self.process = self.command("run")
        self.process.wait_until(lambda: listens(self.ports["http"]) and listens(self.ports["grpc"]), 30, "did not listen")

    def own_metric(self, name, **labels):
        total = 0.0
        for line in requests.get(f"http://127.0.0.1:{self.ports['telemetry']}/metrics", timeout=5).text.splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items()):
                total += float(value)
        return total

    def log(self):
        return (self.folder / "agent.log").read_text()


class Workload:
    """What happens in the tenant's account."""

    def __init__(self, url, credentials):
        self.metrics = identity.client(url, "cloudwatch", credentials)
        self.logs = identity.client(url, "logs", credentials)
        self.traces = identity.client(url, "xray", credentials)
        self.logs.create_log_group(logGroupName=GROUP)
        for stream in ("a", "b"):
            self.logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)

    def errors(self, count, minutes_ago=1):
        at = datetime.now(timezone.utc) - timedelta(minutes=minutes_ago)
        self.metrics.put_metric_data(Namespace="AWS/Lambda", MetricData=[{
            "MetricName": "Errors", "Dimensions": [{"Name": "FunctionName", "Value": "checkout"}], "Timestamp": at,
            "Value": count}])

    def log(self, *lines, stream="a", seconds_ago=1):
        at = int((time.time() - seconds_ago) * 1000)
        events = [{"timestamp": at + number, "message": line} for number, line in enumerate(lines)]
        self.logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)

    def trace(self, late_segment_of=None):
        """A function that calls a table; the trace's id as OpenTelemetry has it."""
        at = time.time() - 3
        xray_id = late_segment_of or f"1-{int(at):08x}-{secrets.token_hex(12)}"
        document = {"trace_id": xray_id, "id": secrets.token_hex(8), "name": "checkout" if not late_segment_of else "billing",
                    "start_time": at, "end_time": at + 0.5, "origin": "AWS::Lambda::Function", "fault": True,
                    "http": {"request": {"method": "POST", "url": "https://shop/orders"}, "response": {"status": 500}},
                    "subsegments": [{"id": secrets.token_hex(8), "name": "DynamoDB", "namespace": "aws", "start_time": at + 0.1,
                                     "end_time": at + 0.2, "aws": {"operation": "PutItem", "table_name": "orders"}}]}
        self.traces.put_trace_segments(TraceSegmentDocuments=[json.dumps(document)])
        return xray_id


@pytest.fixture
def stack(moto, collectors, tmp_path):
    """A collector that knows one tenant, credentials in its account, and what happens there."""
    running = collectors(identity.config(moto.url), start=False)
    running.folder.mkdir(parents=True)
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [{"id": "acme", "accounts": [ACME]}]}))
    running.start()
    credentials = identity.assume_role(moto.url, ACME)
    agents = []

    def agent(name="agent", **config):
        made = Agent(tmp_path / name, moto.url, credentials, running.otlp_grpc, **config)
        agents.append(made)
        return made

    yield running, Workload(moto.url, credentials), agent
    for made in agents:
        if made.process:
            made.process.stop()


def lines(collector, contains=""):
    answer = collector.get("/loki/api/v1/query_range", query=f'{{tenant="acme"}} |= "{contains}"', limit=5000)
    assert answer.status_code == 200, answer.text
    return sorted(line for stream in answer.json()["data"]["result"] for _, line in stream["values"])


def span_names(collector, xray_id):
    answer = collector.get("/tempo/api/traces/" + xray_id.replace("-", "")[1:])
    return sorted(re.findall(r'"name": ?"(checkout|billing|DynamoDB)"', answer.text)) if answer.status_code == 200 else []


def test_one_round_brings_metrics_logs_and_traces_under_the_tenant(stack):
    collector, workload, agent = stack
    workload.errors(3)
    workload.log(json.dumps({"level": "ERROR", "message": "declined"}), "plain line")
    trace = workload.trace()
    assert agent().once() == 0
    series = collector.query('aws_lambda_errors_sum{dimension_FunctionName="checkout"}')
    assert [(s["metric"]["tenant"], s["metric"]["account_id"], s["metric"]["region"]) for s in series] == \
        [("acme", ACME, identity.REGION)]
    assert len(lines(collector)) == 2 and len(lines(collector, "declined")) == 1
    assert span_names(collector, trace) == ["DynamoDB", "checkout"]


def test_nothing_twice_and_nothing_skipped_over_rounds_late_events_and_kills(stack):
    collector, workload, agent = stack
    running = agent()
    running.start()
    expected = []

    def happens(count, **where):
        made = [f"order {secrets.token_hex(4)}" for _ in range(count)]
        workload.log(*made, **where)
        expected.extend(made)

    happens(20, stream="a")
    first = workload.trace()
    eventually(lambda: lines(collector, "order") == sorted(expected), 60)
    for kill in range(3):
        # A late event: its time lies minutes before what was read already.
        happens(5, stream="b", seconds_ago=200 + kill)
        happens(10, stream="a")
        time.sleep(0.3 * kill)
        running.process.kill()
        happens(5, stream="a", seconds_ago=2)
        running.start()
        eventually(lambda: lines(collector, "order") == sorted(expected), 60)
    workload.trace(late_segment_of=first)
    eventually(lambda: span_names(collector, first) == ["DynamoDB", "DynamoDB", "billing", "checkout"], 60)
    time.sleep(3)
    assert lines(collector, "order") == sorted(expected)


def test_a_revised_datapoint_is_corrected(stack):
    collector, workload, agent = stack
    running = agent()
    running.start()
    expression = 'max_over_time(aws_lambda_errors_sum{tenant="acme"}[10m])'
    workload.errors(3)
    eventually(lambda: collector.value(expression) == 3.0, 60)
    workload.errors(4)
    eventually(lambda: collector.value(expression) == 7.0, 60)
    calls = "tenantscope_agent_aws_calls_total"
    assert running.own_metric(calls, operation="GetMetricData", outcome="ok") >= 2
    assert running.own_metric("tenantscope_agent_cloudwatch_metrics_requested_total") >= 2


def test_applications_otlp_survives_an_outage_of_the_collector_and_a_kill(stack):
    collector, _, agent = stack
    running = agent(aws_sources=False)
    running.start()
    url = f"http://127.0.0.1:{running.ports['http']}/v1/"
    as_json = otlp.gauge_json("shop_carts", 5.0)
    assert requests.post(url + "metrics", json=as_json, timeout=10).status_code == 200
    with grpc.insecure_channel(f"127.0.0.1:{running.ports['grpc']}", compression=grpc.Compression.Gzip) as channel:
        TraceServiceStub(channel).Export(otlp.spans(["POST /carts"], trace_id=b"0123456789abcdef"), timeout=10)
    eventually(lambda: collector.value('shop_carts{tenant="acme"}') == 5.0, 60)
    eventually(lambda: "POST /carts" in collector.get("/tempo/api/traces/" + b"0123456789abcdef".hex()).text, 60)
    collector.stop()
    for number in range(10):
        body = otlp.logs([f"cart {number}"]).SerializeToString()
        answer = requests.post(url + "logs", data=body, headers={"Content-Type": "application/x-protobuf"}, timeout=10)
        assert answer.status_code == 200
    assert requests.post(url + "logs", data="{]", headers={"Content-Type": "application/json"}, timeout=10).status_code == 400
    running.process.kill()
    running.start()
    collector.start()
    eventually(lambda: lines(collector, "cart") == [f"cart {number}" for number in range(10)], 60)


def test_an_outage_longer_than_the_spool_costs_nothing_that_aws_keeps(stack):
    collector, workload, agent = stack
    running = agent(spool_bytes="1MiB")
    running.start()
    workload.log("before")
    eventually(lambda: lines(collector, "before") == ["before"], 60)
    collector.stop()
    count = 20_000
    for _ in range(count // 500):
        workload.log(*[f"during {secrets.token_hex(32)}" for _ in range(500)], stream="b", seconds_ago=5)
    eventually(lambda: running.own_metric("tenantscope_agent_spool_bytes") > 400_000, 60)
    time.sleep(3)
    collector.start()
    eventually(lambda: collector.own_metric("tenantscope_ingest_records_total", signal="logs") >= count, 120)
    time.sleep(3)
    assert collector.own_metric("tenantscope_ingest_records_total", signal="logs") == count
    assert running.own_metric("tenantscope_agent_spool_dropped_batches") == 0


def test_sigterm_delivers_what_is_spooled_and_exits_0(stack):
    collector, workload, agent = stack
    running = agent()
    running.start()
    workload.log("last words")
    eventually(lambda: running.own_metric("tenantscope_agent_spooled_items_total", signal="logs") >= 1, 60)
    running.process.child.send_signal(signal.SIGTERM)
    assert running.process.child.wait(30) == 0
    running.process = None
    assert lines(collector, "last words") == ["last words"]


def test_once_says_why_nothing_could_be_delivered(stack):
    collector, workload, agent = stack
    workload.log("unheard")
    lonely = agent("lonely", collector=f"http://127.0.0.1:{free_port()}", drain="3s")
    assert lonely.once() == 1
    assert "Connection refused" in lonely.log().splitlines()[-1]


def test_an_unknown_account_is_refused_and_the_agent_says_so(stack, moto, tmp_path):
    collector, _, _ = stack
    stranger = Agent(tmp_path / "stranger", moto.url, identity.assume_role(moto.url, "999988887777"), collector.otlp_grpc, drain="2s")
    assert stranger.once() == 1
    assert "identity exchange" in stranger.log().splitlines()[-1]
    assert "Bearer" not in stranger.log()


@pytest.mark.parametrize("text, expected", [
    ("collector: http://c:4317\nsources:\n  cloudwatch: {regoins: [eu-west-1]}\n", r"agent\.yaml:3: .*regoins"),
    ("collector: http://c:4317\nspool: {max_bytes: 3parsecs}\n", r"agent\.yaml:2: .*3parsecs"),
    ("spool: {}\n", r"collector: is not set"),
    ("collector: https://c:4317\nsources:\n  cloudwatch: {max_metrics: many}\n",
     r"agent\.yaml:3: sources\.cloudwatch\.max_metrics: a whole number"),
    ("collector: https://c:4317\nproof: token\ntoken_file: /nowhere/token\n", r"agent\.yaml:3: token_file: /nowhere/token: No such file"),
    ("collector: https://c:4317\nproof: certificate\ntls: {cert: /nowhere/x.crt, key: /nowhere/x.key}\n",
     r"agent\.yaml:3: tls\.cert: /nowhere/x\.crt: "),
    ("proof: sts\ncollector: http://c:4317\n", r"agent\.yaml:2: collector: .*plain_text: behind_a_proxy"),
    ("data_dir: /var/lib/tenantscope\n", r"agent\.yaml:1: this looks like the collector's configuration"),
])
def test_a_wrong_configuration_is_found_by_check(tmp_path, text, expected):
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    checked = Process("check", [program("tenantscope-agent"), "check", "--config", path], tmp_path / "check.log")
    assert checked.child.wait(10) == 2
    assert re.search(expected, (tmp_path / "check.log").read_text())
    started = Process("run", [program("tenantscope-agent"), "run", "--config", path], tmp_path / "run.log")
    assert started.child.wait(10) == 2, "what check finds stops a start"


def test_without_aws_credentials_one_line_says_so_and_what_to_do(tmp_path):
    path = tmp_path / "agent.yaml"
    path.write_text(yaml.safe_dump({"collector": f"http://127.0.0.1:{free_port()}", "spool": {"dir": str(tmp_path / "spool")},
                                    "sources": {"logs": {"regions": [identity.REGION]}}}))
    # A container's credentials that nobody serves: AWS's own crates have pages to say about it.
    env = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": identity.REGION,
           "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{free_port()}/"}
    running = Process("agent", [program("tenantscope-agent"), "run", "--config", path], tmp_path / "agent.log", env=env)
    log = lambda: (tmp_path / "agent.log").read_text()
    eventually(lambda: "no AWS credentials" in log(), 60)
    time.sleep(5)
    running.stop()
    told = [line for line in log().splitlines() if "WARN" in line or "ERROR" in line]
    assert len(told) == 1 and "give the task, function or instance a role" in told[0], log()
    assert "ProviderError" not in log() and max(map(len, told)) < 800


def test_help_lists_the_environment(tmp_path):
    asked = Process("help", [program("tenantscope-agent"), "run", "--help"], tmp_path / "help.log")
    assert asked.child.wait(10) == 0
    told = (tmp_path / "help.log").read_text()
    for variable in ("TENANTSCOPE_CONFIG", "TENANTSCOPE_LOG", "TENANTSCOPE_LOG_FORMAT", "TENANTSCOPE_TLS_CERT", "AWS_PROFILE"):
        assert variable in told


def test_what_comes_while_the_account_is_not_registered_waits_in_the_spool(stack):
    collector, workload, agent = stack
    running = agent()
    running.start()
    workload.log("before")
    eventually(lambda: lines(collector, "before") == ["before"], 60)
    registry = collector.folder / "tenants.yaml"
    registered = registry.read_text()
    registry.write_text("tenants: []\n")
    collector.reload()
    workload.log("meanwhile")
    eventually(lambda: running.own_metric("tenantscope_agent_batches_total", signal="logs", outcome="retried") >= 1, 60)
    registry.write_text(registered)
    collector.reload()
    eventually(lambda: lines(collector, "meanwhile") == ["meanwhile"], 90)
    assert running.own_metric("tenantscope_agent_batches_total", outcome="refused") == 0
