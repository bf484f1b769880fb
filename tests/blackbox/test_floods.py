"""Floods of HTTP/2 on every listener: the right goodbye, a counter, memory that comes back, and the others served."""

import struct
import threading
import time

import h2.events
import h2.settings
import http2
import otlp
import pytest
from collector import eventually
from http2 import END_HEADERS, END_STREAM, frame

PATHS = {"otlp_grpc": "/opentelemetry.proto.collector.logs.v1.LogsService/Export", "otlp_http": "/v1/logs",
         "http": "/api/v1/query?query=1"}
ENOUGH = 50_000


@pytest.fixture(params=PATHS)
def listener(request, collector):
    """A listener that is to be flooded, beside one who must be served all the while; afterwards all is as before."""
    collector.listener, collector.path = request.param, PATHS[request.param]
    served(collector)
    collector.get("/metrics")
    time.sleep(0.5)
    before = collector.process.resident_bytes()
    connections = collector.own_metric("tenantscope_wire_connections")
    slowest, stop = [0.0], threading.Event()

    def other():
        while not stop.is_set():
            began = time.monotonic()
            served(collector)
            slowest[0] = max(slowest[0], time.monotonic() - began)
            time.sleep(0.05)

    thread = threading.Thread(target=other)
    thread.start()
    yield collector
    stop.set()
    thread.join()
    assert slowest[0] < 10, f"somebody else waited {slowest[0]:.1f} s"
    served(collector)
    eventually(lambda: collector.own_metric("tenantscope_wire_connections") <= connections + 1)
    eventually(lambda: collector.process.resident_bytes() < before * 1.1 + (32 << 20))
    assert collector.process.child.poll() is None


def served(collector):
    answer = collector.send("metrics", otlp.gauge_json("alive", 1.0), tenant="other")
    assert answer.status_code == 200, answer.text


def connect(collector, settings=None):
    return http2.Connection(collector.ports[collector.listener], settings)


def ended(collector, reason):
    return collector.own_metric("tenantscope_wire_ended_connections_total", reason=reason)


def ended_as_a_flood(collector, connection):
    """The connection was ended, with the right word for it if that could still be read, and counted."""
    code = connection.goodbye()
    assert code == http2.ENHANCE_YOUR_CALM or (code is None and connection.is_over), code
    eventually(lambda: ended(collector, "flood") >= 1)


def test_streams_that_are_reset_as_soon_as_they_are_opened(listener):
    """CVE-2023-44487."""
    with connect(listener) as connection:
        for stream in range(1, 2 * ENOUGH, 2):
            block = connection.block(listener.path)
            if not connection.raw(frame(http2.HEADERS, block, END_HEADERS, stream)
                                  + frame(http2.RST_STREAM, struct.pack(">I", http2.CANCEL), 0, stream)):
                break
        ended_as_a_flood(listener, connection)


def test_headers_that_never_end(listener):
    """CVE-2024-27316."""
    with connect(listener) as connection:
        went = connection.raw(frame(http2.HEADERS, connection.block(listener.path), END_STREAM, 1))
        # A literal that nobody is to remember.
        more = frame(http2.CONTINUATION, b"\x10\x01x\x10" + b"y" * 16, 0, 1)
        for _ in range(ENOUGH):
            went = went and connection.raw(more)
        ended_as_a_flood(listener, connection)


@pytest.mark.parametrize("kind, payload", [("pings", frame(http2.PING, b"12345678")), ("settings", frame(http2.SETTINGS))])
def test_frames_that_want_an_answer(listener, kind, payload):
    """CVE-2019-9512 and -9515: answers that the peer does not read must not pile up."""
    with connect(listener) as connection:
        connection.socket.settimeout(2)
        went, enough = 0, 2000
        for _ in range(enough):
            if not connection.raw(payload * 2000):
                break
            went += 1
        # Whoever does not read its answers is not read any more, or the connection is over: most of it never came in.
        assert went < enough, "no end of frames was taken in while nobody read the answers"


def test_more_streams_than_allowed(listener):
    with connect(listener) as connection:
        most = connection.h2.remote_settings.max_concurrent_streams
        assert 1 < most <= 256
        headers = [("content-type", "application/grpc" if listener.listener == "otlp_grpc" else "application/x-protobuf")]
        # Requests that wait for their bodies, so that the streams stay.
        path = PATHS["otlp_http"] if listener.listener == "http" else listener.path
        for stream in range(1, 2 * most, 2):
            short = connection.block(path, [*headers, ("content-length", "100")])
            connection.raw(frame(http2.HEADERS, short, END_HEADERS, stream))
        over = 2 * most + 1
        connection.raw(frame(http2.HEADERS, connection.block(path, headers), END_HEADERS | END_STREAM, over))
        # The one more is refused on its own, so that a client may try it again; the others stay.
        assert connection.reset_of(over) == http2.REFUSED_STREAM


def test_readers_that_do_not_read(listener):
    """CVE-2019-9511, -9517: a window of nothing, and requests whose answers wait for it."""
    settings = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0}
    connections = [connect(listener, settings) for _ in range(20)]
    for connection in connections:
        for _ in range(100):
            connection.ask(listener.path, method="GET" if listener.listener == "http" else "POST")
    time.sleep(1)
    for connection in connections:
        connection.socket.close()


def test_headers_of_a_mebibyte(listener):
    with connect(listener) as connection:
        block = connection.h2.encoder.encode(connection.headers(listener.path, [("x", "y" * (1 << 20))]), huffman=False)
        parts = [block[at:at + 16_384] for at in range(0, len(block), 16_384)]
        data = b""
        for number, part in enumerate(parts):
            flags = (END_STREAM if number == 0 else 0) | (END_HEADERS if number == len(parts) - 1 else 0)
            data += frame(http2.CONTINUATION if number else http2.HEADERS, part, flags, 1)
        connection.raw(data)
        # 431, or a goodbye: hyper's HTTP/2 stops reading headers that are far over what it advertised.
        status = connection.status(1)
        assert status == 431 or connection.is_over or connection.goodbye() is not None, status
