"""A disk whose fsync fails, and that then has lost what it was to make durable: no acknowledged record goes with it.

The disk is a library preloaded into the collector (lost_writes.c), whose fault is switched by a file.
"""

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from collector import eventually
from ledger import CONFIG, Load

SEED = int(os.environ.get("TENANTSCOPE_SEED") or random.SystemRandom().randrange(2**32))
COMPILER = shutil.which("cc")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


class Disk:
    """The switch of the fault."""

    def __init__(self, folder, collector):
        library, self.switch = folder / "lost_writes.so", folder / "fault"
        source = Path(__file__).parent / "lost_writes.c"
        subprocess.run([COMPILER, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        collector.env = {"LD_PRELOAD": str(library), "FAULT_FILE": str(self.switch),
                         "FAULT_UNDER": str(collector.folder.resolve() / "data")}

    def fail(self):
        self.switch.touch()

    def mend(self):
        self.switch.unlink(missing_ok=True)


@pytest.fixture
def collector(collectors):
    return collectors(CONFIG, start=False)


@pytest.fixture
def disk(tmp_path, collector):
    return Disk(tmp_path, collector)


def test_a_failing_fsync_puts_off_writes_and_loses_nothing(disk, collector):
    collector.start()
    under_way = Load(collector, 0)
    under_way.start()
    time.sleep(1.5)
    disk.fail()
    eventually(lambda: all(sender.put_off for sender in under_way.senders))
    acknowledged = [(sender, len(sender.acknowledged)) for sender in under_way.senders]
    assert collector.value('count(kill_samples{job="samples-0"})', tenant="acme") == 3, "reads go on"
    assert collector.get("/-/healthy").status_code == 200
    time.sleep(1.0)
    disk.mend()
    eventually(lambda: all(len(sender.acknowledged) > before for sender, before in acknowledged), seconds=90)
    under_way.finish()
    under_way.check()
    collector.kill()
    collector.start()
    under_way.check()


def test_fsyncs_that_fail_now_and_then_lose_nothing(disk, collector):
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    collector.start()
    under_way = Load(collector, 0)
    under_way.start()
    for _ in range(12):
        time.sleep(chance.uniform(0.1, 0.6))
        disk.fail()
        time.sleep(chance.uniform(0.0, 0.15))
        disk.mend()
    time.sleep(0.5)
    collector.kill()
    collector.start()
    under_way.finish()
    assert all(sender.acknowledged for sender in under_way.senders), "a sender came to nothing"
    under_way.check()


def test_a_kill_while_fsync_fails_leaves_stores_that_open(disk, collector):
    collector.start()
    under_way = Load(collector, 0)
    under_way.start()
    time.sleep(1.5)
    disk.fail()
    time.sleep(1.0)
    collector.kill()
    disk.mend()
    collector.start()
    under_way.finish()
    under_way.check()
