"""Processes on free loopback ports: start, wait until ready, stop by process id."""

import collections
import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path


class NotReady(Exception):
    """A process ended or did not answer in time; the message holds the end of its log."""


# Below the range from which Linux gives outgoing connections their ports, so that none of those takes a port between
# its choice here and the start of the program that is to listen on it.
PORTS = range(15000, 32000)


# Whoever asked for them may not listen there yet.
_given_lately = collections.deque(maxlen=200)


def free_port(preferred=None):
    """A free loopback port that was not given lately: the preferred one if nobody has it."""
    candidates = ([preferred] if preferred else []) + random.sample(PORTS, 300)
    for port in candidates:
        if port in _given_lately:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given_lately.append(port)
            return port
    raise NotReady("no free loopback port")


def answers(url, timeout=2):
    """Whether a GET of the URL is answered with a status below 400."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return response.status < 400
    except (OSError, urllib.error.URLError, ValueError):
        return False


def listens(port):
    """Whether something accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A child with its log in a file."""

    def __init__(self, name, command, log, env=None, cwd=None):
        self.name = name
        self.command = [str(part) for part in command]
        self.log = Path(log)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # A session of its own: a Ctrl-C at the terminal reaches the driver, which stops its children in order.
        with self.log.open("ab") as out:
            self.child = subprocess.Popen(
                self.command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True)

    @property
    def pid(self):
        return self.child.pid

    def running(self):
        return self.child.poll() is None

    def wait_until(self, condition, seconds, what):
        """Waits until the condition holds; fails at once if the process ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.running():
                raise NotReady(f"{self.name} ended with {self.child.returncode}:\n{self.tail()}")
            if condition():
                return
            time.sleep(0.1)
        raise NotReady(f"{self.name}: {what} not within {seconds} s:\n{self.tail()}")

    def tail(self, lines=15):
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join("    " + line for line in text[-lines:])

    def stop(self, seconds=20):
        """SIGTERM, then SIGKILL; returns the exit code."""
        return stop_child(self.child, seconds)

    def kill(self):
        """kill -9."""
        self.child.kill()
        return self.child.wait()

    def resident_bytes(self):
        return resident_bytes(self.pid)


def stop_child(child, seconds):
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return child.returncode


def resident_bytes(pid):
    """Resident memory of a process, from /proc."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


class Started:
    """The file that says what runs: process ids with their start times, so that a reused id is never stopped."""

    def __init__(self, path):
        self.path = Path(path)

    def write(self, processes, **more):
        entries = [{"name": p.name, "pid": p.pid, "started": start_time(p.pid)} for p in processes if p.running()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({"processes": entries, **more}, indent=1))

    def read(self):
        return json.loads(self.path.read_text()) if self.path.exists() else None

    def running(self):
        entries = (self.read() or {}).get("processes", [])
        return [e for e in entries if start_time(e["pid"]) == e["started"]]

    def stop(self, say):
        """Stops in the order in which they are listed, the last started first."""
        for entry in reversed(self.running()):
            say(f"stopping {entry['name']} (pid {entry['pid']})")
            stop_pid(entry["pid"], entry["started"])
        self.path.unlink(missing_ok=True)


def start_time(pid):
    """When the kernel started the process, in its own ticks; None where there is no such process (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def stop_pid(pid, started, seconds=20):
    for name in (signal.SIGTERM, signal.SIGKILL):
        if start_time(pid) != started:
            return
        try:
            os.kill(pid, name)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and start_time(pid) == started:
            time.sleep(0.1)
