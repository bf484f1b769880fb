"""Prometheus's own test scripts by remote write and the HTTP API, each part under a tenant of its own, near now.

Cases whose answer is a time, or that ask for the time, are left to the engine's own runner: here all times are shifted.
TENANTSCOPE_PROMQL_SCRIPTS names another folder of scripts than scripts/.
"""

import os
import re
import struct
import time
from pathlib import Path

import cramjam
import pytest
import script
from collector import Collector
from conftest import program
from remote_write import HEADERS_2, HINTS, Request2, double, field, number, packed, varint, zigzag

FOLDER = Path(os.environ.get("TENANTSCOPE_PROMQL_SCRIPTS", Path(__file__).parent / "scripts"))
SCRIPTS = sorted(FOLDER.glob("*.test"))
OF_TIMES = re.compile(r"\b(time|timestamp|start_timestamp|start|end|minute|hour|day_of_\w+|days_in_month|month|year|"
                      r"ts_of_\w+)\s*\(")
# All of a script's times lie within a few days after its zero, and subqueries' steps divide a day.
DAY_MS = 86_400_000
ZERO_MS = (int(time.time() * 1000) // DAY_MS - 8) * DAY_MS
TENANT = "tenant"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Collector(program("tenantscope-collector"), tmp_path_factory.mktemp("scripts") / "collector")
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_passes(server, path):
    failures, cases = [], 0
    for at, part in enumerate(script.parse(path.read_text())):
        tenant = f"{path.stem.replace('_', '-')}-{at}"
        for command in part:
            if isinstance(command, list):
                write(server, tenant, command)
            elif not OF_TIMES.search(command.query.lower()):
                cases += 1
                problem = judge(command, ask(server, tenant, command), tenant)
                if problem:
                    failures.append(f"{path.name}:{command.line}: {command.query}\n    {problem}")
    assert cases > 0
    assert not failures, f"{len(failures)} of {cases} failed\n" + "\n".join(failures)


def write(server, tenant, loaded):
    request = Request2()
    for one in loaded:
        encoded = packed(1, [varint(reference) for reference in request.refs(one.labels)])
        for at, value in enumerate(one.points):
            if value is None:
                continue
            time_ms = ZERO_MS + at * one.interval_ms
            start = one.starts[at] if one.starts else None
            start_ms = 0 if start is None else time_ms + start
            if isinstance(value, script.Histogram):
                encoded += field(3, histogram(value, time_ms, start_ms))
            else:
                encoded += field(2, b"\x09" + script.float_bits(value) + number(2, time_ms) + number(3, start_ms))
        if any(value is not None for value in one.points):
            request.series.append(encoded)
    body = bytes(cramjam.snappy.compress_raw(request.message()))
    headers = {**HEADERS_2, "X-Scope-OrgID": tenant}
    answer = server.session.post(server.url + "/api/v1/write", data=body, headers=headers, timeout=60)
    assert answer.status_code in (200, 204), answer.text


def histogram(value, time_ms, start_ms):
    def side(counts, spans, floats):
        indices = sorted(counts)
        if not indices:
            return b""
        span = number(1, zigzag(indices[0])) + number(2, indices[-1] - indices[0] + 1)
        return field(spans, span) + packed(floats, [struct.pack("<d", counts[at]) for at in indices])

    encoded = double(2, value.count) + double(3, value.sum) + number(4, zigzag(value.schema))
    encoded += double(5, value.zero_width) + double(7, value.zero)
    encoded += side(value.negative, 8, 10) + side(value.positive, 11, 13)
    hint = {"not_reset": "no_reset"}.get(value.hint, value.hint)
    encoded += number(14, HINTS[hint]) + number(15, time_ms)
    if value.bounds:
        encoded += packed(16, [struct.pack("<d", bound) for bound in value.bounds])
    return encoded + number(17, start_ms)


def ask(server, tenant, case):
    def at(found):
        return f"@ {(script.duration_ms(found[1]) + ZERO_MS) / 1000:.3f}"

    query = re.sub(r"@\s*(-?(?:(?:\d+(?:ms|[smhdwy]))+|\d+(?:\.\d+)?))\b", at, case.query)
    if case.times_ms:
        start, end, step = case.times_ms
        asked = {"query": query, "start": (ZERO_MS + start) / 1000, "end": (ZERO_MS + end) / 1000, "step": step / 1000}
        return server.get("/api/v1/query_range", tenant, **asked).json()
    return server.get("/api/v1/query", tenant, query=query, time=(ZERO_MS + case.at_ms) / 1000).json()


def judge(case, answer, tenant):
    """What is wrong with an answer; None if nothing is."""
    def fits(how, wanted, text):
        if how is None:
            return True
        # The API says which parameter is wrong before it says what is wrong with it, and series carry their tenant.
        text = text.replace(f', {TENANT}="{tenant}"', "")
        return wanted in text if how == "msg" else re.search(wanted, text) is not None

    expects = case.expects
    fail = next((expect for expect in expects if expect[0] == "fail"), None)
    if answer["status"] == "error":
        return None if fail and fits(*fail[1:], answer["error"]) else f"error {answer['error']}, expected {fail}"
    if fail:
        return "expected a failure"
    for kind, key in (("warn", "warnings"), ("info", "infos")):
        got = answer.get(key, [])
        wanted = [expect for expect in expects if expect[0] == kind]
        if any(expect[0] == f"no_{kind}" for expect in expects) and got:
            return f"expected no {kind}, got {got}"
        if any(not any(fits(*expect[1:], text) for text in got) for expect in wanted):
            return f"expected {wanted}, got {got}"
        if wanted and any(not any(fits(*expect[1:], text) for expect in wanted) for text in got):
            return f"expected only {wanted}, got {got}"
    data = answer["data"]
    if not same_data(case, data, tenant):
        return f"expected {case.scalar if case.scalar is not None else case.text or case.series}\n    got {data['result']}"
    return None


def same_data(case, data, tenant):
    kind, result = data["resultType"], data["result"]
    if kind == "scalar":
        return case.scalar is not None and script.close(case.scalar, float(result[1]))
    if kind == "string":
        return case.text == result[1]
    if case.scalar is not None or case.text is not None:
        return False

    def labels(one):
        return {name: value for name, value in one["metric"].items() if (name, value) != (TENANT, tenant)}

    if kind == "vector":
        wanted = [(of, values[0]) for of, values in case.series]
        got = [(labels(one), one["value"][1] if "value" in one else one["histogram"][1]) for one in result]
        if not any(expect[0] == "ordered" for expect in case.expects):
            wanted.sort(key=lambda one: sorted(one[0].items()))
            got.sort(key=lambda one: sorted(one[0].items()))
        return len(wanted) == len(got) and all(a[0] == b[0] and script.same(a[1], b[1]) for a, b in zip(wanted, got))

    start, _, step = case.range_ms or case.times_ms
    wanted = [(of, [(start + at * step, value) for at, value in enumerate(values) if value is not None])
              for of, values in case.series]
    got = [(labels(one), sorted([(round(at * 1000) - ZERO_MS, value) for at, value in
                                 one.get("values", []) + one.get("histograms", [])], key=lambda point: point[0]))
           for one in result]
    wanted = sorted((one for one in wanted if one[1]), key=lambda one: sorted(one[0].items()))
    got.sort(key=lambda one: sorted(one[0].items()))
    return len(wanted) == len(got) and all(
        a[0] == b[0] and len(a[1]) == len(b[1])
        and all(x[0] == y[0] and script.same(x[1], y[1]) for x, y in zip(a[1], b[1]))
        for a, b in zip(wanted, got))
