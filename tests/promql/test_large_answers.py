"""Answers of tens of megabytes: sent as fast as they are read, never whole in the collector's memory as text."""

import socket
import threading
import time
import urllib.parse

import pytest
import remote_write
from collector import Collector, eventually
from conftest import program

NOW_S = int(time.time()) - 60
SERIES = 300
STEPS = 11_000
MIB = 1 << 20


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """A collector with so many series of one sample, which a long lookback makes long."""
    running = Collector(program("tenantscope-collector"), tmp_path_factory.mktemp("large") / "collector", {"query": {"max_bytes": "1GiB", "memory_max_bytes": "1GiB"}})
    running.start()
    series = [({"__name__": "long", "n": str(n)}, [((NOW_S - STEPS) * 1000, n + 0.123456789)]) for n in range(SERIES)]
    remote_write.push(running.session, running.url + "/api/v1/write", series).raise_for_status()
    yield running
    running.stop()


def path():
    asked = {"query": "long", "start": NOW_S - STEPS, "end": NOW_S, "step": 1, "lookback_delta": "1d"}
    return "/api/v1/query_range?" + urllib.parse.urlencode(asked)


def resident(running):
    """Resident memory in bytes."""
    with open(f"/proc/{running.process.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def test_a_slow_reader_costs_no_memory_for_text(api):
    """Memory while an answer of about 100 MB is sent, over that at its first byte, stays below a tenth of it."""
    with socket.create_connection(("127.0.0.1", api.ports["http"])) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        connection.sendall(f"GET {path()} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        received = connection.recv(1 << 10)
        assert b" 200 OK" in received
        first, most, size = resident(api), 0, len(received)
        assert api.own_metric("tenantscope_api_prometheus_streams") == 1
        assert api.own_metric("tenantscope_api_prometheus_memory_bytes") > 10 * MIB
        while chunk := connection.recv(4 * MIB):
            size += len(chunk)
            most = max(most, resident(api))
    assert size > 60 * MIB, size
    assert most - first < size / 10, f"{(most - first) / MIB:.1f} MiB more for {size / MIB:.1f} MiB"
    eventually(lambda: api.own_metric("tenantscope_api_prometheus_memory_bytes") == 0)
    assert api.own_metric("tenantscope_api_prometheus_streams") == 0


def test_a_client_that_goes_away_frees_its_answer(api):
    with socket.create_connection(("127.0.0.1", api.ports["http"])) as connection:
        connection.sendall(f"GET {path()} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b" 200 OK" in connection.recv(1 << 10)
        assert api.own_metric("tenantscope_api_prometheus_memory_bytes") > 10 * MIB
    eventually(lambda: api.own_metric("tenantscope_api_prometheus_memory_bytes") == 0)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_large_answer_may_be_compressed(api, coding):
    import cramjam
    answer = api.session.get(api.url + path(), headers={"Accept-Encoding": coding}, stream=True, timeout=120)
    assert answer.headers["Content-Encoding"] == coding
    body = answer.raw.read(decode_content=False)
    text = bytes(getattr(cramjam, coding).decompress(body))
    assert len(body) < len(text) / 5
    assert text.count(b'"metric"') == SERIES and text.count(b'.123456789"]') == SERIES * (STEPS + 1)


def test_small_queries_are_answered_while_large_answers_are_sent(api):
    def slow():
        with socket.create_connection(("127.0.0.1", api.ports["http"])) as connection:
            connection.sendall(f"GET {path()} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            connection.recv(1 << 10)
            done.wait(60)

    done = threading.Event()
    readers = [threading.Thread(target=slow) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        eventually(lambda: api.own_metric("tenantscope_api_prometheus_streams") == 3)
        assert api.value("count(long)", time_s=NOW_S - STEPS) == SERIES
    finally:
        done.set()
        for reader in readers:
            reader.join()
