"""One round of load, and the count of what is there of it, record by record."""

import collections
import time

import load

# Flushes, merges, conversions, rewrites, compactions and new segments come all the time, so that faults meet them.
CONFIG = {"metrics": {"flush_interval": "300ms", "blocks": {"settle": "300ms", "late_settle": "600ms", "removed_grace": "5s"}},
          "lake": {"flush_interval": "300ms"}, "journal": {"segment_max_bytes": "64KiB"}}

PAGE = 1000

# Hours ago that closed windows get samples of: these become blocks, and blocks that late data rewrite.
PAST_HOURS = (6, 9, 13, 27, 31)


def lines(collector, service, first_ns):
    """All lines of a service, page by page."""
    found, start_ns = [], first_ns
    while True:
        answer = collector.get("/loki/api/v1/query_range", tenant="acme", query=f'{{service_name="{service}"}}',
                               start=start_ns, end=time.time_ns() + 10**12, limit=PAGE, direction="forward")
        assert answer.status_code == 200, answer.text
        page = [(int(at), line) for stream in answer.json()["data"]["result"] for at, line in stream["values"]]
        page.sort()
        # The next page begins at this one's last time, which is read again as a whole.
        last_ns = page[-1][0] if len(page) == PAGE else None
        found += [line for at, line in page if at != last_ns]
        if last_ns is None:
            return found
        assert last_ns > start_ns, "more lines at one time than fit a page"
        start_ns = last_ns


def traces(collector, service):
    answer = collector.get("/tempo/api/search", tenant="acme", q=f'{{ resource.service.name = "{service}" }}', limit=100_000)
    assert answer.status_code == 200, answer.text
    return [trace["traceID"].rjust(32, "0") for trace in answer.json()["traces"]]


def samples(collector, service):
    found = collector.query(f'kill_samples{{job="{service}"}}[2d]', tenant="acme", time_s=time.time() + 60)
    return [(series["metric"]["series"], round(float(at) * 1000), float(value))
            for series in found for at, value in series["values"]]


def exactly_once(found, sent, what):
    counts = collections.Counter(found)
    twice = [record for record, count in counts.items() if count > 1]
    missing, strange = set(sent) - set(counts), set(counts) - set(sent)
    assert not (twice or missing or strange), \
        f"{what}: of {len(sent)} {len(missing)} are missing {sorted(missing)[:3]}, {len(twice)} are there twice " \
        f"{sorted(twice)[:3]}, {len(strange)} were never sent {sorted(strange)[:3]}"


def at_least_what_was_acknowledged(found, sender, what):
    missing = set(sender.acknowledged) - set(found)
    strange = set(found) - set(sender.acknowledged) - set(sender.doubtful)
    assert not (missing or strange), \
        f"{what}: of {len(sender.acknowledged)} acknowledged {len(missing)} are missing {sorted(missing)[:3]}, " \
        f"{len(strange)} were never sent {sorted(strange)[:3]}"


class Load:
    """One round's senders, each under a service of its own."""

    def __init__(self, collector, number):
        self.collector, self.number, self.first_ns = collector, number, time.time_ns()
        self.logs = load.lane_of_logs(collector, f"lane-{number}")
        self.plain_logs = load.logs_without_identity(collector, f"plain-{number}")
        self.spans = load.lane_of_spans(collector, f"spans-{number}")
        self.deltas = load.lane_of_deltas(collector, f"deltas-{number}")
        self.samples = load.remote_write_of(collector, f"samples-{number}")
        self.backfill = load.remote_write_of(collector, f"backfill-{number}", windows=PAST_HOURS)
        self.senders = [self.logs, self.plain_logs, self.spans, self.deltas, self.samples, self.backfill]

    def start(self):
        for sender in self.senders:
            sender.start()

    def finish(self):
        for sender in self.senders:
            sender.stopping.set()
        for sender in self.senders:
            sender.finish()

    def check(self):
        n, ask = self.number, self.collector
        exactly_once(lines(ask, f"lane-{n}", self.first_ns), self.logs.acknowledged, f"log lines in round {n}'s lane")
        at_least_what_was_acknowledged(lines(ask, f"plain-{n}", self.first_ns), self.plain_logs, f"log lines of round {n}")
        exactly_once(traces(ask, f"spans-{n}"), self.spans.acknowledged, f"traces in round {n}'s lane")
        at_least_what_was_acknowledged(samples(ask, f"samples-{n}"), self.samples, f"samples of round {n}")
        at_least_what_was_acknowledged(samples(ask, f"backfill-{n}"), self.backfill, f"old samples of round {n}")
        counted = ask.value(f'max_over_time(kill_events_total{{job="deltas-{n}"}}[2d])', tenant="acme")
        assert (counted or 0) == len(self.deltas.acknowledged), f"the counter of round {n}'s deltas"
