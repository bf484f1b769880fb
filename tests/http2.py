"""HTTP/2 as an attacker speaks it: `h2` for what is allowed, frames by hand for what is not."""

import socket
import struct
import time

import h2.config
import h2.connection
import h2.events
import h2.settings

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 7, 8, 11


def frame(kind, payload=b"", flags=0, stream=0):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Connection:
    """One connection; `events` is all that came so far."""

    def __init__(self, port, settings=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
        self.h2.initiate_connection()
        if settings:
            self.h2.update_settings(settings)
        self.events = []
        self.is_over = False
        self.flush()
        self.until(h2.events.RemoteSettingsChanged)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        self.raw(self.h2.data_to_send())

    def raw(self, data):
        """Sends bytes as they are; False where the other side has had enough."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def headers(self, path, more=(), method="POST"):
        return [(":method", method), (":scheme", "http"), (":path", path), (":authority", "collector"), *more]

    def ask(self, path, headers=(), end=True, method="POST"):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, self.headers(path, headers, method), end_stream=end)
        self.flush()
        return stream

    def block(self, path, headers=(), method="POST"):
        """HPACK of a request, for frames made by hand. All of a connection's must be sent."""
        return self.h2.encoder.encode(self.headers(path, headers, method))

    def read(self, seconds=5):
        """What comes within that time at most; nothing where the connection is over."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 16)
        except (TimeoutError, BlockingIOError):
            return []
        except OSError:
            data = b""
        if not data:
            self.is_over = True
            return []
        came = self.h2.receive_data(data)
        self.events += came
        return came

    def until(self, kind, seconds=10, **attributes):
        """The first event of a kind with these attributes; None if the connection ends or time does."""
        deadline = time.monotonic() + seconds
        while True:
            for event in self.events:
                if isinstance(event, kind) and all(getattr(event, name) == value for name, value in attributes.items()):
                    return event
            left = deadline - time.monotonic()
            if self.is_over or left <= 0:
                return None
            self.read(left)

    def goodbye(self, seconds=10):
        """The code of the GOAWAY with which the other side ends the connection."""
        event = self.until(h2.events.ConnectionTerminated, seconds)
        return event and int(event.error_code)

    def reset_of(self, stream, seconds=10):
        """The code with which the other side ended a stream that `h2` knows nothing of, since its frames were made by hand."""
        deadline, data = time.monotonic() + seconds, b""
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data += self.socket.recv(1 << 16)
            except TimeoutError:
                return None
            while len(data) >= 9 and len(data) >= 9 + (length := int.from_bytes(data[:3], "big")):
                kind, of, payload = data[3], int.from_bytes(data[5:9], "big"), data[9:9 + length]
                data = data[9 + length:]
                if kind == RST_STREAM and of == stream:
                    return int.from_bytes(payload, "big")
        return None

    def status(self, stream, seconds=10):
        event = self.until(h2.events.ResponseReceived, seconds, stream_id=stream)
        return event and int({bytes(k).decode(): bytes(v).decode() for k, v in event.headers}[":status"])
