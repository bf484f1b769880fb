"""Fixtures: real programs on free loopback ports, stopped by process id."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "deploy" / "demo" / "fleet"), str(ROOT / "tests")]

from collector import Collector  # noqa: E402  (the path is set above)
from aws import Moto  # noqa: E402


def program(name):
    """A program of ours, built by tests/run; TENANTSCOPE_PROGRAMS names another folder (say, release)."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return Path(os.environ.get("TENANTSCOPE_PROGRAMS", target / "debug")) / name


@pytest.fixture
def collector(tmp_path):
    """A collector in open mode."""
    running = Collector(program("tenantscope-collector"), tmp_path / "collector")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def collectors(tmp_path):
    """Makes collectors, each in a folder of its own: `collectors(config=…, name=…)`; they are stopped at the end."""
    made = []

    def make(config=None, name="collector", start=True):
        running = Collector(program("tenantscope-collector"), tmp_path / name, config)
        made.append(running)
        if start:
            running.start()
        return running

    yield make
    for running in reversed(made):
        running.stop()


@pytest.fixture
def moto(tmp_path):
    """An AWS that checks nothing."""
    running = Moto(tmp_path)
    yield running
    running.stop()
