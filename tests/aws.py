"""moto as AWS."""

import sys
from pathlib import Path

from processes import Process, answers, free_port


class Moto:
    """The demo's moto; with `checked_after`, signatures and IAM are checked after so many set-up calls."""

    def __init__(self, folder, checked_after=None):
        self.port = free_port()
        env = {} if checked_after is None else {"INITIAL_NO_AUTH_ACTION_COUNT": str(checked_after)}
        server = Path(__file__).parents[1] / "deploy" / "demo" / "fleet" / "aws_server.py"
        self.process = Process("moto", [sys.executable, "-B", server, "-H", "127.0.0.1", "-p", self.port], Path(folder) / "moto.log", env=env)
        self.process.wait_until(lambda: answers(self.url + "/moto-api/data.json"), 60, "did not answer")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def stop(self):
        self.process.stop()
