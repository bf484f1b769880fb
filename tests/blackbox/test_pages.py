"""The built-in pages in a real browser, over data like the demo's and with its rules and objective."""

import html.parser
import json
import os
import re
import secrets
import shutil
import subprocess
import time
from pathlib import Path

import otlp
import pytest
import remote_write
import requests
from collector import Collector, eventually
from conftest import ROOT, program

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DEMO = ROOT / "deploy" / "demo" / "config"
TENANTS = ["acme", "globex", "initech"]
BAD = "globex"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    """A collector with an hour of three tenants' data; one of them is bad."""
    running = Collector(program("tenantscope-collector"), tmp_path_factory.mktemp("pages") / "collector",
                        {"rules": [str(DEMO / "rules" / "*.yaml")], "objectives": [str(DEMO / "slo" / "*.yaml")]})
    running.start()
    for tenant in TENANTS:
        send_demo_like(running, tenant)
    eventually(lambda: "LambdaErrors" in running.get("/tenantscope/v1/incidents").text, seconds=45)
    eventually(lambda: len(running.get("/tenantscope/v1/budgets").json()["budgets"]) == len(TENANTS))
    yield running
    running.stop()


def send_demo_like(collector, tenant):
    now_s = int(time.time()) // 60 * 60
    minutes = [(now_s - 60 * back) * 1000 for back in range(60, -2, -1)]
    errors = 30.0 if tenant == BAD else 0.1
    series = []
    for function in ("api", "worker"):
        labels = {"dimension_FunctionName": function}
        for name, value in (("invocations_sum", 100.0), ("errors_sum", errors), ("duration_average", 40.0), ("duration_maximum", 90.0)):
            series.append(({"__name__": f"aws_lambda_{name}", **labels}, [(t, value) for t in minutes]))
    series.append(({"__name__": "aws_sqs_approximate_number_of_messages_visible_average", "dimension_QueueName": MARKUP},
                   [(t, 5.0) for t in minutes]))
    scope = {"X-Scope-OrgID": tenant}
    assert remote_write.push(collector.session, collector.url + "/api/v1/write", series, scope).status_code in (200, 204)
    collector.send("logs", otlp.logs([f"payment declined {MARKUP}"], {"service.name": "shop"}, severity="ERROR"), tenant=tenant)
    collector.send("logs", otlp.logs(["order placed"], {"service.name": "shop"}), tenant=tenant)
    collector.send("traces", otlp.spans(["POST /orders", "PutItem"], {"service.name": "shop"}, trace_id=secrets.token_bytes(16),
                                        duration_ms=300, error=tenant == BAD), tenant=tenant)


class Page(html.parser.HTMLParser):
    """What a page has: its links, headings, tables' cells, tags."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text, self.identifiers = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        if tag == "a":
            self.links.append(given.get("href"))
        if "id" in given:
            self.identifiers.append(given["id"])

    def handle_data(self, data):
        self.text.append(data)

    def count(self, tag):
        return sum(1 for name, _ in self.tags if name == tag)


PAGES = ["/", f"/tenants/{BAD}", "/accounts", "/incidents", "/slo"]


AXE = "4.10.3"


def browse(url, profile):
    """The page's document after the browser ran it, and what it said on its console."""
    done = subprocess.run([BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                           "--disable-background-networking", "--disable-component-update", "--proxy-server=direct://",
                           f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000",
                           "--dump-dom", url], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def axe():
    """axe-core's text, from npm."""
    folder = Path(os.environ.get("TENANTSCOPE_CACHE", Path.home() / ".cache" / "tenantscope")) / f"axe-{AXE}"
    file = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not file.exists():
        npm = shutil.which("npm")
        done = npm and subprocess.run([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, f"axe-core@{AXE}"],
                                      capture_output=True, timeout=120)
        if not done or done.returncode:
            pytest.skip("axe-core is not to be had")
    return file.read_text()


@pytest.fixture(scope="module")
def rendered(collector, tmp_path_factory):
    """Each page as the browser has it after it ran, with what it said on its console."""
    if not BROWSER:
        pytest.skip("no Chromium here")
    profile = tmp_path_factory.mktemp("browser")
    pages = {}
    for path in PAGES:
        pages[path] = browse(collector.url + path, profile)
    return pages


@pytest.mark.parametrize("path", PAGES)
def test_a_browser_has_nothing_to_complain_about(rendered, path):
    dom, console = rendered[path]
    assert console == []
    page = Page(dom)
    assert page.count("h1") == 1 and page.count("main") == 1 and page.count("nav") >= 1
    assert {"lang": "en"}.items() <= dict(next(given for tag, given in page.tags if tag == "html")).items()
    assert len(page.identifiers) == len(set(page.identifiers)), "an id is there twice"
    assert "could not be read" not in " ".join(page.text)


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_no_violation(rendered, axe, tmp_path, path):
    # From a file, where the page's policy does not forbid the script.
    run = "axe.run().then(r => { document.body.innerHTML = ''; document.body.textContent = JSON.stringify(r.violations); })"
    page = tmp_path / "page.html"
    page.write_text(rendered[path][0].replace("</body>", f"<script>{axe}</script><script>{run}</script></body>"))
    dom, _ = browse(page.as_uri(), tmp_path / "browser")
    violations = json.loads("".join(Page(dom[dom.index("<body"):]).text))
    assert [(v["id"], v["help"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"][:300]) for v in violations] == []


def test_the_fleet_page_has_every_tenant_the_worst_first(rendered):
    page = Page(rendered["/"][0])
    tenants = [link for link in page.links if link.startswith("/tenants/")]
    assert tenants[0] == f"/tenants/{BAD}" and set(tenants) == {f"/tenants/{tenant}" for tenant in TENANTS}
    text = " ".join(" ".join(page.text).split())
    assert "3 tenants" in text and "30 %" in text, text


def test_the_tenant_page_has_plots_alert_logs_and_traces(rendered):
    dom, _ = rendered[f"/tenants/{BAD}"]
    page = Page(dom)
    text = " ".join(" ".join(page.text).split())
    assert page.count("svg") >= 4 and page.count("polyline") + page.count("path") >= 4
    for expected in ("LambdaErrors", "30% of Lambda invocations fail", "payment declined", "POST /orders", "Invocations each minute", "api"):
        assert expected in text, f"{expected!r} is not in {text}"
    assert "order placed" not in text, "that is no error"
    # What senders write is text, whatever it looks like.
    assert MARKUP in text and page.count("script") == 0 and page.count("img") == 0


def test_the_incidents_page_says_who_and_how_far(rendered):
    text = " ".join(" ".join(Page(rendered["/incidents"][0]).text).split())
    for expected in ("LambdaErrors", "single", BAD, "30% of Lambda invocations fail"):
        assert expected in text
    assert not any(tenant in text for tenant in TENANTS if tenant != BAD)


def test_the_fleet_and_a_tenants_page_say_the_same_budget_of_the_same_time(collector):
    def text(path):
        return " ".join(" ".join(Page(requests.get(collector.url + path, timeout=30).text).text).split())

    def both():
        fleet, tenant = text("/"), text(f"/tenants/{BAD}")
        at = [re.search(r"as of (\d\d:\d\d:\d\d) UTC", page) for page in (fleet, tenant)]
        left = re.search(r"(\S+ ?%) budget left of", tenant)
        row = fleet[fleet.rindex(f" {BAD} "):]
        return all(at) and at[0].group(1) == at[1].group(1) and left and left.group(1) in row

    eventually(both, seconds=180)


def test_the_objectives_page_has_each_tenants_budget(rendered):
    page = Page(rendered["/slo"][0])
    text = " ".join(" ".join(page.text).split())
    assert "orders-availability" in text or "Orders are placed" in text
    for tenant in TENANTS:
        assert tenant in text


def test_every_link_leads_somewhere_here(collector):
    seen, wrong, waiting = set(), [], ["/"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = requests.get(collector.url + path, timeout=30)
        if answer.status_code != 200:
            wrong.append((path, answer.status_code))
        if not answer.headers.get("Content-Type", "").startswith("text/html"):
            continue
        page = Page(answer.text)
        for link in page.links:
            if link.startswith("#"):
                assert link[1:] in page.identifiers, f"{path} links to {link}"
                continue
            assert link.startswith("/") and not link.startswith("//"), f"{path} links to {link}"
            waiting.append(link)
    assert wrong == []
    assert {f"/tenants/{tenant}" for tenant in TENANTS} | {"/incidents", "/slo"} <= seen
    assert sum(path.startswith("/traces/") for path in seen) == len(TENANTS)


@pytest.mark.parametrize("path", PAGES + ["/tenants/nosuch"])
def test_a_page_needs_nothing_from_elsewhere_and_is_not_cached(collector, path):
    answer = requests.get(collector.url + path, timeout=30)
    assert answer.headers["Cache-Control"] == "no-store" and "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not re.search(r"""<(script|iframe|img)\b|@import|url\(|(?:src|href)=["']?https?:""", answer.text)
    assert all(given.get("href", "").startswith("data:") for tag, given in Page(answer.text).tags if tag == "link")


def test_search_and_sorting_hold_for_any_text(collector):
    for asked in ({"q": MARKUP}, {"q": "glob"}, {"sort": "tenant"}, {"sort": "errors", "page": "99999999"}, {"q": "x" * 5000}):
        answer = requests.get(collector.url + "/", params=asked, timeout=30)
        assert answer.status_code == 200 and "<script" not in answer.text and "<img" not in answer.text
    assert [link for link in Page(requests.get(collector.url + "/?q=glob", timeout=30).text).links if link.startswith("/tenants/")] == \
        ["/tenants/globex"]
