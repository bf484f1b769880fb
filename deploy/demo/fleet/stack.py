"""The demo's processes, in the order in which they start: moto, Alertmanager, webhook, collector, agents, workload."""

import json
import shutil
import string
import sys
from pathlib import Path

import cloud
from processes import Process, answers, free_port, listens
from workload import BACKFILLED

HERE = Path(__file__).resolve().parent
CONFIG = HERE.parent / "config"
SERVER_NAME = "collector.tenantscope.demo"

# Where a person looks for these by habit; taken only if free.
PREFERRED = {"moto": 5000, "collector": 9099, "otlp_grpc": 4317, "otlp_http": 4318, "alertmanager": 9093, "webhook": 9094}


class Stack:
    """Everything that the demo runs, and where it answers."""

    def __init__(self, folder, programs, preferred_ports, say):
        self.folder = Path(folder)
        self.programs = Path(programs)
        self.say = say
        self.processes = []
        self.accounts = []
        self.agents = {}
        preferred = PREFERRED if preferred_ports else {}
        self.ports = {name: free_port(preferred.get(name)) for name in PREFERRED}

    def url(self, name):
        return f"http://127.0.0.1:{self.ports[name]}"

    def launch(self, name, command, env=None):
        process = Process(name, command, self.folder / "log" / f"{name}.log", env=env)
        self.processes.append(process)
        return process

    def start(self, bad_after, backfill_minutes):
        self.start_aws()
        self.start_alerting()
        self.start_collector()
        self.start_workload(bad_after, backfill_minutes)
        self.start_agents()

    def start_aws(self):
        self.say("moto: an AWS with an organization of six accounts")
        moto = self.launch("moto", [sys.executable, "-B", Path(__file__).with_name("aws_server.py"), "-H", "127.0.0.1", "-p", self.ports["moto"]])
        moto.wait_until(lambda: answers(self.url("moto") + "/moto-api/data.json"), 60, "did not answer")
        self.accounts = cloud.create_organization(self.url("moto"))
        self.write("tenants.yaml", cloud.registry_yaml(self.accounts))
        # What a later process needs to act in the accounts; the credentials are moto's and worth nothing elsewhere.
        self.write("accounts.json", json.dumps([vars(account) for account in self.accounts]))

    def start_alerting(self):
        webhook = self.launch("webhook", [sys.executable, "-B", HERE / "webhook.py", self.ports["webhook"],
                                          self.folder / "webhook.jsonl"])
        webhook.wait_until(lambda: listens(self.ports["webhook"]), 20, "did not listen")
        program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        if not program:
            self.say("Alertmanager is not to be had here: alerts go to the demo's webhook alone")
            self.ports.pop("alertmanager")
            return
        self.say("Alertmanager")
        alertmanager = self.launch("alertmanager", [
            program, f"--config.file={CONFIG / 'alertmanager.yaml'}", f"--storage.path={self.folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{self.ports['alertmanager']}", "--cluster.listen-address="])
        alertmanager.wait_until(lambda: answers(self.url("alertmanager") + "/-/ready"), 30, "was not ready")

    def start_collector(self):
        self.say("collector")
        notifiers = [f"{{name: demo, kind: webhook, url: \"{self.url('webhook')}/alerts\"}}"]
        names = ["demo"]
        if "alertmanager" in self.ports:
            notifiers.append(f"{{name: alertmanager, kind: alertmanager, url: \"{self.url('alertmanager')}\"}}")
            names.append("alertmanager")
        self.render("collector.yaml", data_dir=self.folder / "collector", moto=self.url("moto"), server_name=SERVER_NAME,
                    region=cloud.REGION, role=cloud.ROLE, config=CONFIG, http=self.ports["collector"],
                    grpc=self.ports["otlp_grpc"], otlp_http=self.ports["otlp_http"],
                    notifiers=", ".join(notifiers), notify=", ".join(names))
        program = self.programs / "tenantscope-collector"
        collector = self.launch("collector", [program, "serve", "--config", self.folder / "collector.yaml"])
        collector.wait_until(lambda: answers(self.url("collector") + "/-/ready"), 60, "was not ready")

    def start_workload(self, bad_after, backfill_minutes):
        self.say(f"workload: {backfill_minutes} minutes of past, then live; {cloud.BAD_TENANT} goes bad after {bad_after} s")
        for account in self.accounts:
            self.agents[account.tenant] = {"grpc": free_port(), "http": free_port(), "telemetry": free_port()}
        self.write("workload.json", json.dumps({
            "endpoint": self.url("moto"), "bad_after": bad_after, "backfill_minutes": backfill_minutes,
            "otlp_http": {tenant: f"http://127.0.0.1:{agent['http']}" for tenant, agent in self.agents.items()}}))
        workload = self.launch("workload", [sys.executable, "-B", HERE / "workload.py", self.folder])
        # An agent's first round is to find the past that is in its account already.
        workload.wait_until((self.folder / BACKFILLED).exists, 120, "did not publish its past")

    def start_agents(self):
        for account in self.accounts:
            self.say(f"agent in account {account.id} (tenant {account.tenant})")
            agent, name = self.agents[account.tenant], f"agent-{account.tenant}"
            self.render("agent.yaml", f"{name}.yaml", name=name, collector=self.url("otlp_grpc"), server_name=SERVER_NAME,
                        spool=self.folder / "spool" / account.tenant, region=cloud.REGION, **agent)
            agent["process"] = self.launch(name, [self.programs / "tenantscope-agent", "run", "--config",
                                                  self.folder / f"{name}.yaml"], env=account.environment)
        for agent in self.agents.values():
            agent["process"].wait_until(lambda port=agent["http"]: listens(port), 30, "did not listen for OTLP")
        # The applications end before the agents that they send to.
        self.processes.sort(key=lambda process: process.name == "workload")

    def render(self, template, to=None, **values):
        text = (CONFIG / template).read_text()
        self.write(to or template, string.Template(text).substitute({k: str(v) for k, v in values.items()}))

    def write(self, name, text):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def stop(self):
        """Stops everything, the last started first; returns the exit code of each."""
        return {process.name: process.stop() for process in reversed(self.processes)}
