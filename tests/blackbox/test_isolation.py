"""No reader sees what is outside its scope: every route's raw answers are searched for another tenant's data."""

import hashlib
import time

import otlp
import pytest
import remote_write
import requests
import yaml
from collector import Collector, eventually
from conftest import program

ACCOUNTS = {"acme": "111122223333", "globex": "444455556666"}
SENDERS = {tenant: f"sender-of-{tenant}" for tenant in ACCOUNTS}
READERS = {"oncall": "reads-everything", "acme": "reads-acme"}

# In every field of globex's data, and nowhere else. Words, so that label names and metric names can have it.
CANARY = "zqcanaryqz"
SECRET_WORDS = (CANARY.encode(), b"globex", ACCOUNTS["globex"].encode())

RULES = """\
groups:
  - name: carts
    interval: 1s
    rules:
      - {record: "tenant:carts:sum", expr: "sum by (tenant, item) ({__name__=~\\".*carts.*\\"})"}
      - alert: Carts
        expr: '{__name__=~".*carts.*", __name__!~"tenant:.*"} > 0'
        labels: {what: "{{ $labels.item }}"}
        annotations: {summary: "{{ $labels.tenant }} has {{ $labels.item }}"}
      - {alert: Broken, expr: '{__name__=~".*carts.*", __name__!~"tenant:.*"} * on () {__name__=~".*carts.*", __name__!~"tenant:.*"}'}
"""

OBJECTIVE = {"apiVersion": "openslo/v1", "kind": "SLO", "metadata": {"name": "orders"},
             "spec": {"service": "shop", "budgetingMethod": "Occurrences",
                      "indicator": {"spec": {"ratioMetric": {"counter": False, **{
                          kind: {"metricSource": {"type": "Prometheus", "spec": {"query": query}}}
                          for kind, query in (("bad", "orders_bad"), ("total", "orders_all"))}}}},
                      "timeWindow": [{"duration": "30d", "isRolling": True}], "objectives": [{"target": 0.99}]}}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def sha256(token):
    return hashlib.sha256(token.encode()).hexdigest()


def config(flush):
    return {
        "identity": {"tokens": [{"name": tenant, "token_sha256": sha256(SENDERS[tenant]), "accounts": [account]}
                                for tenant, account in ACCOUNTS.items()]},
        "registry": {"file": "tenants.yaml"},
        "readers": [{"name": "oncall", "token_sha256": sha256(READERS["oncall"]), "scope": "all"},
                    {"name": "acme", "token_sha256": sha256(READERS["acme"]), "scope": {"tenants": ["acme"]}}],
        "rules": ["rules.yaml"], "objectives": ["slo.yaml"],
        "metrics": {"flush_interval": flush}, "lake": {"flush_interval": flush}}


@pytest.fixture(scope="module", params=["memory", "files"])
def collector(request, tmp_path_factory):
    """A collector with both tenants' data, in memory or in files."""
    running = Collector(program("tenantscope-collector"), tmp_path_factory.mktemp(f"isolation-{request.param}") / "collector",
                        config({"memory": "1h", "files": "1s"}[request.param]))
    running.folder.mkdir(parents=True)
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [
        {"id": "acme", "accounts": [ACCOUNTS["acme"]], "attributes": {"tier": "gold"}},
        {"id": "globex", "accounts": [ACCOUNTS["globex"]], "attributes": {"tier": CANARY, CANARY: "silver"}}]}))
    (running.folder / "rules.yaml").write_text(RULES)
    (running.folder / "slo.yaml").write_text(yaml.safe_dump(OBJECTIVE))
    running.start()
    send_everything(running, "acme", "plain", trace_id=b"acme".ljust(16, b"0"))
    send_everything(running, "globex", CANARY, trace_id=b"glob".ljust(16, b"0"))
    everything_is_there(running)
    if request.param == "files":
        eventually(lambda: len(list((running.folder / "data").rglob("*.parquet"))) >= 2)
    yield running
    running.stop()


def send_everything(collector, tenant, word, trace_id):
    """Data of every signal in which every field that a sender fills holds the word."""
    headers = bearer(SENDERS[tenant])
    resource = {"service.name": f"{word}-service", "host.name": f"{word}-host", f"{word}.resource": word, "deployment": word}
    now = otlp.now_ns()

    metrics = otlp.gauges(f"{word}_carts", [({"item": f"{word}-item", f"{word}_label": word}, 3.0, now)], resource)
    metric = metrics.resource_metrics[0].scope_metrics[0].metrics[0]
    metric.description, metric.unit = f"{word} help", f"{word}s"
    counted = metrics.resource_metrics[0].scope_metrics[0].metrics.add(name=f"{word}_clicks", description=f"{word} clicks", unit=word)
    counted.sum.aggregation_temporality, counted.sum.is_monotonic = 2, True
    point = counted.sum.data_points.add(time_unix_nano=now, start_time_unix_nano=now - 60_000_000_000, as_double=7.0)
    otlp.set_attributes(point.attributes, {"button": word})
    exemplar = point.exemplars.add(time_unix_nano=now, as_double=1.0, trace_id=trace_id, span_id=b"12345678")
    otlp.set_attributes(exemplar.filtered_attributes, {f"{word}_exemplar": word})
    for name, value in (("orders_all", 100.0), ("orders_bad", 5.0)):
        other = metrics.resource_metrics[0].scope_metrics[0].metrics.add(name=name, description=f"{word} orders")
        otlp.set_attributes(other.gauge.data_points.add(time_unix_nano=now, as_double=value).attributes, {"shop": word})
    assert collector.send("metrics", metrics, headers=headers).status_code == 200
    series = [({"__name__": f"{word}_pushed", f"{word}_pushed_label": word}, [(now // 1_000_000, 1.0)])]
    assert remote_write.push(collector.session, collector.url + "/api/v1/write", series, headers).status_code in (200, 204)

    logs = otlp.logs([f"{word} happened", f'{{"{word}_key": "{word}"}}'], resource, attributes={f"{word}.log": word, "user": word},
                     severity="ERROR")
    assert collector.send("logs", logs, headers=headers).status_code == 200

    spans = otlp.spans([f"{word} root", f"{word} child"], resource, trace_id=trace_id, duration_ms=250, error=True,
                       attributes={f"{word}.span": word, "http.route": f"/{word}"})
    for span in spans.resource_spans[0].scope_spans[0].spans:
        span.status.message = word
        event = span.events.add(name=f"{word} event", time_unix_nano=now)
        otlp.set_attributes(event.attributes, {f"{word}.event": word})
        otlp.set_attributes(span.links.add(trace_id=trace_id, span_id=b"87654321").attributes, {f"{word}.link": word})
    assert collector.send("traces", spans, headers=headers).status_code == 200


def everything_is_there(collector):
    """What the test looks for exists: whoever may see everything finds it by every kind of route."""
    def found():
        everything = '{__name__=~".+"}'
        shown = [("/api/v1/alerts", {}), ("/api/v1/rules", {}), ("/api/v1/metadata", {}), ("/api/v1/labels", {}),
                 ("/api/v1/query", {"query": '{__name__=~"tenant:.*"}'}), ("/api/v1/query", {"query": "tenantscope_tenant_info"}),
                 ("/api/v1/query_exemplars", {"query": everything, **window_s()}),
                 ("/loki/api/v1/query_range", {"query": '{service_name=~".+"}'}), ("/loki/api/v1/label/service_name/values", {}),
                 ("/tempo/api/search/tags", {}), ("/tempo/api/search", {"q": "{ status = error }"}),
                 ("/tempo/api/traces/" + b"glob".ljust(16, b"0").hex(), {}),
                 ("/tenants/globex", {}), ("/", {}), ("/incidents", {})]
        for path, parameters in shown:
            answer = ask(collector, "oncall", path, parameters)
            assert CANARY in answer.text, f"{path} {parameters}: {answer.status_code} {answer.text[:2000]}"
        for path in ("/tenantscope/v1/budgets", "/tenantscope/v1/tenants", "/api/v1/targets", "/slo"):
            assert "globex" in ask(collector, "oncall", path, {}).text, path
        return True
    eventually(found)
    broken = lambda: "globex" in ask(collector, "oncall", "/api/v1/rules", {"rule_name[]": "Broken"}).json()["data"]["groups"][0]["rules"][0]["lastError"]
    eventually(broken)


def window_s():
    now = time.time()
    return {"start": f"{now - 600:.3f}", "end": f"{now + 60:.3f}"}


def questions():
    """Every route that reads, with wide questions and wrong ones; none of them holds a word that must not come back."""
    window, everything = window_s(), '{__name__=~".+"}'
    month = time.strftime("%Y-%m", time.gmtime())
    acme_trace, other_trace = b"acme".ljust(16, b"0").hex(), b"glob".ljust(16, b"0").hex()
    prometheus = [
        ("query", {"query": everything}), ("query", {"query": "tenantscope_tenant_info"}), ("query", {"query": "ALERTS"}),
        ("query", {"query": "count by (tenant, account_id) (" + everything + ")"}), ("query", {"query": "target_info"}),
        ("query", {"query": everything + "[1h]"}), ("query", {"query": 'absent(up) or ' + everything}),
        ("query", {"query": f'label_replace({everything}, "__name__", "a", "", "")'}),
        ("query", {"query": f"{everything} * on () {everything}"}), ("query", {"query": 'sum by (x) ('}),
        ("query", {"query": f'count_values("v", {everything})'}), ("query", {"query": "info(orders_all)"}),
        ("query", {"query": everything, "limit": 1, "stats": "all"}), ("query", {"query": everything, "timeout": "1ms"}),
        ("query_range", {"query": everything, **window, "step": 15}),
        ("query_range", {"query": f"{everything} / on (tenant) {everything}", **window, "step": 15}),
        ("query_range", {"query": everything, **window, "step": 0}), ("query_range", {"query": "(", **window, "step": 15}),
        ("series", {"match[]": everything}), ("series", {"match[]": "{"}), ("series", {}), ("labels", {}),
        ("labels", {"match[]": everything}), ("labels", {"match[]": '{a=~"("}'}),
        *((f"label/{name}/values", {}) for name in ("__name__", "tenant", "account_id", "item", "job", "instance", "tier", "what")),
        ("label/tenant/values", {"match[]": everything}), ("metadata", {}), ("metadata", {"metric": "orders_all"}),
        ("metadata", {"limit": 1000, "limit_per_metric": 100}), ("query_exemplars", {"query": everything, **window}),
        ("rules", {}), ("rules", {"type": "alert"}), ("alerts", {}), ("targets", {}), ("targets", {"state": "any"}),
        ("status/buildinfo", {}), ("status/tsdb", {}), ("status/tsdb", {"limit": 1000}), ("format_query", {"query": "a+b"}),
        ("parse_query", {"query": "a+b"}), ("status/config", {}), ("status/flags", {}), ("nothing", {})]
    anything = '{service_name=~".+"}'
    loki = [
        ("query_range", {"query": anything}), ("query_range", {"query": anything + " | json"}),
        ("query_range", {"query": '{tenant=~".+"} | logfmt'}), ("query_range", {"query": '{tenant!="acme"}'}),
        ("query_range", {"query": f"sum by (tenant, service_name) (count_over_time({anything}[5m]))"}),
        ("query_range", {"query": f"topk(10, sum by (user) (count_over_time({anything}[5m])))"}),
        ("query_range", {"query": "{"}), ("query_range", {"query": anything + " | nonsense"}), ("query_range", {}),
        ("query_range", {"query": anything, "limit": "many"}),
        ("query", {"query": f"sum by (tenant) (count_over_time({anything}[5m]))"}), ("query", {"query": "sum("}),
        ("labels", {}), ("label", {}), *((f"label/{name}/values", {}) for name in ("tenant", "service_name", "account_id", "level", "user", "deployment")),
        ("series", {}), ("series", {"match[]": anything}), ("index/stats", {"query": anything}), ("index/volume", {"query": anything}),
        ("index/volume", {"query": anything, "targetLabels": "tenant,service_name"})]
    tempo = [
        (f"traces/{other_trace}", {}), (f"v2/traces/{other_trace}", {}), (f"traces/{acme_trace}", {}), (f"v2/traces/{acme_trace}", {}),
        ("traces/zz", {}), ("search", {}), ("search", {"q": "{}"}), ("search", {"q": "{ status = error }", "spss": 100}),
        ("search", {"q": "{ duration > 1ms }"}), ("search", {"q": "{"}), ("search", {"tags": "a"}), ("search", {"minDuration": "x"}),
        ("search/tags", {}), ("v2/search/tags", {}), ("v2/search/tags", {"scope": "span"}),
        *((f"{version}search/tag/{name}/values", {}) for version in ("", "v2/")
          for name in ("service.name", "resource.service.name", "name", "tenant", "resource.tenant.id", "status", "http.route",
                       "span.http.route", "deployment", "host.name", "rootServiceName", "cloud.account.id")),
        ("echo", {})]
    own = [("tenants", {}), ("incidents", {}), ("budgets", {}), ("reports", {"month": month}), ("reports", {"month": "x"}), ("reports", {}),
           *(("reports", {"month": month, "format": form}) for form in ("html", "json", "csv", "md")),
           ("reports", {"month": month, "tenant": "acme", "format": "html"}), ("reports", {"month": month, "tenant": "globex"}),
           ("nothing", {})]
    pages = [("/", {}), ("/", {"q": "o"}), ("/", {"sort": "tenant"}), ("/", {"sort": "wrong"}), ("/tenants/acme", {}), ("/tenants/globex", {}),
             ("/tenants/no%20tenant", {}), ("/incidents", {}), ("/slo", {}), (f"/traces/{acme_trace}", {}), (f"/traces/{other_trace}", {}), ("/traces/zz", {}), ("/nothing", {})]
    return [*(("/api/v1/" + path, asked) for path, asked in prometheus), *(("/loki/api/v1/" + path, asked) for path, asked in loki),
            *(("/tempo/api/" + path, asked) for path, asked in tempo), *(("/tenantscope/v1/" + path, asked) for path, asked in own), *pages]


OPEN = [("/metrics", {}), ("/-/healthy", {}), ("/-/ready", {})]


def ask(collector, reader, path, parameters, **headers):
    credential = bearer(READERS[reader]) if reader else {}
    return requests.get(collector.url + path, params=parameters, headers={**credential, **headers}, timeout=30, allow_redirects=False)


def leaks(answer):
    raw = answer.content + "\n".join(f"{name}: {value}" for name, value in answer.headers.items()).encode()
    return [word for word in SECRET_WORDS if word in raw.lower()]


@pytest.mark.parametrize("narrowed", [None, "globex", "acme|globex", "acme"])
def test_nothing_of_another_tenant_comes_back(collector, narrowed):
    headers = {"X-Scope-OrgID": narrowed} if narrowed else {}
    leaking, failed = [], []
    for path, parameters in questions() + OPEN:
        for extra in ({}, {"Accept": "application/protobuf"} if "/traces/" in path else {"X-Loki-Response-Encoding-Flags": "categorize-labels"}):
            if extra and "/loki/" not in path and "/traces/" not in path:
                continue
            answer = ask(collector, "acme", path, parameters, **headers, **extra)
            if found := leaks(answer):
                leaking.append((path, parameters, answer.status_code, found, answer.text[:300]))
            if answer.status_code >= 500:
                failed.append((path, parameters, answer.status_code, answer.text[:300]))
    assert leaking == []
    # Only what asks for too little time may be answered with 503.
    assert [one for one in failed if "timeout" not in one[1]] == []


def test_a_reader_sees_its_own(collector):
    """So that the silence above is not a silence about everything."""
    for path, parameters in [
            ("/api/v1/query", {"query": '{__name__=~".+"}'}), ("/api/v1/series", {"match[]": '{__name__=~".+"}'}), ("/api/v1/labels", {}),
            ("/api/v1/metadata", {}), ("/api/v1/query_exemplars", {"query": '{__name__=~".+"}', **window_s()}), ("/api/v1/alerts", {}),
            ("/loki/api/v1/query_range", {"query": '{service_name=~".+"}'}), ("/loki/api/v1/label/service_name/values", {}),
            ("/tempo/api/search", {"q": "{}"}), ("/tempo/api/search/tags", {}), ("/tempo/api/traces/" + b"acme".ljust(16, b"0").hex(), {})]:
        answer = ask(collector, "acme", path, parameters)
        assert "plain" in answer.text, f"{path} {parameters}: {answer.text[:500]}"
    assert "plain" in ask(collector, "acme", "/tenants/acme", {}).text
    assert [i["tenants"] for i in ask(collector, "acme", "/tenantscope/v1/incidents", {}).json()["incidents"]][:1] == [["acme"]]


def test_another_tenant_and_none_look_alike(collector):
    pages = {tenant: ask(collector, "acme", f"/tenants/{tenant}", {}) for tenant in ("globex", "nosuch")}
    assert {answer.status_code for answer in pages.values()} == {404}
    assert pages["globex"].content == pages["nosuch"].content
    for path in ("/api/v1/query?query=up", "/tenantscope/v1/budgets", "/tenantscope/v1/tenants", "/loki/api/v1/labels"):
        narrowed = [ask(collector, "acme", path, {}, **{"X-Scope-OrgID": tenant}) for tenant in ("globex", "nosuch")]
        assert narrowed[0].status_code == narrowed[1].status_code and narrowed[0].content == narrowed[1].content, path


def existing():
    """The questions whose path is a route."""
    return [(path, asked) for path, asked in questions() if not path.endswith("/nothing") and path not in (
        "/nothing", "/api/v1/parse_query", "/api/v1/status/config", "/api/v1/status/flags")]


@pytest.mark.parametrize("headers", [{}, bearer("guessed"), bearer(SENDERS["acme"]), {"X-Scope-OrgID": "acme"},
                                     {"Authorization": "Basic YWNtZTp3cm9uZw=="}, {"Authorization": "nonsense"}],
                         ids=["none", "unknown", "a sender's", "only a scope", "basic", "no form"])
def test_without_a_readers_credential_every_read_is_a_401_with_a_challenge(collector, headers):
    wrong = []
    for path, parameters in existing():
        answer = ask(collector, None, path, parameters, **headers)
        if answer.status_code != 401 or not answer.headers.get("WWW-Authenticate", "").startswith("Basic ") or leaks(answer):
            wrong.append((path, parameters, answer.status_code, answer.text[:100]))
    assert wrong == []
    for path in ("/api/v1/query", "/api/v1/query_range", "/api/v1/series", "/api/v1/labels", "/api/v1/query_exemplars",
                 "/loki/api/v1/query_range", "/loki/api/v1/query", "/loki/api/v1/series"):
        posted = requests.post(collector.url + path, data={"query": "up"}, headers=headers, timeout=30)
        assert posted.status_code == 401, path
    assert [ask(collector, None, path, {}, **headers).status_code for path, _ in OPEN] == [200] * len(OPEN)


def test_the_token_is_taken_as_basics_password(collector):
    answer = requests.get(collector.url + "/api/v1/query", params={"query": "count by (tenant) (orders_all)"}, auth=("me", READERS["acme"]), timeout=30)
    assert [e["metric"]["tenant"] for e in answer.json()["data"]["result"]] == ["acme"]


def test_only_a_reader_of_everything_may_reload_and_read_why_it_failed(collector):
    registry = collector.folder / "tenants.yaml"
    right = registry.read_text()
    registry.write_text(right + "  - {id: globex, accounts: []}\n")
    try:
        reload = lambda token: requests.post(collector.url + "/-/reload", headers=bearer(token) if token else {}, timeout=30)
        answers = {who: reload(token) for who, token in (("nobody", None), ("acme", READERS["acme"]), ("oncall", READERS["oncall"]))}
    finally:
        registry.write_text(right)
    assert [answers[who].status_code for who in ("nobody", "acme", "oncall")] == [401, 403, 500]
    assert leaks(answers["nobody"]) == [] == leaks(answers["acme"])
    assert "tenants.yaml" in answers["oncall"].text


def test_the_log_holds_no_readers_or_senders_token(collector):
    log = collector.log()
    assert [token for token in (*READERS.values(), *SENDERS.values()) if token in log] == []
