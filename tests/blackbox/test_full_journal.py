"""Journals that are small for what comes: stores flush in time, though it is not their time yet, and nothing is lost."""

import random
import time

import otlp
import remote_write

CONFIG = {"journal": {"max_bytes": "4MiB", "segment_max_bytes": "1MiB"}, "metrics": {"flush_interval": "1h"},
          "lake": {"flush_interval": "1h", "flush_bytes": "1GiB"}}
BATCHES = 64
"""Of about 200 kB each: three journals' worth."""


def until_taken(send, deadline):
    """Sends as senders do that are told to come again."""
    while True:
        answer = send()
        if answer.status_code != 503:
            assert answer.status_code in (200, 204), answer.text
            return
        assert "journal" in answer.text, answer.text
        assert time.monotonic() < deadline, "the journal stays full"
        time.sleep(0.05)


def test_writes_go_on_past_the_size_of_the_journals(collectors):
    running = collectors(CONFIG)
    chance, now_ms = random.Random(7), int(time.time() * 1000)
    deadline = time.monotonic() + 240
    for batch in range(BATCHES):
        samples = [(now_ms - 60_000 + at, chance.random()) for at in range(10_000)]
        labels = {"__name__": "filler", "batch": str(batch)}
        url = running.url + "/api/v1/write"
        until_taken(lambda: remote_write.push(running.session, url, [(labels, samples)]), deadline)
        line = f"batch {batch} " + chance.randbytes(100_000).hex()
        until_taken(lambda: running.send("logs", otlp.logs([line])), deadline)
    running.kill()
    running.start()
    at_s = now_ms / 1000
    assert running.value("sum(count_over_time(filler[10m]))", time_s=at_s) == BATCHES * 10_000
    found = running.get("/loki/api/v1/query", query='sum(count_over_time({service_name="test"}[1h]))').json()
    assert [float(one["value"][1]) for one in found["data"]["result"]] == [BATCHES]
