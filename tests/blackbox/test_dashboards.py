"""The dashboards are what their source says; `deploy/demo/up --check` asks their queries of real data."""

import subprocess

from conftest import ROOT


def test_dashboards_are_current():
    assert subprocess.run([ROOT / "dashboards" / "build", "--check"], check=False).returncode == 0
