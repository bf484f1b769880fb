"""What the demo promises, asked of the running demo through the interfaces that its users have."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request

from pathlib import Path

import cloud

DASHBOARDS = Path(__file__).resolve().parents[3] / "dashboards" / "grafana"


class Check:
    """One promise: a name and a question that is asked again until it is answered with yes, or time runs out."""

    def __init__(self, name, ask):
        self.name, self.ask = name, ask

    def wait(self, deadline):
        """None when the promise is kept, else the last reason why not."""
        reason = "not asked"
        while True:
            try:
                reason = self.ask()
            except (OSError, urllib.error.URLError, KeyError, ValueError) as error:
                reason = f"{type(error).__name__}: {error}"
            if reason is None or time.monotonic() > deadline:
                return reason
            time.sleep(1)


def get(url, tenant=None):
    request = urllib.request.Request(url, headers={"X-Scope-OrgID": tenant} if tenant else {})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


class Questions:
    """The questions, over a running stack."""

    def __init__(self, stack):
        self.stack = stack
        self.collector = stack.url("collector")

    def query(self, expression, tenant=None):
        """An instant query's elements."""
        answer = get(f"{self.collector}/api/v1/query?{urllib.parse.urlencode({'query': expression})}", tenant)
        return answer["data"]["result"]

    def checks(self):
        accounts = self.stack.accounts
        for account in accounts:
            yield Check(f"{account.tenant}: CloudWatch metrics", lambda a=account: self.metrics(a))
            yield Check(f"{account.tenant}: the application's OTLP metrics", lambda a=account: self.otlp(a))
            yield Check(f"{account.tenant}: logs", lambda a=account: self.logs(a))
            yield Check(f"{account.tenant}: X-Ray traces", lambda a=account: self.traces(a))
        yield Check("every series is under the tenant of its account", self.tenants_are_true)
        yield Check("a narrowed reader sees its tenant alone", self.narrowed)
        yield Check(f"{cloud.BAD_TENANT}: the alert fires", self.alert_fires)
        if "alertmanager" in self.stack.ports:
            yield Check(f"{cloud.BAD_TENANT}: the alert is in Alertmanager", self.alert_in_alertmanager)
        yield Check(f"{cloud.BAD_TENANT}: the alert is at the webhook", self.alert_at_webhook)
        yield Check(f"{cloud.BAD_TENANT}: its error budget shrinks", self.budget_shrinks)
        yield Check("the fleet page names every tenant", self.fleet_page)
        for path in sorted(DASHBOARDS.glob("*.json")):
            for panel in json.loads(path.read_text())["panels"]:
                yield Check(f"dashboard {path.stem}, {panel['title']}", lambda p=panel: self.panel(p))

    def metrics(self, account):
        found = self.query(f'aws_lambda_invocations_sum{{tenant="{account.tenant}"}}')
        functions = {element["metric"].get("dimension_FunctionName") for element in found}
        return None if {"api", "worker"} <= functions else f"functions found: {functions}"

    def otlp(self, account):
        found = self.query(f'sum(http_server_request_duration_seconds_count{{tenant="{account.tenant}"}})')
        return None if found and float(found[0]["value"][1]) > 0 else "no http_server_request_duration_seconds_count"

    def logs(self, account):
        selector = urllib.parse.urlencode({"query": f'{{tenant="{account.tenant}"}} |= "order placed"', "limit": 10})
        streams = get(f"{self.collector}/loki/api/v1/query_range?{selector}")["data"]["result"]
        accounts = {stream["stream"].get("account_id") for stream in streams}
        return None if accounts == {account.id} else f"accounts of the log lines found: {accounts}"

    def traces(self, account):
        wanted = urllib.parse.urlencode({"tags": f"tenant={account.tenant} service.name=shop", "limit": 5})
        traces = get(f"{self.collector}/tempo/api/search?{wanted}")["traces"]
        if not traces:
            return "no trace of service shop"
        trace = json.dumps(get(f"{self.collector}/tempo/api/traces/{traces[0]['traceID']}", account.tenant))
        wanted = ["DynamoDB", "payments.example.com", account.id]
        missing = [text for text in wanted if text not in trace]
        return None if not missing else f"trace {traces[0]['traceID']} lacks {missing}"

    def tenants_are_true(self):
        owners = {account.id: account.tenant for account in self.stack.accounts}
        found = self.query('count by (tenant, account_id) ({account_id!=""})')
        wrong = [e["metric"] for e in found if owners.get(e["metric"]["account_id"]) != e["metric"].get("tenant")]
        if wrong or len(found) != len(owners):
            return f"{len(found)} accounts have series, wrong: {wrong}"
        return None

    def narrowed(self):
        tenant = self.stack.accounts[0].tenant
        found = self.query('count by (tenant) ({__name__=~".+"})', tenant)
        tenants = [element["metric"].get("tenant") for element in found]
        return None if tenants == [tenant] else f"tenants seen: {tenants}"

    def alert_fires(self):
        alerts = get(f"{self.collector}/api/v1/alerts")["data"]["alerts"]
        return self.is_bad_tenants_alert((a["labels"] for a in alerts if a["state"] == "firing"))

    def alert_in_alertmanager(self):
        return self.is_bad_tenants_alert(a["labels"] for a in get(self.stack.url("alertmanager") + "/api/v2/alerts"))

    def alert_at_webhook(self):
        path = self.stack.folder / "webhook.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return self.is_bad_tenants_alert(a["labels"] for line in lines for a in json.loads(line)["alerts"])

    @staticmethod
    def is_bad_tenants_alert(label_sets):
        tenants = {labels.get("tenant") for labels in label_sets if labels.get("alertname") == "LambdaErrors"}
        return None if tenants == {cloud.BAD_TENANT} else f"LambdaErrors for {tenants or 'nobody'}"

    def budget_shrinks(self):
        budgets = get(f"{self.collector}/tenantscope/v1/budgets")["budgets"]
        left = {b["tenant"]: b["remaining_ratio"] for b in budgets if b["objective"] == "orders-availability"}
        if set(left) != {account.tenant for account in self.stack.accounts}:
            return f"budgets of {sorted(left)}"
        others = min(value for tenant, value in left.items() if tenant != cloud.BAD_TENANT)
        return None if left[cloud.BAD_TENANT] < others else f"budgets left: {left}"

    def fleet_page(self):
        with urllib.request.urlopen(self.collector + "/", timeout=10) as response:
            page = response.read().decode()
        missing = [a.tenant for a in self.stack.accounts if f"/tenants/{a.tenant}" not in page]
        return None if not missing else f"no link to {missing}"

    def panel(self, panel):
        """Every query of a Grafana panel has an answer."""
        silent = [t for t in panel["targets"] if not self.answer(t)]
        return None if not silent else f"no answer to {[t.get('expr') or t.get('query') for t in silent]}"

    def answer(self, target):
        kind = target["datasource"]["type"]
        expression = target.get("expr") or target["query"]
        for variable, value in [("$tenant", cloud.BAD_TENANT), ("$__rate_interval", "1m"), ("$__interval", "15s")]:
            expression = expression.replace(variable, value)
        now = time.time()
        window = {"start": f"{now - 600:.3f}", "end": f"{now:.3f}"}
        if kind == "loki":
            window = {"start": str(int((now - 600) * 1e9)), "end": str(int(now * 1e9)), "query": expression}
            return get(f"{self.collector}/loki/api/v1/query_range?{urllib.parse.urlencode(window)}")["data"]["result"]
        if kind == "tempo":
            window = {"start": int(now - 600), "end": int(now + 1), "q": expression}
            return get(f"{self.collector}/tempo/api/search?{urllib.parse.urlencode(window)}")["traces"]
        if target["instant"]:
            return self.query(expression)
        window = urllib.parse.urlencode({**window, "step": 15, "query": expression})
        return get(f"{self.collector}/api/v1/query_range?{window}")["data"]["result"]
