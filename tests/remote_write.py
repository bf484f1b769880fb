"""Remote write 1.0 and 2.0 requests, encoded by hand so that tests can also send what no library would."""

import struct

import cramjam

HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy",
           "X-Prometheus-Remote-Write-Version": "0.1.0"}
HEADERS_2 = {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
             "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "2.0.0"}
KINDS = {"counter": 1, "gauge": 2, "histogram": 3, "gaugehistogram": 4, "summary": 5, "info": 6, "stateset": 7}
HINTS = {"unknown": 0, "reset": 1, "no_reset": 2, "gauge": 3}


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


def zigzag(number):
    return (number << 1) ^ (number >> 63)


def number(field_number, value):
    return varint(field_number << 3) + varint(value & (1 << 64) - 1)


def double(field_number, value):
    return varint(field_number << 3 | 1) + struct.pack("<d", value)


def packed(field_number, encoded):
    return field(field_number, b"".join(encoded))


class Request2:
    """A Request of remote write 2.0; texts are written once each, the empty one first."""

    def __init__(self):
        self.symbols, self.series = {"": 0}, []

    def symbol(self, text):
        return self.symbols.setdefault(text, len(self.symbols))

    def refs(self, labels):
        """Names and values in turn, sorted by name."""
        return [self.symbol(text) for pair in sorted(labels.items()) for text in pair]

    def add(self, labels, samples=(), histograms=(), exemplars=(), kind=None, help="", unit="", refs=None):
        """Samples are (time_ms, value) or (time_ms, value, start_ms); exemplars (time_ms, value, labels);
        histograms what `histogram` gives. `refs` stands in for the labels' references."""
        references = self.refs(labels) if refs is None else refs
        encoded = packed(1, [varint(reference) for reference in references])
        for time_ms, value, *start in samples:
            sample = double(1, value) + number(2, time_ms) + (number(3, start[0]) if start else b"")
            encoded += field(2, sample)
        encoded += b"".join(field(3, histogram) for histogram in histograms)
        for time_ms, value, exemplar_labels in exemplars:
            references = packed(1, [varint(reference) for reference in self.refs(exemplar_labels)])
            encoded += field(4, references + double(2, value) + number(3, time_ms))
        if kind:
            metadata = number(1, KINDS[kind]) + number(3, self.symbol(help)) + number(4, self.symbol(unit))
            encoded += field(5, metadata)
        self.series.append(encoded)
        return self

    def message(self):
        """Before compression."""
        symbols = b"".join(field(4, text.encode()) for text in self.symbols)
        return symbols + b"".join(field(5, series) for series in self.series)

    def push(self, session, url, headers=None):
        body = bytes(cramjam.snappy.compress_raw(self.message()))
        return session.post(url, data=body, headers={**HEADERS_2, **(headers or {})}, timeout=60)


def histogram(time_ms, counts, offset=0, schema=0, total=None, sum_=0.0, zero=0, bounds=(), hint="unknown", start_ms=0):
    """A native histogram with one run of buckets of whole counts; with bounds (schema -53) custom ones."""
    encoded = number(1, sum(counts) + zero if total is None else total) + double(3, sum_)
    encoded += number(4, zigzag(schema)) + number(6, zero)
    encoded += field(11, number(1, zigzag(offset)) + number(2, len(counts)))
    deltas = [count - before for before, count in zip([0, *counts], counts)]
    encoded += packed(12, [varint(zigzag(delta)) for delta in deltas])
    encoded += number(14, HINTS[hint]) + number(15, time_ms)
    if bounds:
        encoded += packed(16, [struct.pack("<d", bound) for bound in bounds])
    return encoded + (number(17, start_ms) if start_ms else b"")


def written(answer):
    """Samples, histograms and exemplars that the receiver says it wrote; None where it says nothing."""
    names = [f"X-Prometheus-Remote-Write-{what}-Written" for what in ("Samples", "Histograms", "Exemplars")]
    return [int(answer.headers[name]) if name in answer.headers else None for name in names]
