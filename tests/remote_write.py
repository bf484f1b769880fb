"""Remote write 1.0 requests, encoded by hand so that tests can also send what no library would."""

import struct

import cramjam

HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
           "X-Prometheus-Remote-Write-Version": "0.1.0"}


def varint(number):
    out = bytearray()
    while True:
        byte = number & 0x7F
        number >>= 7
        if number:
            out.append(byte | 0x80)
        else:
            out.append(byte)
            return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def label(name, value):
    return field(1, name.encode()) + field(2, value.encode())


def sample(value, time_ms):
    return b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms & (1 << 64) - 1)


def series(labels, samples):
    """One time series; labels are sorted by name, as the protocol demands."""
    encoded = b"".join(field(1, label(name, value)) for name, value in sorted(labels.items()))
    return encoded + b"".join(field(2, sample(value, time_ms)) for time_ms, value in samples)


def write_request(all_series):
    """A WriteRequest from (labels, [(time_ms, value)]) pairs, before compression."""
    return b"".join(field(1, series(labels, samples)) for labels, samples in all_series)


def body(all_series):
    """A WriteRequest as it is sent."""
    return bytes(cramjam.snappy.compress_raw(write_request(all_series)))


def push(session, url, all_series, headers=None):
    return session.post(url, data=body(all_series), headers={**HEADERS, **(headers or {})}, timeout=60)
