"""Every way in by every identity that it takes: whose the data is, what a false claim does, and what is refused how."""

import hashlib
import itertools
import json

import certificates
import grpc
import identity
import pytest
import requests
import yaml
from aws import Moto
from collector import Collector, eventually
from conftest import program
from deltalake import DeltaTable, QueryBuilder
from issuer import Issuer, of_account
from processes import Process, listens
from ways import DELIVERIES, GARBAGE, ORDINARY, Data, Sender

ACME, GLOBEX, TINY, FOREIGN = "111122223333", "444455556666", "555566667777", "777788889999"
ACCOUNTS = {"acme": ACME, "globex": GLOBEX, "tiny": TINY}
RELAYED = [ACME, GLOBEX]

# Past these a record is left out; what is sent otherwise is shorter. Decompressed bodies are bounded for all senders.
BOUNDS = {"max_label_value_length": 500, "max_log_line_bytes": 500, "max_attribute_bytes": 500}
RATES = {"samples_per_second": 1, "log_bytes_per_second": 1, "spans_per_second": 1}
BURSTS = {"samples_burst": 30, "log_burst_bytes": 3000, "spans_burst": 30}
MAX_DECODED = 1 << 20
FLOOD = ["x" * 100] * 40
LAKE = {"flush_interval": "2s"}

IDENTITIES = {"sts": ORDINARY, "static token": ORDINARY, "relay": ORDINARY, "jwt": ORDINARY, "certificate": ORDINARY,
              "access key": DELIVERIES, "relay's access key": DELIVERIES, "open": ORDINARY + DELIVERIES}
CELLS = [pytest.param(name, way, id=f"{name}, {way.name}") for name, ways in IDENTITIES.items() for way in ways]

marks = (f"mark{number}" for number in itertools.count())


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


class OverTls(Collector):
    """A collector whose listeners have TLS."""

    @property
    def url(self):
        return f"https://localhost:{self.ports['http']}"

    @property
    def otlp_http(self):
        return f"https://localhost:{self.ports['otlp_http']}"

    def start(self, seconds=60):
        self.process = Process("collector", self.command(), self.folder / "collector.log")
        ready = lambda: listens(self.ports["http"]) and self.get("/-/ready").ok
        self.process.wait_until(ready, seconds, "was not ready")


class Strict:
    """A collector that takes every identity, and who shows them."""

    def __init__(self, folder):
        self.folder, self.moto, self.issuer = folder, Moto(folder), Issuer()
        self.issuer.add_key("first")
        certificates.mutual(folder)
        for tenant, account in ACCOUNTS.items():
            certificates.certificate(folder, tenant, f"URI:spiffe://test/account/{account}", by="clients")
        self.collector = OverTls(program("tenantscope-collector"), folder / "collector", self.config())
        self.collector.session = self.session(Authorization="Bearer oncall")
        self.collector.folder.mkdir()
        (self.collector.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
            {"id": tenant, "accounts": [account], "attributes": {"tier": tenant}} for tenant, account in ACCOUNTS.items()]}))
        self.collector.start()

    def config(self):
        tls = {"cert": str(self.folder / "tls.crt"), "key": str(self.folder / "tls.key"), "client_ca": str(self.folder / "clients.pem")}
        return identity.config(
            self.moto.url, lake=LAKE, listen={"tls": tls}, readers=[{"name": "oncall", "token_sha256": sha256("oncall"), "scope": "all"}],
            limits={"max_decoded_bytes": MAX_DECODED, "default": BOUNDS, "tiers": {"tiny": RATES}}) | {"identity": {
                **identity.config(self.moto.url)["identity"],
                "jwt": [self.issuer.config(account_claim=["https://sts.amazonaws.com/", "aws_account"])],
                "certificates": [{"san": "spiffe://test/account/{account}"}],
                "tokens": [*({"name": tenant, "token_sha256": sha256(f"token of {tenant}"), "accounts": [account]}
                             for tenant, account in ACCOUNTS.items()),
                           {"name": "relay", "token_sha256": sha256("token of relay"), "accounts": RELAYED}],
                "firehose": [*({"name": f"stream of {tenant}", "key_sha256": sha256(f"key of {tenant}"), "accounts": [account]}
                               for tenant, account in ACCOUNTS.items()),
                             {"name": "streams", "key_sha256": sha256("key of relay"), "accounts": RELAYED}]}}

    def session(self, cert=None, **headers):
        session = requests.Session()
        # Variables that name authorities would count before `verify`.
        session.trust_env = False
        session.verify, session.cert = str(self.folder / "ca.pem"), cert
        session.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        return session

    def sender(self, name, tenant):
        read = lambda file: (self.folder / file).read_bytes()
        session, pair = None, ()
        if name == "sts":
            answer = identity.exchange(self.collector, identity.proof(identity.assume_role(self.moto.url, ACCOUNTS[tenant])))
            assert answer.status_code == 200, answer.text
            session = self.session(Authorization=f"Bearer {answer.json()['token']}")
        elif name in ("static token", "relay"):
            session = self.session(Authorization=f"Bearer token of {'relay' if name == 'relay' else tenant}")
        elif name == "jwt":
            session = self.session(Authorization=f"Bearer {self.issuer.token('first', **of_account(ACCOUNTS[tenant]))}")
        elif name == "certificate":
            session = self.session(cert=(str(self.folder / f"{tenant}.crt"), str(self.folder / f"{tenant}.key")))
            pair = (read(f"{tenant}.key"), read(f"{tenant}.crt"))
        else:
            session = self.session(X_Amz_Firehose_Access_Key=f"key of {'relay' if 'relay' in name else tenant}")
        credentials = grpc.ssl_channel_credentials(read("ca.pem"), *pair)
        return Sender(self.collector, session, credentials, tenant, ACCOUNTS[tenant], is_relay="relay" in name)

    def stop(self):
        self.collector.stop()
        self.issuer.stop()
        self.moto.stop()


@pytest.fixture(scope="module")
def senders(tmp_path_factory):
    """`senders(identity, tenant)`: who has it, at a collector that takes it; each is made once."""
    strict = Strict(tmp_path_factory.mktemp("matrix"))
    opened = Collector(program("tenantscope-collector"), tmp_path_factory.mktemp("matrix-open") / "collector",
                       {"lake": LAKE, "limits": {"max_decoded_bytes": MAX_DECODED, "default": {**BOUNDS, **RATES, **BURSTS}}})
    opened.start()
    made = {}

    def sender(name, tenant="acme"):
        if name == "open":
            # A tenant for each cell, so that none uses up another's quota.
            tenant = f"{tenant}-{next(marks)}"
            session = requests.Session()
            session.headers["X-Scope-OrgID"] = tenant
            made[tenant] = Sender(opened, session, tenant=tenant)
            return made[tenant]
        if (name, tenant) not in made:
            made[name, tenant] = strict.sender(name, tenant)
        return made[name, tenant]

    sender.in_tables = []
    sender.nobody = lambda **headers: Sender(strict.collector, strict.session(**headers),
                                             grpc.ssl_channel_credentials((strict.folder / "ca.pem").read_bytes()))
    yield sender
    for one in made.values():
        one.close()
    opened.stop()
    strict.stop()


def truth(sender, **more):
    """What the store must say of the sender's data."""
    return {"tenant": sender.tenant, **({"account": sender.account} if sender.account else {}), **more}


def own(sender, way, mark, **more):
    """Data that claims no more than what must be named: a relay and a Firehose stream name the account."""
    must_name = sender.is_relay or way in DELIVERIES
    return Data(mark, account=(sender.account or ACME) if must_name else None, **more)


def moved(sender, way):
    """What own data claims all the same, where it is shown: of a log subscription's account nobody knows in open mode."""
    return {"exported_account": ACME} if way in DELIVERIES and way.signal == "logs" and not sender.account else {}


def counted(collector, name, way, reason=None):
    of_reason = {"reason": reason} if reason else {}
    return collector.own_metric(f"tenantscope_ingest_{name}_total", signal=way.signal, **of_reason)


class Growing:
    """Within, one of the collector's counters grows."""

    def __init__(self, *of):
        self.of = of

    def __enter__(self):
        self.before = counted(*self.of)

    def __exit__(self, failed, *_):
        if not failed:
            eventually(lambda: counted(*self.of) > self.before, 10)


def test_the_matrix_is_whole():
    """Who takes what is said once, here: nothing is left out by an oversight."""
    assert len(ORDINARY) == 13 and len(DELIVERIES) == 3 and len(CELLS) == 5 * 13 + 2 * 3 + 16


@pytest.mark.parametrize("name, way", CELLS)
def test_own_data_is_stored_under_its_true_tenant(senders, name, way):
    for tenant in ("acme", "globex"):
        sender, mark = senders(name, tenant), next(marks)
        answer = way.send(sender, own(sender, way, mark))
        assert (answer.status, answer.rejected) == (way.stored, 0), answer
        [found] = way.found(sender.collector, mark)
        assert found == truth(sender, **moved(sender, way))
        assert way.found(sender.collector, mark, tenant=sender.tenant) == [found]
        assert way.found(sender.collector, mark, tenant="another") == []


@pytest.mark.parametrize("name, way", CELLS)
def test_a_forged_claim_is_moved_aside_and_counted(senders, name, way):
    sender, mark = senders(name), next(marks)
    relayed = {"account": ACME} if sender.is_relay else {"account": GLOBEX}
    headers = {} if name == "open" else {"X-Scope-OrgID": "globex"}
    with Growing(sender.collector, "moved_claims", way):
        answer = way.send(sender, Data(mark, tenant="globex", **relayed), **headers)
    assert (answer.status, answer.rejected) == (way.stored, 0), answer
    aside = {"exported_tenant": "globex", **({} if sender.is_relay else {"exported_account": GLOBEX})}
    # Resources' attributes are shown with spans and logs; those of metrics are in `target_info`.
    is_shown = way in ORDINARY or way.signal == "logs"
    assert way.found(sender.collector, mark) == [truth(sender, **(aside if is_shown else {}))]
    assert way.found(sender.collector, mark, tenant="globex") == []
    if way.signal == "logs":
        senders.in_tables.append((sender.collector, mark, truth(sender, **aside)))


def test_the_lakes_table_has_the_claims_of_logs_that_were_moved_aside(senders):
    """By the `deltalake` package; what the cells above sent."""
    attributes = {"tenant.id": "tenant", "cloud.account.id": "account", "exported_tenant.id": "exported_tenant",
                  "exported_cloud.account.id": "exported_account"}
    for collector in {one[0] for one in senders.in_tables}:
        expected = {mark: names for at, mark, names in senders.in_tables if at is collector}

        def rows():
            [table] = [log.parent for log in (collector.folder / "data").rglob("logs/**/_delta_log")]
            wanted = "select service, tenant, account_id, resource_attributes from logs"
            found = QueryBuilder().register("logs", DeltaTable(str(table))).execute(wanted).read_all()
            columns = [[value.as_py() for value in found[name]] for name in found.column_names]
            of = {row[0]: dict(zip(found.column_names, row)) for row in zip(*columns) if row[0] in expected}
            return of if len(of) == len(expected) else None

        for mark, row in eventually(rows).items():
            claimed = json.loads(row["resource_attributes"])
            found = {name: claimed[key] for key, name in attributes.items() if key in claimed}
            assert found | {"tenant": row["tenant"]} == expected[mark]
            assert row["account_id"] == expected[mark].get("account", "")


@pytest.mark.parametrize("name, way", [cell for cell in CELLS if "relay" in cell.values[0]])
def test_a_relay_is_refused_what_it_may_not_speak_for(senders, name, way):
    sender = senders(name)
    accounts = {FOREIGN: "foreign_account", "x": "invalid_account"} | ({} if way in DELIVERIES else {None: "no_account"})
    for account, reason in accounts.items():
        mark = next(marks)
        with Growing(sender.collector, "rejected_records", way, reason):
            answer = way.send(sender, Data(mark, account=account))
        assert answer.status == way.nothing and reason in answer.text, answer
        assert answer.rejected == (1 if way.nothing in (200, "OK") else 0)
        assert way.found(sender.collector, mark) == []


@pytest.mark.parametrize("way", ORDINARY + DELIVERIES, ids=lambda way: way.name)
def test_an_open_write_names_one_tenant(senders, way):
    sender, mark = senders("open"), next(marks)
    answer = way.send(sender, own(sender, way, mark), **{"X-Scope-OrgID": "acme|globex"})
    assert answer.status == way.wrong, answer
    assert way.found(sender.collector, mark) == []


@pytest.mark.parametrize("name, way", CELLS)
def test_a_record_over_a_limit_is_left_out_and_the_rest_stored(senders, name, way):
    sender, mark = senders(name), next(marks)
    with Growing(sender.collector, "rejected_records", way, way.bound()):
        answer = way.send(sender, own(sender, way, mark, texts=["kept", "x" * 600]))
    assert answer.status == way.part, answer
    if way not in DELIVERIES:
        assert way.bound() in answer.text, answer
    assert answer.rejected == (1 if way.part in (200, "OK") and way not in DELIVERIES else 0)
    assert len(way.found(sender.collector, mark)) == 1


# What a relay, and an account that tenants share, send is bounded record by record and not by one tenant's rates.
@pytest.mark.parametrize("name, way", [cell for cell in CELLS if "relay" not in cell.values[0]])
def test_past_a_rate_a_batch_is_refused_with_a_delay(senders, name, way):
    sender, mark, late = senders(name, "tiny"), next(marks), next(marks)
    assert way.send(sender, own(sender, way, mark, texts=FLOOD)).status in (way.stored, way.throttled)
    with Growing(sender.collector, "refused", way, way.rate()):
        answer = way.send(sender, own(sender, way, late, texts=FLOOD))
    assert (answer.status, answer.retries) == (way.throttled, True), answer
    assert way.found(sender.collector, late) == []


@pytest.mark.parametrize("name, way", CELLS)
def test_a_body_that_is_malformed_or_too_large_is_refused_and_counted(senders, name, way):
    sender, mark = senders(name), next(marks)
    with Growing(sender.collector, "refused", way):
        answer = way.deliver(sender, GARBAGE, {})
    assert (answer.status, answer.retries) == (way.wrong, False), answer
    with Growing(sender.collector, "refused", way, "too_large"):
        answer = way.deliver(sender, *way.bomb())
    assert (answer.status, answer.retries) == (way.too_large, False), answer
    assert way.send(sender, own(sender, way, mark)).status == way.stored
    assert way.found(sender.collector, mark) == [truth(sender, **moved(sender, way))]


@pytest.mark.parametrize("way", ORDINARY + DELIVERIES, ids=lambda way: way.name)
def test_without_a_true_identity_nothing_is_taken(senders, way):
    mark = next(marks)
    # What one way takes for an identity is none in another: an access key as a bearer's token, and the other way round.
    for headers in ({}, {"X_Scope_OrgID": "acme"}, {"Authorization": "Bearer guessed"}, {"Authorization": "Bearer oncall"},
                    {"X_Amz_Firehose_Access_Key": "guessed"},
                    {"Authorization": "Bearer token of acme"} if way in DELIVERIES else {"Authorization": "Bearer key of acme"},
                    {"X_Amz_Firehose_Access_Key": "token of acme" if way in DELIVERIES else "key of acme"}):
        nobody = senders.nobody(**headers)
        answer = way.send(nobody, Data(mark, tenant="acme", account=ACME))
        nobody.close()
        assert answer.status == way.nobody, (headers, answer)
        assert "acme" not in answer.text and ACME not in answer.text
    assert way.found(nobody.collector, mark) == []
