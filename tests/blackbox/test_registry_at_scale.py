"""An organization of thousands of accounts: read to its end, and a new account at work within a minute.

TENANTSCOPE_ORGANIZATION_ACCOUNTS=6000 is the size of the design, at the rate of calls that is the default; `-s` shows the
times. With fewer accounts the rate and the minute are less by as much, so that a reading has the same part of it.
"""

import os
import sys
import time
from pathlib import Path

import organization
import pytest
from aws import Moto
from collector import eventually
from processes import Process, answers, free_port
from test_registry_organizations import registry, tenant_of

ACCOUNTS = int(os.environ.get("TENANTSCOPE_ORGANIZATION_ACCOUNTS", "600"))
DESIGN = 6000
# Below the size of the design everything goes so much faster: a quarter of a minute for what has a minute there.
FASTER = 1 if ACCOUNTS >= DESIGN else 4
# A call lists so many accounts.
PAGE = 20


class LargeMoto(Moto):
    """moto whose organization has all its accounts from the start."""

    def __init__(self, folder):
        self.port = free_port()
        server = Path(organization.__file__).with_name("large_organization.py")
        self.process = Process("moto", [sys.executable, "-B", server, ACCOUNTS, "-H", "127.0.0.1", "-p", self.port], folder / "moto.log")
        self.process.wait_until(lambda: answers(self.url + "/moto-api/data.json"), 60, "did not answer")


@pytest.fixture
def large(tmp_path):
    running = LargeMoto(tmp_path)
    yield running
    running.stop()


def calls(running, operation):
    return running.own_metric("tenantscope_tenancy_organizations_calls_total", operation=operation, outcome="ok") or 0


def test_all_accounts_are_read_and_a_new_one_is_at_work_within_a_minute(collectors, large):
    made = organization.config(large.url)
    running = collectors(made, start=False)
    running.env = organization.environment(large.url)
    begun = time.monotonic()
    running.start()
    read = eventually(lambda: registry(running)["organization"]["complete"] and registry(running), seconds=60 + ACCOUNTS / 20)
    seconds = time.monotonic() - begun
    # The management account is one of them.
    assert read["organization"]["accounts"] == ACCOUNTS + 1 and read["accounts"] == ACCOUNTS + 1
    assert read["tenants"] == ACCOUNTS + 1 and read["conflicts_total"] == 0
    assert (running.folder / "data" / "registry" / "organization").stat().st_size > ACCOUNTS * 100
    print(f"\n{ACCOUNTS} accounts: read to the end in {seconds:.1f} s at 100 calls a second, which is at most")

    # From here at the rate that others of the organization leave, or less by as much as there are fewer accounts.
    rate, refresh = 8 * ACCOUNTS / DESIGN * FASTER, 30 / FASTER
    made["registry"]["organizations"].update(calls_per_second=rate, refresh=f"{int(refresh * 1000)}ms")
    running.command()
    assert running.session.post(running.url + "/-/reload", timeout=30).status_code == 200
    last = lambda: registry(running)["organization"]["read_ms"]
    first = eventually(lambda: last() != read["organization"]["read_ms"] and last(), seconds=120 / FASTER)
    eventually(lambda: last() != first, seconds=120 / FASTER)
    before = {operation: calls(running, operation) for operation in ("ListAccountsForParent", "ListTagsForResource")}

    # The reading has just ended, and the next one comes to this unit last: that is the longest that it can take.
    members = organization.Organization(large.url, existing=True)
    units = members.client.list_organizational_units_for_parent(ParentId=members.root)["OrganizationalUnits"]
    begun = time.monotonic()
    account = members.account("late", next(unit["Id"] for unit in units if unit["Name"] == "unit-0"), tenant="late")
    # How long that takes is the machine's; how many calls it takes, and so how long at their rate, is ours.
    assert eventually(lambda: tenant_of(running, large, account) == "late", seconds=120)
    seconds = time.monotonic() - begun
    asked = {operation: calls(running, operation) - before[operation] for operation in before}
    print(f"{ACCOUNTS} accounts: a new one at work after {seconds:.1f} s at {rate} calls a second, a reading each {refresh:.1f} s")
    # Known accounts' tags are read with what is left of the calls, never all of them at once.
    assert 0 < asked["ListTagsForResource"] <= max(refresh * rate, 1) * 3 and asked["ListAccountsForParent"] >= 1
    assert sum(asked.values()) <= seconds * rate * 1.3 + 40


def test_what_was_read_holds_at_a_start_at_once(collectors, large):
    running = collectors(organization.config(large.url), start=False)
    running.env = organization.environment(large.url)
    running.start()
    eventually(lambda: registry(running)["organization"]["complete"], seconds=60 + ACCOUNTS / 20)
    running.stop()
    running.env = organization.environment("http://127.0.0.1:9")
    begun = time.monotonic()
    running.start()
    assert registry(running)["accounts"] == ACCOUNTS + 1
    print(f"\n{ACCOUNTS} accounts: there {time.monotonic() - begun:.1f} s after a start without AWS")
