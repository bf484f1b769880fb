"""A full disk refuses writes for a while, goes on answering queries, and recovers by itself when there is room."""

import subprocess
import time

import pytest
from collector import eventually
from ledger import CONFIG, Load

DISK_BYTES = 48 << 20


@pytest.fixture
def disk(tmp_path):
    """The collector's data folder on a small disk of its own (which takes root)."""
    folder = tmp_path / "collector" / "data"
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk):
    """Takes all the room there is, to the last byte."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as out:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while out.write(b"\0" * size) == size:
                    pass
            except OSError:
                pass
    return ballast


def test_a_full_disk_puts_off_writes_and_loses_nothing(disk, collectors):
    collector = collectors(CONFIG)
    under_way = Load(collector, 0)
    under_way.start()
    time.sleep(1.5)
    ballast = fill(disk)
    eventually(lambda: (fill(disk), all(sender.put_off for sender in under_way.senders))[1])
    acknowledged = [(sender, len(sender.acknowledged)) for sender in under_way.senders]
    assert collector.value('count(kill_samples{job="samples-0"})', tenant="acme") == 3, "reads go on"
    assert collector.get("/-/healthy").status_code == 200
    time.sleep(1.0)
    ballast.unlink()
    eventually(lambda: all(len(sender.acknowledged) > before for sender, before in acknowledged), seconds=90)
    under_way.finish()
    under_way.check()
    collector.kill()
    collector.start()
    under_way.check()


def test_a_kill_on_a_full_disk_leaves_stores_that_open(disk, collectors):
    collector = collectors(CONFIG)
    under_way = Load(collector, 0)
    under_way.start()
    time.sleep(1.5)
    ballast = fill(disk)
    time.sleep(1.0)
    collector.kill()
    ballast.unlink()
    collector.start()
    under_way.finish()
    under_way.check()
