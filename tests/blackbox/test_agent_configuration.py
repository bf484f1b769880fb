"""The agents' configuration from the centre: simulated agents by the hundred through the real exchange, and real ones.

TENANTSCOPE_SIMULATED_AGENTS=6000 is the size of the design; `-s` shows the times.
"""

import hashlib
import os
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
import yaml
from collector import eventually
from conftest import program
from processes import Process, free_port, listens

AGENTS = int(os.environ.get("TENANTSCOPE_SIMULATED_AGENTS", "150"))
CANARY, EARLY = range(0, AGENTS // 20), range(AGENTS // 20, AGENTS // 4)
NOT_TO_BE_HAD = 666  # a budget that simulated agents refuse
THREADS = 16


def account(number):
    return f"{100_000_000_000 + number}"


def token(number):
    return f"token-of-agent-{number}"


def wave(number):
    return "canary" if number in CANARY else "early" if number in EARLY else "late"


class Simulated:
    """An agent as the collector sees it: it asks, takes what it is handed, and says so when it asks again."""

    sessions = threading.local()

    def __init__(self, number):
        self.number, self.version, self.refused, self.budget = number, None, None, None

    def ask(self, collector, held=None):
        """By its static token, or by one that it holds of the collector's."""
        session = getattr(self.sessions, "session", None) or requests.Session()
        self.sessions.session = session
        report = {"refused": self.refused} if self.refused else {}
        proof = {"kind": "held", "token": held} if held else {"kind": "token", "token": token(self.number)}
        request = {"agent": "simulated", "mode": "run", "version": "0.1.0", "document_version": self.version,
                   "proof": proof, "documents": report}
        answer = session.post(collector.otlp_http + "/tenantscope/v1/identity", json=request, timeout=60)
        assert answer.status_code == 200, answer.text
        document = answer.json().get("document")
        if document and document["content"]["budget_usd_per_month"] == NOT_TO_BE_HAD:
            self.refused = {"version": document["version"], "reason": "no such budget"}
        elif document:
            self.version, self.budget = document["version"], document["content"]["budget_usd_per_month"]
            self.refused = None
        return answer


class Fleet:
    """A collector with an account and a token for each simulated agent."""

    def __init__(self, collectors):
        self.collector = collectors(start=False)
        self.collector.folder.mkdir(parents=True)
        tenants = [{"id": f"t{n}", "accounts": [account(n)], "attributes": {"wave": wave(n), "tier": "gold"}}
                   for n in range(AGENTS)]
        (self.collector.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": tenants}))
        self.tokens = [{"name": f"t{n}", "token_sha256": hashlib.sha256(token(n).encode()).hexdigest(),
                        "accounts": [account(n)]} for n in range(AGENTS)]
        self.agents = [Simulated(n) for n in range(AGENTS)]
        self.pool = ThreadPoolExecutor(THREADS)

    def configure(self, hold, budget):
        waves = [{"match": {"wave": name}, "hold": hold} for name in ("canary", "early")]
        self.collector.config = {
            "registry": {"file": "tenants.yaml"}, "identity": {"tokens": self.tokens},
            "agents": {"documents": [{"match": {"tier": "gold"}, "file": "gold.yaml"}], "waves": waves}}
        (self.collector.folder / "gold.yaml").write_text(yaml.safe_dump({"budget_usd_per_month": budget}))
        self.collector.command()  # writes collector.yaml

    def reload(self, hold, budget):
        self.configure(hold, budget)
        answer = self.collector.session.post(self.collector.url + "/-/reload", timeout=120)
        assert answer.status_code == 200, answer.text

    def sweep(self):
        """Everybody asks once."""
        list(self.pool.map(lambda agent: agent.ask(self.collector), self.agents))

    def rollout(self):
        answer = self.collector.get("/tenantscope/v1/agents", state="refused")
        assert answer.status_code == 200, answer.text
        return answer.json()["rollout"]

    def who_has(self, budget):
        return {wave(agent.number) for agent in self.agents if agent.budget == budget}

    def until_all_have(self, budget):
        """Sweeps until everybody has it; nobody may have it before it is its wave's turn. The times of waves."""
        while True:
            self.sweep()
            rollout = self.rollout()
            reached = [step["release"] == rollout["release"] for step in rollout["waves"]]
            allowed = {name for name, has in zip(("canary", "early", "late"), reached, strict=True) if has}
            assert self.who_has(budget) <= allowed
            if all(agent.budget == budget for agent in self.agents):
                return [step["since_ms"] for step in rollout["waves"]]
            assert rollout["state"] != "halted", rollout


def test_a_change_goes_wave_by_wave_and_errors_in_the_first_halt_it(collectors):
    fleet = Fleet(collectors)
    fleet.configure("1s", 1)
    fleet.collector.start(120)
    fleet.until_all_have(1)

    # A good change.
    began = time.monotonic()
    fleet.reload("2s", 2)
    since = fleet.until_all_have(2)
    print(f"\n{AGENTS} agents have a change {time.monotonic() - began:.1f} s after it, by three waves with holds of 2 s")
    assert since[1] - since[0] >= 2000 and since[2] - since[1] >= 2000
    assert fleet.rollout()["state"] == "complete"

    # A bad one: the first wave refuses it. No hold ends before that was heard.
    began = time.monotonic()
    fleet.reload("1h", NOT_TO_BE_HAD)
    fleet.sweep()
    assert {wave(agent.number) for agent in fleet.agents if agent.refused} == {"canary"}
    fleet.sweep()
    halted = eventually(lambda: fleet.rollout() if fleet.rollout()["state"] == "halted" else None)
    print(f"{len(CANARY)} of {AGENTS} agents refuse a change, and it is halted {time.monotonic() - began:.1f} s after it")
    assert halted["halt"]["wave"] == 0 and halted["halt"]["reasons"] == ["no such budget"]
    assert halted["waves"][0]["agents"]["refused"] == len(CANARY)
    assert fleet.collector.own_metric("tenantscope_tenancy_agents_rollout_halted") == 1
    assert "halted" in fleet.collector.log()

    # Neither a hold that ends nor a restart lets it go on.
    fleet.reload("1s", NOT_TO_BE_HAD)
    fleet.collector.stop()
    fleet.collector.start(120)
    time.sleep(2.5)
    fleet.sweep()
    assert fleet.rollout()["state"] == "halted"
    assert {wave(agent.number) for agent in fleet.agents if agent.refused} == {"canary"}
    assert all(agent.budget == 2 for agent in fleet.agents), "who refused keeps the old one, the others were not asked"

    # A newer one does.
    fleet.reload("1s", 3)
    fleet.until_all_have(3)
    assert fleet.rollout()["state"] == "complete"
    fleet.sweep()  # tells what each has
    summary = fleet.collector.get("/tenantscope/v1/agents").json()["summary"]
    assert summary == {"current": AGENTS}


def test_an_answer_to_who_has_the_document_and_a_token_is_small_and_brings_no_token(collectors):
    fleet = Fleet(collectors)
    fleet.configure("1s", 1)
    fleet.collector.start(120)
    fleet.until_all_have(1)

    def used():
        fields = Path(f"/proc/{fleet.collector.process.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def measured(what, ask):
        cpu_s, began = used(), time.monotonic()
        answers = list(fleet.pool.map(ask, fleet.agents))
        took_s, cpu_s = time.monotonic() - began, used() - cpu_s
        sizes = [len(answer.content) for answer in answers]
        print(f"\n{what}: {AGENTS / took_s:.0f} a second, {1000 * cpu_s / AGENTS:.2f} ms CPU each, {max(sizes)} bytes at most")
        return answers

    given = {agent.number: answer.json()["token"] for agent, answer in zip(
        fleet.agents, measured("by a proof (static token)", lambda agent: agent.ask(fleet.collector)), strict=True)}
    asked = measured("by the token that is held", lambda agent: agent.ask(fleet.collector, given[agent.number]))
    assert all(len(answer.content) < 100 and "token" not in answer.json() for answer in asked), asked[0].text
    assert fleet.collector.own_metric("tenantscope_tenancy_proofs_total", result="held") == AGENTS


def test_an_admin_lets_a_halted_rollout_go_on(collectors):
    fleet = Fleet(collectors)
    fleet.configure("1s", 1)
    fleet.collector.start(120)
    fleet.until_all_have(1)
    fleet.reload("1h", NOT_TO_BE_HAD)
    fleet.sweep()
    fleet.sweep()
    halted = eventually(lambda: fleet.rollout() if fleet.rollout()["state"] == "halted" else None)

    def resume(tenant=None, **parameters):
        headers = {"X-Scope-OrgID": tenant} if tenant else {}
        url = fleet.collector.url + "/tenantscope/v1/agents/resume"
        return fleet.collector.session.post(url, params=parameters, headers=headers, timeout=30).status_code

    assert resume() == 400
    assert resume(tenant="t0", release=halted["release"]) == 403
    assert resume(release=halted["release"] - 1) == 409
    assert resume(release=halted["release"]) == 200
    assert resume(release=halted["release"]) == 409, "it goes on already"
    assert fleet.rollout()["state"] == "underway"


def test_a_reader_of_one_tenant_sees_its_agents_alone(collectors):
    fleet = Fleet(collectors)
    fleet.configure("1s", 1)
    fleet.collector.start(120)
    fleet.sweep()
    seen = fleet.collector.get("/tenantscope/v1/agents", tenant="t1")
    assert [agent["tenant"] for agent in seen.json()["agents"]] == ["t1"]
    assert "rollout" not in seen.json() and "gold" not in seen.text


def test_a_bad_document_is_refused_with_its_line_and_changes_nothing(collectors):
    fleet = Fleet(collectors)
    fleet.configure("1s", 1)
    fleet.collector.start(120)
    document = fleet.collector.folder / "gold.yaml"
    command = [program("tenantscope-collector"), "check", "--config", fleet.collector.folder / "collector.yaml"]
    for text, place in [("sources:\n  logs:\n    gruops: [a]\n", "gold.yaml:3:"),
                        ("sources:\n  logs: {interval: 10ms}\n", "gold.yaml:2:"),
                        ("collector: https://elsewhere\n", "gold.yaml:1:"),
                        ("sources: {}\n", "gold.yaml:1:")]:
        document.write_text(text)
        checked = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert checked.returncode == 1 and place in checked.stdout + checked.stderr, checked
        answer = fleet.collector.session.post(fleet.collector.url + "/-/reload", timeout=120)
        assert answer.status_code == 500 and place in answer.text, answer.text
    assert fleet.rollout()["release"] == 1


class OtherRelease:
    """A collector of another release, as an agent of today sees it: a word between the two becomes one that is not known."""

    def __init__(self, collector, answers=None, questions=None):
        self.target, self.answers, self.questions = collector.ports["otlp_grpc"], answers, questions
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                agent, _ = self.listener.accept()
                centre = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            for ends in ((agent, centre, self.questions), (centre, agent, self.answers)):
                threading.Thread(target=self.pass_on, args=ends, daemon=True).start()

    @staticmethod
    def pass_on(source, target, words):
        known, unknown = words or (b"", b"")
        assert len(known) == len(unknown), "frames have lengths"
        try:
            while data := source.recv(1 << 16):
                # A word may come in two pieces.
                while any(data.endswith(known[:n]) for n in range(1, len(known))) and (more := source.recv(1 << 16)):
                    data += more
                target.sendall(data.replace(known, unknown) if known else data)
        except OSError:
            pass
        source.close()
        target.close()


class Agent:
    """`tenantscope-agent` that receives OTLP, and is told by the collector where."""

    def __init__(self, folder, collector):
        folder.mkdir(parents=True)
        self.folder, self.own_port, self.process = folder, free_port(), None
        self.telemetry = free_port()
        (folder / "token").write_text(token(0))
        (folder / "agent.yaml").write_text(yaml.safe_dump({
            "collector": collector.otlp_grpc, "name": "edge", "proof": "token", "token_file": str(folder / "token"),
            "spool": {"dir": str(folder / "spool")}, "listen": {"http": f"127.0.0.1:{self.telemetry}"},
            "sources": {"otlp": {"http": f"127.0.0.1:{self.own_port}"}}}))

    def start(self, *options):
        command = [program("tenantscope-agent"), "run", "--config", self.folder / "agent.yaml", *options]
        # Nobody answers at this endpoint.
        env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
               "AWS_EC2_METADATA_DISABLED": "true"}
        self.process = Process("agent", command, self.folder / "agent.log", env=env)

    def stop(self):
        return self.process.stop() if self.process else 0

    def metric(self, name):
        for line in requests.get(f"http://127.0.0.1:{self.telemetry}/metrics", timeout=10).text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        return None


class Centre:
    """A collector with one tenant, whose agents are told where to listen."""

    def __init__(self, collectors):
        self.collector = collectors(start=False)
        self.collector.folder.mkdir(parents=True)
        tenants = {"tenants": [{"id": "acme", "accounts": [account(0)], "attributes": {"wave": "canary"}},
                               {"id": "later", "accounts": [account(1)]}]}
        (self.collector.folder / "tenants.yaml").write_text(yaml.safe_dump(tenants))
        digest = hashlib.sha256(token(0).encode()).hexdigest()
        self.identity = {"tokens": [{"name": "acme", "token_sha256": digest, "accounts": [account(0)]}]}

    def configure(self, port=None, document=None, **agents):
        if port:
            document = {"sources": {"otlp": {"http": f"127.0.0.1:{port}"}}} | (document or {})
        if document:
            (self.collector.folder / "all.yaml").write_text(yaml.safe_dump(document))
            agents["documents"] = [{"file": "all.yaml"}]
        waves = [{"match": {"wave": "canary"}, "hold": "1h"}]
        self.collector.config = {"registry": {"file": "tenants.yaml"}, "identity": self.identity,
                                 "agents": {"ask_every": "1s", "waves": waves} | agents}
        self.collector.command()

    def reload(self, port=None, document=None, **agents):
        self.configure(port, document, **agents)
        answer = self.collector.session.post(self.collector.url + "/-/reload", timeout=60)
        assert answer.status_code == 200, answer.text

    def agent(self):
        return next(iter(self.collector.get("/tenantscope/v1/agents").json()["agents"]), None)

    def is_in_state(self, state):
        agent = self.agent()
        return agent if agent and agent["state"] == state else None


@pytest.fixture
def centre(collectors):
    return Centre(collectors)


@pytest.fixture
def agent(centre, tmp_path):
    running = Agent(tmp_path / "agent", centre.collector)
    yield running
    running.stop()


def test_an_agent_applies_a_document_without_a_restart_and_remembers_it(centre, agent):
    centre.configure()
    centre.collector.start()
    agent.start()
    eventually(lambda: listens(agent.own_port))
    eventually(lambda: centre.is_in_state("own_file"))

    told = free_port()
    centre.reload(told)
    eventually(lambda: listens(told) and not listens(agent.own_port))
    current = eventually(lambda: centre.is_in_state("current"))
    assert current["version"] == 1 and current["tenant"] == "acme"
    assert agent.metric("tenantscope_agent_document_version") == 1

    # Neither a restart nor the collector's absence takes it away.
    agent.process.kill()
    centre.collector.stop()
    agent.start()
    eventually(lambda: listens(told))
    assert not listens(agent.own_port)

    # What is withdrawn gives way to the agent's own file.
    centre.configure(waves=[])
    centre.collector.start()
    eventually(lambda: listens(agent.own_port) and not listens(told), 60)
    eventually(lambda: centre.is_in_state("own_file"))


def test_an_agent_refuses_what_it_cannot_apply_and_keeps_the_old_one(centre, agent):
    good, better = free_port(), free_port()
    centre.configure(good)
    centre.collector.start()
    agent.start()
    eventually(lambda: listens(good))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        centre.reload(taken.getsockname()[1])
        refused = eventually(lambda: centre.is_in_state("refused"))
    assert refused["version"] == 1 and refused["refused"]["version"] == 2 and "in use" in refused["refused"]["reason"]
    assert listens(good)
    rollout = eventually(lambda: centre.collector.get("/tenantscope/v1/agents").json()["rollout"])
    eventually(lambda: centre.collector.get("/tenantscope/v1/agents").json()["rollout"]["state"] == "halted")
    assert rollout["waves"][0]["agents"] == {"refused": 1}
    assert "refused" in centre.collector.log() and "refused" in (agent.folder / "agent.log").read_text()

    centre.reload(better)
    eventually(lambda: listens(better) and not listens(good))
    assert eventually(lambda: centre.is_in_state("current"))["version"] == 3


def test_sources_are_merged_one_by_one_and_switched_off_by_name(centre, agent):
    centre.configure(document={"sources": {"xray": None}})
    centre.collector.start()
    agent.start()
    assert eventually(lambda: centre.is_in_state("current"))["version"] == 1
    assert listens(agent.own_port), "the document says nothing of what applications send"
    told = free_port()
    centre.reload(told)
    eventually(lambda: listens(told) and not listens(agent.own_port))
    (centre.collector.folder / "all.yaml").write_text("sources: {otlp: off}\n")
    assert centre.collector.session.post(centre.collector.url + "/-/reload", timeout=60).status_code == 200
    eventually(lambda: not listens(told))
    current = eventually(lambda: centre.is_in_state("current") if centre.agent()["version"] == 3 else None)
    assert current["stopped"], "it was the last one"


def test_a_document_of_a_later_release_is_refused_by_the_agent_which_keeps_the_old_one(centre, agent):
    port = free_port()
    centre.configure(port)
    centre.collector.start()
    later = OtherRelease(centre.collector, answers=(b'"budget_usd_per_month"', b'"budget_eur_per_month"'))
    agent.start("--collector", later.address)
    assert eventually(lambda: centre.is_in_state("current"))["version"] == 1
    centre.reload(port, {"budget_usd_per_month": 5})
    refused = eventually(lambda: centre.is_in_state("refused"))
    assert (refused["version"], refused["refused"]["version"]) == (1, 2)
    assert "budget_eur_per_month" in refused["refused"]["reason"]
    assert listens(port) and agent.metric("tenantscope_agent_document_version") == 1
    halted = eventually(lambda: centre.collector.get("/tenantscope/v1/agents").json()["rollout"].get("halt"))
    assert "budget_eur_per_month" in halted["reasons"][0]

    # Nor does it come by a restart, and what both know ends it.
    agent.process.kill()
    agent.start("--collector", later.address)
    eventually(lambda: listens(port))
    eventually(lambda: centre.is_in_state("refused"))
    centre.reload(port, {"enabled": True})
    assert eventually(lambda: centre.is_in_state("current"))["version"] == 3
    later.listener.close()


def test_asking_takes_the_token_that_is_held_and_no_proof(centre, agent):
    centre.configure(free_port())
    centre.collector.start()
    agent.start()
    proofs = lambda result: centre.collector.own_metric("tenantscope_tenancy_proofs_total", result=result)
    eventually(lambda: proofs("held") >= 3)
    assert proofs("accepted") == 1


def test_a_collector_of_the_release_before_is_asked_by_proof(centre, agent):
    port, other = free_port(), free_port()
    centre.configure(port)
    centre.collector.start()
    earlier = OtherRelease(centre.collector, questions=(b'"kind":"held"', b'"kind":"kept"'))
    agent.start("--collector", earlier.address)
    eventually(lambda: listens(port))
    centre.reload(other)
    eventually(lambda: listens(other) and not listens(port))
    assert centre.collector.own_metric("tenantscope_tenancy_proofs_total", result="held") == 0
    assert agent.metric('tenantscope_agent_asks_total{outcome="error"}') == 1, "it does not ask again what is not known"
    earlier.listener.close()


def test_what_a_document_begins_and_fails_halts_it(centre, agent):
    port = free_port()
    centre.configure(port)
    centre.collector.start()
    agent.start()
    eventually(lambda: centre.is_in_state("current"))
    document = {"sources": {"otlp": {"http": f"127.0.0.1:{port}"}, "xray": {"regions": ["eu-west-1"]}}}
    (centre.collector.folder / "all.yaml").write_text(yaml.safe_dump(document))
    assert centre.collector.session.post(centre.collector.url + "/-/reload", timeout=60).status_code == 200
    failing = eventually(lambda: centre.is_in_state("failing"), 120)
    assert failing["version"] == 2 and failing["failing"].startswith("account: ")
    halted = eventually(lambda: centre.collector.get("/tenantscope/v1/agents").json()["rollout"].get("halt"))
    assert halted["reasons"][0].startswith("account: ") and listens(port)


def test_the_kill_switch_stops_all_at_once_and_lets_go_again(centre, agent):
    port = free_port()
    centre.configure(port)
    centre.collector.start()
    agent.start()
    eventually(lambda: listens(port))
    centre.reload(port, enabled=False)
    eventually(lambda: not listens(port))
    eventually(lambda: centre.agent()["stopped"])
    assert agent.metric("tenantscope_agent_stopped") == 1
    centre.reload(port)
    eventually(lambda: listens(port))
    eventually(lambda: not centre.agent()["stopped"])
    assert agent.metric("tenantscope_agent_document_version") == 1, "the kill switch is no document"
