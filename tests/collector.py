"""A collector under test, and the requests that its users make."""

import json
import signal
import time
import urllib.parse

import requests
import yaml

from processes import Process, answers, free_port


class Collector:
    """`tenantscope-collector serve` in a folder of its own; `config` is what collector.yaml holds beside addresses."""

    def __init__(self, program, folder, config=None):
        self.program, self.folder, self.config = program, folder, config
        self.process, self.env = None, None
        self.ports = {name: free_port() for name in ("http", "otlp_grpc", "otlp_http")}
        self.session = requests.Session()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.ports['http']}"

    @property
    def otlp_http(self):
        return f"http://127.0.0.1:{self.ports['otlp_http']}"

    @property
    def otlp_grpc(self):
        return f"http://127.0.0.1:{self.ports['otlp_grpc']}"

    def command(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [self.program, "serve", "--data-dir", self.folder / "data"]
        for name, port in self.ports.items():
            command += ["--" + name.replace("_", "-"), f"127.0.0.1:{port}"]
        if self.config is not None:
            path = self.folder / "collector.yaml"
            path.write_text(yaml.safe_dump(self.config))
            command += ["--config", path]
        return command

    def start(self, seconds=60):
        self.process = Process("collector", self.command(), self.folder / "collector.log", self.env)
        self.process.wait_until(lambda: answers(self.url + "/-/ready"), seconds, "was not ready")

    def kill(self):
        """kill -9."""
        self.process.kill()

    def stop(self):
        """SIGTERM; the exit code."""
        return self.process.stop() if self.process else 0

    def reload(self):
        self.process.child.send_signal(signal.SIGHUP)

    def log(self):
        return self.process.log.read_text()

    def get(self, path, tenant=None, headers=None, **parameters):
        headers = dict(headers or {}, **({"X-Scope-OrgID": tenant} if tenant else {}))
        url = self.url + path + ("?" + urllib.parse.urlencode(parameters, doseq=True) if parameters else "")
        return self.session.get(url, headers=headers, timeout=30)

    def query(self, expression, tenant=None, time_s=None, headers=None):
        """An instant query's result."""
        at = {"time": time_s} if time_s is not None else {}
        answer = self.get("/api/v1/query", tenant, headers, query=expression, **at)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["result"]

    def value(self, expression, **more):
        """The one value of an instant query; None where there is none."""
        result = self.query(expression, **more)
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None

    def own_metric(self, name, **labels):
        """The sum of one of the collector's own counters over the series that have these labels."""
        total = 0.0
        for line in self.get("/metrics").text.splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items()):
                total += float(value)
        return total

    def send(self, signal_name, body, tenant=None, headers=None):
        """Posts OTLP: a message of protobuf or, if it is a dict, JSON."""
        headers = dict(headers or {}, **({"X-Scope-OrgID": tenant} if tenant else {}))
        if isinstance(body, dict):
            headers.setdefault("Content-Type", "application/json")
            data = json.dumps(body).encode()
        else:
            headers.setdefault("Content-Type", "application/x-protobuf")
            data = body if isinstance(body, bytes) else body.SerializeToString()
        return self.session.post(f"{self.otlp_http}/v1/{signal_name}", data=data, headers=headers, timeout=30)


def eventually(ask, seconds=30, every=0.2):
    """Asks until the answer is truthy; the answer. Fails with the last answer or error."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = ask()
            problem = answer
        except (AssertionError, requests.RequestException) as error:
            answer, problem = None, error
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s; last: {problem!r}")
        time.sleep(every)
