"""No reader sees what is outside its scope, by any route of our own API's document, and where all of the registry is in use:
an organization's names and tags, agents and their documents, quarantine, pooled accounts, limits, cost."""

import itertools
import time

import organization
import otlp
import pytest
import remote_write
import requests
import yaml
from aws import Moto
from collector import Collector, eventually
from conftest import program
from test_isolation import (ACCOUNTS, CANARY, OBJECTIVE, OPEN, READERS, RULES, SENDERS, ask, bearer, config, questions,
                            send_everything, sha256)
from test_loki_push import entry, protobuf
from ways import GARBAGE, JSON, PROTOBUF, Data, Firehose, FirehoseLogs, Sender

STRANGER, POOL = "121212121212", "343434343434"
OTHERS = {"stranger": STRANGER, "pool": POOL}
TODAY = time.strftime("%Y-%m-%d", time.gmtime())


class Setting:
    """A collector of two tenants, where globex's every name, tag, agent and record has the canary."""

    def __init__(self, folder):
        self.moto = Moto(folder)
        members = organization.Organization(self.moto.url)
        # An attribute that the file gives another value, and a tag that is misspelled.
        self.found = [members.account(f"{CANARY}-account", tenant="globex", tier=f"{CANARY}-tier"),
                      members.account(f"{CANARY}-second", tenant="globex", **{"Tier": f"{CANARY}-value"})]
        members.account("plain-account", tenant="acme", tier="glod")
        self.words = [word.encode() for word in (CANARY, "globex", ACCOUNTS["globex"], STRANGER, POOL, *self.found)]
        self.collector = Collector(program("tenantscope-collector"), folder / "collector", self.config())
        self.collector.env = organization.environment(self.moto.url)
        self.write_files()
        self.collector.start()
        self.collector.session.headers.update(bearer(READERS["oncall"]))
        for tenant, word in (("acme", "plain"), ("globex", CANARY)):
            self.send(tenant, word)
        self.hold_and_refuse()
        eventually(self.everything_is_there, 20)

    def config(self):
        made = config("1s")
        made["identity"]["tokens"] += [{"name": name, "token_sha256": sha256(f"sender-of-{name}"), "accounts": [account]}
                                       for name, account in OTHERS.items()]
        made["identity"]["firehose"] = [{"name": f"stream of {tenant}", "key_sha256": sha256(f"key of {tenant}"), "accounts": [account]}
                                        for tenant, account in ACCOUNTS.items()]
        made["registry"].update(organizations={"refresh": "1s", "calls_per_second": 100}, unknown="quarantine",
                                tag_policy=[{"tag": "tier", "values": ["gold"]}])
        made["agents"] = {"documents": [{"match": {"tenant": "globex"}, "file": f"{CANARY}.yaml"},
                                        {"match": {"tenant": "acme"}, "file": "plain.yaml"}],
                          "waves": [{"match": {"tier": CANARY}, "hold": "1h"}]}
        made["limits"] = {"own_series_interval": "500ms", "default": {"max_log_line_bytes": 500}}
        made["cost"] = {"prices": {"samples_per_million": 1000}}
        return made

    def write_files(self):
        folder = self.collector.folder
        folder.mkdir()
        (folder / "rules.yaml").write_text(RULES)
        (folder / "slo.yaml").write_text(yaml.safe_dump(OBJECTIVE))
        for word in (CANARY, "plain"):
            (folder / f"{word}.yaml").write_text(yaml.safe_dump({"budget_usd_per_month": 1.0}))
        (folder / "tenants.yaml").write_text(yaml.safe_dump({
            "tenants": [{"id": "acme", "name": "plain name", "accounts": [ACCOUNTS["acme"]], "attributes": {"tier": "gold"}},
                        {"id": "globex", "name": f"{CANARY} name", "accounts": [ACCOUNTS["globex"]],
                         "attributes": {"tier": CANARY, CANARY: "silver"}}],
            "pooled": [{"accounts": [POOL], "attribute": "app.customer", "tenants": ["globex"]}]}))

    def send(self, tenant, word):
        """Every signal, by the ways in that test_isolation does not go; and an agent that says what it can't do."""
        collector = self.collector
        send_everything(collector, tenant, word, trace_id=tenant[:4].encode().ljust(16, b"0"))
        labels = '{service_name="%s-pushed", %s_pushed="%s"}' % (word, word, word)
        pushed = requests.post(collector.url + "/loki/api/v1/push", data=protobuf([(labels, [entry(f"{word} pushed", metadata={word: word})])]),
                               headers={**PROTOBUF, **bearer(SENDERS[tenant])}, timeout=30)
        assert pushed.status_code == 204, pushed.text
        session = requests.Session()
        session.headers["X-Amz-Firehose-Access-Key"] = f"key of {tenant}"
        for way in (Firehose("metrics", "metrics"), FirehoseLogs("logs", "logs")):
            data = Data(f"{word}-function", texts=[f"{word} delivered", word * 60], account=ACCOUNTS[tenant])
            assert way.send(Sender(collector, session), data).status == 200
        request = {"agent": f"{word}-agent", "mode": "run", "version": f"{word}-version", "document_version": 0,
                   "proof": {"kind": "token", "token": SENDERS[tenant]},
                   "documents": {"refused": {"version": 1, "reason": f"{word} reason"}, "failing": f"{word} failing"}}
        for _ in range(2):
            exchanged = requests.post(collector.otlp_http + "/tenantscope/v1/identity", json=request, timeout=30)
            assert exchanged.status_code == 200, exchanged.text

    def hold_and_refuse(self):
        """A stranger's data is held, a shared account's goes to globex, and what it may not name is refused."""
        for sender, customer in (("stranger", None), ("pool", "globex"), ("pool", f"{CANARY}-customer")):
            resource = {"service.name": f"{CANARY}-held", **({"app.customer": customer} if customer else {})}
            gauge = otlp.gauges(f"{CANARY}_held", [({}, 1.0, otlp.now_ns())], resource)
            answer = self.collector.send("metrics", gauge, headers=bearer(f"sender-of-{sender}"))
            assert answer.status_code == 200, answer.text

    def everything_is_there(self):
        """Whoever may see all finds it by each route that has something to hide."""
        for path, words in {"/tenantscope/v1/tenants": [f"{CANARY} name", POOL], "/tenantscope/v1/registry": [f"{CANARY}-tier"],
                            "/tenantscope/v1/tag-policy": [f"{CANARY}-value", "glod"], "/tenantscope/v1/coverage": [f"{CANARY}-account", POOL],
                            "/tenantscope/v1/quarantine": [STRANGER], "/tenantscope/v1/cost": ["globex"],
                            "/tenantscope/v1/agents": [f"{CANARY}-agent", f"{CANARY} reason", f"{CANARY}.yaml"],
                            "/accounts": [f"{CANARY}-account", f"{CANARY}-value", STRANGER],
                            "/tenants/globex": [CANARY, "max_log_line_bytes"], "/api/v1/targets": ["globex", STRANGER],
                            "/federate?match[]={__name__=~\".%2B\"}": [CANARY, STRANGER]}.items():
            text = ask(self.collector, "oncall", path, {}).text
            for word in words:
                assert word in text, (path, word, text[:3000])
        return True

    def leaks(self, answer):
        raw = (answer.content + "\n".join(f"{name}: {value}" for name, value in answer.headers.items()).encode()).lower()
        return [word for word in self.words if word in raw]

    def stop(self):
        self.collector.stop()
        self.moto.stop()


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    running = Setting(tmp_path_factory.mktemp("isolation-routes"))
    yield running
    running.stop()


# Values for what the document's parameters are called, beside those that it lists itself.
VALUES = {"month": [TODAY[:7], "x"], "tenant": ["globex", "acme", "nosuch"], "from": [TODAY, "x"], "to": [TODAY], "release": ["1", "0", "x"]}


def documented(collector):
    """(method, path, parameters) for every route of the document: with none, each, and each two of its parameters."""
    document = collector.get("/tenantscope/v1/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            choices = []
            for parameter in operation.get("parameters", []):
                if parameter.get("in") != "query":
                    continue
                schema = parameter["schema"]
                if "$ref" in schema:
                    schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
                values = schema.get("enum", []) + VALUES.get(parameter["name"], []) + ["\u0000wrong"]
                choices.append([(parameter["name"], value) for value in values])
            for count in range(min(len(choices), 3) + 1):
                for chosen in itertools.combinations(choices, count):
                    yield from ((method, path, dict(pairs)) for pairs in itertools.product(*chosen))


@pytest.mark.parametrize("narrowed", [None, "globex", "acme|globex"])
def test_no_route_of_the_document_tells_of_another_tenant(setting, narrowed):
    collector, leaking, asked = setting.collector, [], set()
    headers = {**bearer(READERS["acme"]), **({"X-Scope-OrgID": narrowed} if narrowed else {})}
    for method, path, parameters in documented(collector):
        answer = requests.request(method, collector.url + path, params=parameters, headers=headers, timeout=30)
        asked.add(path)
        if found := setting.leaks(answer):
            leaking.append((method, path, parameters, answer.status_code, found, answer.text[:300]))
        assert answer.status_code < 500, (method, path, parameters, answer.text)
    assert leaking == []
    assert {"/tenantscope/v1/" + name for name in ("coverage", "tag-policy", "cost", "agents", "quarantine", "registry", "removals")} <= asked


@pytest.mark.parametrize("narrowed", [None, "acme|globex"])
def test_nothing_comes_back_by_the_other_routes_and_the_pages(setting, narrowed):
    everything = '{__name__=~".+"}'
    more = [("/federate", {"match[]": everything}), ("/federate", {"match[]": "{"}), ("/federate", {}), ("/api/v1/scrape_pools", {}),
            ("/api/v1/status/runtimeinfo", {}), ("/accounts", {}), ("/accounts", {"state": "x"}), ("/tenants/unassigned", {}),
            *(("/accounts", {"state": state}) for state in ("never", "silent", "settling", "closing", "idle", "reporting")),
            ("/api/v1/query", {"query": '{__name__=~"tenantscope_.*"}'}), ("/api/v1/query", {"query": f'{{account_id=~"{POOL[:3]}.*|{STRANGER[:3]}.*"}}'}),
            ("/api/v1/label/account_id/values", {}), ("/loki/api/v1/label/log_group/values", {})]
    headers = {"X-Scope-OrgID": narrowed} if narrowed else {}
    leaking = []
    for path, parameters in questions() + more + OPEN:
        for extra in ({}, {"Accept": "application/openmetrics-text"} if path in ("/federate", "/metrics") else {}):
            answer = ask(setting.collector, "acme", path, parameters, **headers, **extra)
            if found := setting.leaks(answer):
                leaking.append((path, parameters, answer.status_code, found, answer.text[:300]))
    assert leaking == []


def test_a_sender_is_told_nothing_of_another_tenant(setting):
    """What refuses a batch or a proof: of acme, of a stranger, and of nobody."""
    collector, leaking = setting.collector, []
    bodies = [(collector.otlp_http, f"/v1/{signal}", body, form) for signal in ("metrics", "logs", "traces")
              for body, form in ((GARBAGE, PROTOBUF), (b"{", JSON))]
    bodies += [(collector.url, "/api/v1/write", GARBAGE, remote_write.HEADERS), (collector.url, "/api/v1/write", GARBAGE, remote_write.HEADERS_2),
               (collector.url, "/loki/api/v1/push", GARBAGE, PROTOBUF), (collector.url, "/loki/api/v1/push", b"{}", JSON)]
    bodies += [(collector.url, f"/firehose/{what}", b"{}", JSON) for what in ("metrics", "logs")]
    proofs = [b"{}", b'{"agent": "a", "mode": "run", "version": "1", "proof": {"kind": "token", "token": "guessed"}}']
    bodies += [(collector.otlp_http, "/tenantscope/v1/identity", proof, JSON) for proof in proofs]
    for credential in (bearer(SENDERS["acme"]), bearer("guessed"), {}, {"X-Amz-Firehose-Access-Key": "key of acme"}):
        for base, path, body, form in bodies:
            headers = {**form, **credential, "X-Scope-OrgID": "globex", "Connection": "close"}
            answer = requests.post(base + path, data=body, headers=headers, timeout=30)
            assert 400 <= answer.status_code < 500, (path, answer.status_code)
            if found := setting.leaks(answer):
                leaking.append((path, answer.status_code, found, answer.text[:300]))
    assert leaking == []


def test_a_tenant_that_is_not_the_readers_and_none_at_all_look_alike(setting):
    collector = setting.collector
    for method, path, parameters in (("GET", "/tenantscope/v1/cost", {}), ("GET", "/tenantscope/v1/cost", {"format": "csv"}),
                                     ("GET", "/tenantscope/v1/reports", {"month": TODAY[:7], "format": "json"}),
                                     ("POST", "/tenantscope/v1/removals", {})):
        answers = [requests.request(method, collector.url + path, params={**parameters, "tenant": tenant},
                                    headers=bearer(READERS["acme"]), timeout=30) for tenant in ("globex", "nosuch")]
        assert answers[0].status_code == answers[1].status_code and answers[0].content == answers[1].content, path


def test_a_reader_sees_its_own_by_these_routes(setting):
    """So that the silence above is not a silence about everything."""
    for path, words in {"/tenantscope/v1/tenants": ["plain name"], "/tenantscope/v1/tag-policy": ["glod"],
                        "/tenantscope/v1/coverage": ["plain-account", ACCOUNTS["acme"]], "/tenantscope/v1/cost": ["acme"],
                        "/tenantscope/v1/agents": ["plain-agent", "plain reason"], "/accounts": ["plain-account", "glod"],
                        "/tenants/acme": ["plain", "max_log_line_bytes"], "/federate?match[]={__name__=~\".%2B\"}": ["plain"]}.items():
        text = ask(setting.collector, "acme", path, {}).text
        for word in words:
            assert word in text, (path, word, text[:3000])
