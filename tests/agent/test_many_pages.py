"""AWS answers in more pages than the agent reads at once: nothing is passed over. moto's pages are too large for that, so
AWS is a small server of our own here, with one item a page."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from conftest import program
from identity import REGION
from processes import Process

CALLER = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::111122223333:user/x</Arn><UserId>A</UserId><Account>111122223333</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""
NOW_S = int(time.time())
EVENTS = [{"logStreamName": "s", "eventId": f"{n}", "timestamp": (NOW_S - 3000 + n) * 1000, "message": f"line {n}"}
          for n in range(250)]
TRACES = [f"1-{NOW_S - 3000 + 2 * n:08x}-{n:024x}" for n in range(1, 411)]


def one_a_page(items, page, name, token_name):
    more = {token_name: str(page + 1)} if page + 1 < len(items) else {}
    return {name: items[page:page + 1], **more}


def trace(trace_id):
    document = {"trace_id": trace_id, "id": trace_id[-16:], "name": "shop", "start_time": int(trace_id[2:10], 16),
                "end_time": int(trace_id[2:10], 16) + 1}
    return {"Id": trace_id, "Segments": [{"Id": trace_id[-16:], "Document": json.dumps(document)}]}


class Aws(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):  # noqa: N802 (the base class names it)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        answer = self.answer(self.headers.get("x-amz-target", "").rpartition(".")[2] or self.path, body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def answer(self, operation, body):
        if operation == "/":
            return CALLER
        asked = json.loads(body)
        if operation == "DescribeLogGroups":
            return json.dumps({"logGroups": [{"logGroupName": "/aws/lambda/f"}]})
        if operation == "FilterLogEvents":
            events = [e for e in EVENTS if asked["startTime"] <= e["timestamp"] <= asked["endTime"]]
            return json.dumps(one_a_page(events, int(asked.get("nextToken", 0)), "events", "nextToken"))
        if operation == "/TraceSummaries":
            within = [{"Id": t} for t in TRACES if asked["StartTime"] <= int(t[2:10], 16) < asked["EndTime"]]
            return json.dumps(one_a_page(within, int(asked.get("NextToken", 0)), "TraceSummaries", "NextToken"))
        return json.dumps({"Traces": [trace(t) for t in asked["TraceIds"]], "UnprocessedTraceIds": []})


@pytest.fixture
def once(collector, tmp_path):
    """One round of an agent with these sources; its spool stays for the next."""
    aws = ThreadingHTTPServer(("127.0.0.1", 0), Aws)
    threading.Thread(target=aws.serve_forever, daemon=True).start()
    env = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws.server_port}", "AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": "a",
           "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}

    def run(**sources):
        config = tmp_path / "agent.yaml"
        config.write_text(yaml.safe_dump({"collector": collector.otlp_grpc, "name": "a", "proof": "none",
                                          "spool": {"dir": str(tmp_path / "spool")}, "sources": sources}))
        command = [program("tenantscope-agent"), "once", "--config", config]
        assert Process("agent", command, tmp_path / "agent.log", env=env).child.wait(120) == 0

    yield run
    aws.shutdown()


def test_a_group_with_more_pages_than_one_round_reads_is_read_in_the_next(collector, once):
    for _ in range(2):
        once(logs={"lookback": "2h"})
    answer = collector.get("/loki/api/v1/query_range", query='{tenant="anonymous"}', limit=5000,
                           start=(NOW_S - 7200) * 10**9)
    lines = [line for stream in answer.json()["data"]["result"] for _, line in stream["values"]]
    assert sorted(lines) == sorted(event["message"] for event in EVENTS)


def test_more_traces_than_one_answer_has_are_read_in_shorter_windows(collector, once):
    once(xray={"lookback": "2h"})
    assert 'tenantscope_ingest_records_total{signal="spans"} 410' in collector.get("/metrics").text
