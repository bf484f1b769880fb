"""The tag-policy report and the document of our own API."""

import organization
import pytest
from collector import eventually

POLICY = [{"tag": "tier", "values": ["gold", "silver", "bronze"]}, {"tag": "cost-center"}]


@pytest.fixture
def running(collectors, moto):
    members = organization.Organization(moto.url)
    made = {
        "good": members.account("good", tenant="good", tier="gold", **{"cost-center": "1"}),
        "missing": members.account("missing", tenant="missing", tier="gold"),
        "misspelled": members.account("misspelled", tenant="misspelled", Tier="gold", **{"cost-center": "1"}),
        "value": members.account("value", tenant="value", tier="silvr", **{"cost-center": "1"}),
        "closed": members.account("closed", tenant="closed"),
    }
    members.close(made["closed"])
    started = collectors(organization.config(moto.url, tag_policy=POLICY), start=False)
    started.env = organization.environment(moto.url)
    started.start()
    started.made, started.members = made, members
    return started


def report(running, tenant=None):
    answer = running.get("/tenantscope/v1/tag-policy", tenant)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_accounts_that_lack_or_misspell_a_required_tag(running):
    # moto's management account has no tag of this policy; it is an account like any other.
    found = {finding["account"]: finding for finding in report(running)["findings"] if finding["tenant"] in running.made}
    made = running.made
    assert set(found) == {made["missing"], made["misspelled"], made["value"]}
    assert (found[made["missing"]]["tag"], found[made["missing"]]["problem"]) == ("cost-center", "missing")
    wrong = found[made["misspelled"]]
    assert (wrong["tag"], wrong["problem"], wrong["found_tag"], wrong["found_value"]) == ("tier", "misspelled", "Tier", "gold")
    wrong = found[made["value"]]
    assert (wrong["problem"], wrong["found_value"], wrong["suggested_value"]) == ("value", "silvr", "silver")
    page = running.get("/accounts").text
    assert "misspelled" in page and "silvr" in page

    running.members.tag(made["value"], tier="silver")
    eventually(lambda: made["value"] not in {finding["account"] for finding in report(running)["findings"]}, seconds=20)


def test_a_tenant_sees_its_own_findings_alone(running):
    own = report(running, tenant="value")
    assert own["accounts"] == 1 and {finding["tenant"] for finding in own["findings"]} == {"value"}
    page = running.get("/accounts", tenant="value").text
    assert "silvr" in page and running.made["missing"] not in page and "AWS Organizations" not in page


def test_a_reload_changes_the_policy(running):
    running.config["registry"]["tag_policy"] = []
    running.command()
    assert running.session.post(running.url + "/-/reload", timeout=30).status_code == 200
    assert report(running) == {"accounts": 0, "findings": []}


def test_the_document_names_routes_that_are_there(running):
    document = running.get("/tenantscope/v1/openapi.json").json()
    assert document["openapi"].startswith("3.")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answer = running.session.request(method, running.url + path, timeout=30, params={"month": "2026-10", "tenant": "nosuch"}
                                             if "reports" in path or "removals" in path else None)
            documented = {int(status) for status in operation["responses"]}
            if "reports" in path:
                documented.add(404)
            assert answer.status_code in documented, (method, path, answer.status_code, answer.text)
