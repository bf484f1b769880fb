"""Requests recorded once and played to each system alike, so that the sender costs little and is the same for all."""

import dataclasses
import http.client
import mmap
import threading
import time

import numpy

from encoding import Template, label_bytes
from fleet import PODS_PER_TENANT, SERIES_PER_POD
from remote_write import HEADERS

SAMPLES_PER_REQUEST = 2000  # As Prometheus's queues send.
SHARDS = 4


@dataclasses.dataclass
class Request:
    """Where in the tape a request lies, whose it is, and which shard sends it: all of a series come from one, in order."""

    offset: int
    length: int
    tenant: str
    shard: int


class Tape:
    """A file of requests."""

    def __init__(self, path):
        self.path, self.requests, self.samples = path, [], 0
        self.end_ms = None

    def record(self, fleet, values, start_ms, steps, interval_s, slice_steps=1):
        """Appends `steps` scrapes of the fleet; `slice_steps` of them share a request (a sender that catches up)."""
        chance = numpy.random.default_rng(start_ms // 1000 % 2**31)
        offset_ms = chance.integers(0, interval_s * 1000, len(fleet.pods))
        jitter_ms = numpy.where(chance.random(len(fleet.pods)) < 0.2, 30, 0)
        pods_in_request = max(1, PODS_PER_TENANT // slice_steps)
        units = [tenant[at:at + pods_in_request] for tenant in fleet.tenants()
                 for at in range(0, PODS_PER_TENANT, pods_in_request)]
        encoded, templates = {}, {}
        with self.path.open("ab") as out:
            for first in range(0, steps, slice_steps):
                count = min(slice_steps, steps - first)
                replaced = fleet.replace(interval_s * count)
                values.start(replaced)
                for number in replaced:
                    encoded.pop(number, None)
                matrix = numpy.stack([values.step(interval_s) for _ in range(count)], axis=2)
                ticks = start_ms + (first + numpy.arange(count)) * interval_s * 1000
                times = ticks + offset_ms[:, None] + chance.integers(-30, 31, (len(fleet.pods), count)) * (jitter_ms[:, None] > 0)
                for at, unit in enumerate(units):
                    numbers = [pod.number for pod in unit]
                    key = (at, count, tuple(pod.life for pod in unit))
                    if templates.get(at, (None,))[0] != key:
                        for pod in unit:
                            if pod.number not in encoded:
                                encoded[pod.number] = [label_bytes(labels) for labels in pod.labels()]
                        templates[at] = key, Template([one for n in numbers for one in encoded[n]], count)
                    body = templates[at][1].request(matrix[numbers].reshape(-1, count),
                                                    numpy.repeat(times[numbers], SERIES_PER_POD, axis=0))
                    self.requests.append(Request(out.tell(), len(body), unit[0].tenant, at % SHARDS))
                    out.write(body)
                    self.samples += len(unit) * SERIES_PER_POD * count
        self.end_ms = int(start_ms + steps * interval_s * 1000)

    def bytes_recorded(self):
        return sum(request.length for request in self.requests)

    def play(self, port, samples=None, path="/api/v1/write"):
        """Sends all of it, or its first so many samples; (seconds, requests that were put off and sent again)."""
        put_off, failures = [0] * SHARDS, []
        played = self.requests[:len(self.requests) * samples // self.samples] if samples else self.requests

        def shard(number, recorded):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            for request in played:
                if request.shard != number or failures:
                    continue
                body = recorded[request.offset:request.offset + request.length]
                try:
                    put_off[number] += deliver(connection, path, body, request.tenant)
                except (OSError, http.client.HTTPException, Refused) as error:
                    failures.append(error)
            connection.close()

        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as recorded:
            began = time.monotonic()
            threads = [threading.Thread(target=shard, args=(number, recorded)) for number in range(SHARDS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]
        return time.monotonic() - began, sum(put_off)


class Refused(Exception):
    """A status that no retry helps against."""


def deliver(connection, path, body, tenant):
    """Sends until the request is taken; how often it was put off."""
    put_off = 0
    while True:
        connection.request("POST", path, body=body, headers={**HEADERS, "X-Scope-OrgID": tenant})
        answer = connection.getresponse()
        text = answer.read()
        if 200 <= answer.status < 300:
            return put_off
        if answer.status not in (429, 503):
            raise Refused(f"{answer.status}: {text[:500].decode(errors='replace')}")
        put_off += 1
        time.sleep(min(float(answer.headers.get("Retry-After") or 0.2), 1.0))
