"""Senders that go on while the collector dies and comes back, and that know of each record what became of it.

A sender *with a lane* sends a batch again, under the same sequence, until it is acknowledged: all it sent must be there
exactly once. A sender *without identity* sends each batch once: what was acknowledged must be there, the rest may be.
"""

import itertools
import threading
import time

import otlp
import remote_write
import requests

TENANT = {"X-Scope-OrgID": "acme"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
LINES_IN_BATCH = 5


class Refused(AssertionError):
    """An answer that no fault explains: the sender must not try again."""


class Sender(threading.Thread):
    """Sends batches until it is told to stop; `batch(number)` gives a body and the records in it."""

    def __init__(self, collector, url, batch, headers, lane=None, first=1):
        super().__init__(daemon=True)
        self.collector, self.url, self.batch, self.headers, self.lane = collector, url, batch, headers, lane
        self.number = first
        self.acknowledged, self.doubtful, self.put_off = [], [], 0
        self.stopping = threading.Event()
        self.error = None
        self.session = requests.Session()

    def run(self):
        try:
            while not self.stopping.is_set():
                self.send_one()
                time.sleep(0.002)
        except Exception as error:  # noqa: BLE001  (whatever ended the thread fails the test that joins it)
            self.error = error

    def send_one(self):
        body, records = self.batch(self.number)
        headers = dict(self.headers)
        if self.lane:
            headers.update({"tenantscope-agent": "kill-test", "tenantscope-lane": self.lane, "tenantscope-epoch": "1",
                            "tenantscope-sequence": str(self.number)})
        delivered = self.deliver(body, headers)
        while self.lane and not delivered:
            time.sleep(0.05)
            delivered = self.deliver(body, headers)
        (self.acknowledged if delivered else self.doubtful).extend(records)
        self.number += 1

    def deliver(self, body, headers):
        """Whether the batch was acknowledged; a refusal that is not for a while fails the test."""
        try:
            answer = self.session.post(self.url, data=body, headers=headers, timeout=30)
        except requests.RequestException:
            return False
        if answer.status_code in (429, 503):
            self.put_off += 1
            return False
        if not 200 <= answer.status_code < 300:
            raise Refused(f"{self.url}: {answer.status_code} {answer.text}")
        return True

    def finish(self, seconds=60):
        """Stops after the batch under way is acknowledged."""
        self.stopping.set()
        self.join(seconds)
        assert not self.is_alive(), f"a sender to {self.url} could not deliver its last batch within {seconds} s"
        if self.error:
            raise self.error


def lane_of_logs(collector, service):
    def batch(number):
        lines = [f"{service} {number} {line}" for line in range(LINES_IN_BATCH)]
        return otlp.logs(lines, {"service.name": service}).SerializeToString(), lines
    return Sender(collector, collector.otlp_http + "/v1/logs", batch, {**TENANT, **PROTOBUF}, lane=service)


def logs_without_identity(collector, service):
    sender = lane_of_logs(collector, service)
    sender.lane = None
    return sender


def lane_of_spans(collector, service):
    def batch(number):
        # The trace's id is the number, so that a batch that is sent again is the same trace.
        trace_id = f"{service}-{number:08}".encode().rjust(16, b"0")[-16:]
        message = otlp.spans([f"root {number}", "child"], {"service.name": service}, trace_id=trace_id)
        return message.SerializeToString(), [trace_id.hex()]
    return Sender(collector, collector.otlp_http + "/v1/traces", batch, {**TENANT, **PROTOBUF}, lane=service)


def lane_of_deltas(collector, service):
    """Each batch adds 1: the counter that comes of it must be the number of batches, no more and no less."""
    def batch(number):
        message = otlp.gauges("placeholder", [], {"service.name": service})
        metric = message.resource_metrics[0].scope_metrics[0].metrics[0]
        metric.name = "kill_events"
        metric.sum.aggregation_temporality, metric.sum.is_monotonic = 1, True
        now_ns = otlp.now_ns()
        metric.sum.data_points.add(start_time_unix_nano=now_ns - 1_000_000, time_unix_nano=now_ns, as_double=1.0)
        return message.SerializeToString(), [number]
    return Sender(collector, collector.otlp_http + "/v1/metrics", batch, {**TENANT, **PROTOBUF}, lane=service)


def remote_write_of(collector, service, windows=(0,)):
    """Samples whose value is their number, each at a time of its own: in turn so many hours ago."""
    numbers, now_ms = itertools.count(), int(time.time() * 1000)
    times = (now_ms - windows[number % len(windows)] * 3600_000 + number for number in numbers)

    def batch(number):
        time_ms = next(times)
        labels = [{"__name__": "kill_samples", "job": service, "series": str(series)} for series in range(3)]
        records = [(one["series"], time_ms, float(number)) for one in labels]
        return remote_write.body([(one, [(time_ms, float(number))]) for one in labels]), records
    return Sender(collector, collector.url + "/api/v1/write", batch, {**remote_write.HEADERS, **TENANT})
