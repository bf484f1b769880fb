"""What the tenants' applications do: a serverless shop in each account, writing to CloudWatch, Logs, X-Ray and OTLP.

Each account has a function `api` behind an API, a function `worker` behind a queue, and a table `orders`. Every few
seconds the workload publishes what these services would publish. After `bad_after` seconds the bad tenant's payment
provider fails: errors, slow requests, error logs and a growing queue.
"""

import datetime
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from cloud import BAD_TENANT, Account

# The file that says that the past is published.
BACKFILLED = "backfilled"

STEP_SECONDS = 5
BACKFILL_STEP_SECONDS = 30
HEALTHY_ERRORS = 0.002
BROKEN_ERRORS = 0.35


class Application:
    """One tenant's application."""

    def __init__(self, account, endpoint, otlp_http, seed):
        self.account = account
        self.random = random.Random(seed)
        self.cloudwatch = account.client(endpoint, "cloudwatch")
        self.logs = account.client(endpoint, "logs")
        self.xray = account.client(endpoint, "xray")
        self.requests_per_step = self.random.randint(20, 60)
        self.queue_depth = 0.0
        self.stream = datetime.date.today().strftime("%Y/%m/%d/[$LATEST]") + f"{self.random.getrandbits(64):016x}"
        for function in ("api", "worker"):
            self.logs.create_log_group(logGroupName=f"/aws/lambda/{function}")
            self.logs.create_log_stream(logGroupName=f"/aws/lambda/{function}", logStreamName=self.stream)
        self.start_instrumentation(otlp_http)

    def start_instrumentation(self, otlp_http):
        """The application's own OpenTelemetry SDK, sending to the agent in its account."""
        resource = Resource.create({"service.name": "storefront", "service.namespace": "shop",
                                    "service.instance.id": f"storefront-{self.account.id}"})
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=f"{otlp_http}/v1/metrics"), export_interval_millis=STEP_SECONDS * 1000)
        self.meters = MeterProvider(resource=resource, metric_readers=[reader])
        meter = self.meters.get_meter("shop.storefront")
        self.http_duration = meter.create_histogram("http.server.request.duration", unit="s",
                                                    description="Duration of HTTP server requests.")
        self.carts = meter.create_up_down_counter("shop.carts.open", unit="{cart}", description="Carts that are open.")
        self.tracers = TracerProvider(resource=resource)
        self.tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{otlp_http}/v1/traces")))
        self.tracer = self.tracers.get_tracer("shop.storefront")

    def step(self, now, broken, live=True, seconds=STEP_SECONDS):
        """Publishes the telemetry of the `seconds` up to `now` (seconds since the epoch)."""
        error_rate = BROKEN_ERRORS if broken else HEALTHY_ERRORS
        requests = max(1, round(self.requests_per_step * seconds / STEP_SECONDS * self.random.uniform(0.8, 1.2)))
        failed = sum(self.random.random() < error_rate for _ in range(requests))
        slow = 4.0 if broken else 1.0
        durations = [self.random.lognormvariate(3.4, 0.5) * slow for _ in range(requests)]
        self.queue_depth = max(0.0, self.queue_depth + (failed * 2 if broken else -10) + self.random.uniform(-2, 3))
        self.publish_metrics(now, requests, failed, durations)
        if live:
            self.write_requests(now, failed, durations)
            self.instrumented_requests(failed, durations)

    def publish_metrics(self, now, requests, failed, durations):
        moment = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)

        def metric(name, dimensions, values, unit="Count"):
            return {"MetricName": name, "Timestamp": moment, "Unit": unit, "Values": values, "Counts": [1.0] * len(values),
                    "Dimensions": [{"Name": k, "Value": v} for k, v in dimensions.items()]}

        api, worker = {"FunctionName": "api"}, {"FunctionName": "worker"}
        queue, table = {"QueueName": "orders"}, {"TableName": "orders"}
        some = durations[:50]
        lambda_metrics = [
            metric("Invocations", api, [float(requests)]), metric("Errors", api, [float(failed)]),
            metric("Duration", api, some, "Milliseconds"), metric("Throttles", api, [0.0]),
            metric("ConcurrentExecutions", api, [float(max(1, self.requests_per_step // 8 + self.random.randint(-1, 1)))]),
            metric("Invocations", worker, [float(requests - failed)]), metric("Errors", worker, [0.0]),
            metric("Duration", worker, [d * 2 for d in some], "Milliseconds"), metric("Throttles", worker, [0.0]),
        ]
        sqs_metrics = [
            metric("ApproximateNumberOfMessagesVisible", queue, [self.queue_depth]),
            metric("ApproximateAgeOfOldestMessage", queue, [self.queue_depth / 3], "Seconds"),
            metric("NumberOfMessagesSent", queue, [float(requests)]),
            metric("NumberOfMessagesDeleted", queue, [float(requests - failed)]),
        ]
        dynamodb_metrics = [
            metric("ConsumedReadCapacityUnits", table, [requests * 1.5]),
            metric("ConsumedWriteCapacityUnits", table, [float(requests)]),
            metric("ThrottledRequests", table, [0.0]),
        ]
        api_metrics = [
            metric("Count", {"ApiName": "shop"}, [float(requests)]),
            metric("5XXError", {"ApiName": "shop"}, [float(failed)]),
            metric("Latency", {"ApiName": "shop"}, [d + 4 for d in some], "Milliseconds"),
        ]
        for namespace, data in [("AWS/Lambda", lambda_metrics), ("AWS/SQS", sqs_metrics),
                                ("AWS/DynamoDB", dynamodb_metrics), ("AWS/ApiGateway", api_metrics)]:
            self.cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)

    def write_requests(self, now, failed, durations):
        """Log lines and X-Ray segments of a few of the step's requests, failed ones first."""
        events, segments = [], []
        for number, duration_ms in enumerate(durations[:4]):
            fails = number < min(failed, 2)
            started = now - self.random.uniform(0, STEP_SECONDS)
            request = Request(self.random, started, duration_ms / 1000, fails)
            events += request.log_events()
            segments += request.segments()
        events.sort(key=lambda event: event["timestamp"])
        self.logs.put_log_events(logGroupName="/aws/lambda/api", logStreamName=self.stream, logEvents=events)
        self.xray.put_trace_segments(TraceSegmentDocuments=[json.dumps(s) for s in segments])

    def instrumented_requests(self, failed, durations):
        self.carts.add(self.random.randint(-1, 1), {"shop.region": "eu"})
        for number, duration_ms in enumerate(durations):
            code = 500 if number < failed else 200
            self.http_duration.record(duration_ms / 1000, {"http.request.method": "POST", "http.route": "/orders",
                                                           "http.response.status_code": code})
        with self.tracer.start_as_current_span("POST /orders", kind=SpanKind.SERVER) as span:
            span.set_attribute("http.request.method", "POST")
            if failed:
                span.set_status(StatusCode.ERROR, "payment provider timed out")

    def stop(self):
        self.meters.shutdown()
        self.tracers.shutdown()


class Request:
    """One request over API, function and table."""

    def __init__(self, rng, started, duration, fails):
        self.started, self.duration, self.fails = started, duration, fails
        self.request_id = "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}".format(
            *(rng.getrandbits(bits) for bits in (32, 16, 12, 12, 48)))
        self.trace_id = f"1-{int(started):08x}-{rng.getrandbits(96):024x}"
        self.ids = [f"{rng.getrandbits(64):016x}" for _ in range(4)]

    def log_events(self):
        at = int(self.started * 1000)
        end = at + int(self.duration * 1000)
        message = {"level": "INFO", "message": "order placed", "requestId": self.request_id,
                   "xray_trace_id": self.trace_id}
        if self.fails:
            message.update(level="ERROR", message="payment provider timed out", error="PaymentTimeout")
        return [
            {"timestamp": at, "message": f"START RequestId: {self.request_id} Version: $LATEST"},
            {"timestamp": at + 1, "message": json.dumps(message)},
            {"timestamp": end, "message": f"END RequestId: {self.request_id}"},
            {"timestamp": end, "message": f"REPORT RequestId: {self.request_id}\tDuration: {self.duration * 1000:.2f} ms\t"
                                          f"Billed Duration: {int(self.duration * 1000) + 1} ms\tMemory Size: 256 MB\t"
                                          f"Max Memory Used: 91 MB\tXRAY TraceId: {self.trace_id}"},
        ]

    def segments(self):
        api, function, table, payment = self.ids
        start, end = self.started, self.started + self.duration
        status = 500 if self.fails else 200
        http = {"request": {"method": "POST", "url": "https://shop.example.com/orders"}, "response": {"status": status}}
        orders = {"id": table, "name": "DynamoDB", "namespace": "aws", "start_time": start + 0.002,
                  "end_time": start + self.duration / 2, "http": {"response": {"status": 200}},
                  "aws": {"operation": "PutItem", "table_name": "orders", "region": "eu-west-1",
                          "request_id": self.request_id}}
        pay = {"id": payment, "name": "payments.example.com", "namespace": "remote", "start_time": start + self.duration / 2,
               "end_time": end - 0.001, "fault": self.fails,
               "http": {"request": {"method": "POST", "url": "https://payments.example.com/charge"},
                        "response": {"status": 504 if self.fails else 200}}}
        if self.fails:
            pay["cause"] = {"exceptions": [{"id": payment, "type": "PaymentTimeout",
                                            "message": "payment provider timed out"}]}
        return [
            {"trace_id": self.trace_id, "id": api, "name": "shop", "origin": "AWS::ApiGateway::Stage", "start_time": start,
             "end_time": end, "http": http, "fault": self.fails},
            {"trace_id": self.trace_id, "id": function, "parent_id": api, "name": "api", "origin": "AWS::Lambda::Function",
             "start_time": start + 0.001, "end_time": end, "fault": self.fails, "aws": {"request_id": self.request_id},
             "annotations": {"order": int(start) % 100000}, "subsegments": [orders, pay]},
        ]


class Workload:
    """All tenants' applications, stepping in a thread each until stopped."""

    def __init__(self, endpoint, accounts, otlp_http, bad_after):
        self.applications = [Application(a, endpoint, otlp_http[a.tenant], seed) for seed, a in enumerate(accounts)]
        self.bad_after = bad_after
        self.stopping = threading.Event()
        self.threads = []

    def backfill(self, minutes):
        """The minutes before the demo began, so that plots and budgets have a past."""
        end = time.time() - STEP_SECONDS
        for application in self.applications:
            moment = end - minutes * 60
            while moment < end:
                application.step(moment, broken=False, live=False, seconds=BACKFILL_STEP_SECONDS)
                moment += BACKFILL_STEP_SECONDS

    def start(self):
        began = time.monotonic()
        for application in self.applications:
            thread = threading.Thread(target=self.run, args=(application, began), name=application.account.tenant)
            thread.start()
            self.threads.append(thread)

    def run(self, application, began):
        failures = 0
        while not self.stopping.wait(STEP_SECONDS):
            broken = application.account.tenant == BAD_TENANT and time.monotonic() - began > self.bad_after
            try:
                application.step(time.time(), broken)
                failures = 0
            except Exception as error:  # an emulator away for a moment must not end the tenant's application
                failures += 1
                print(f"{application.account.tenant}: {error}", flush=True)
                if failures > 20 or os.getppid() == 1:
                    return

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        for application in self.applications:
            application.stop()


def main(folder):
    """Runs until SIGTERM; `folder` holds accounts.json and workload.json."""
    accounts = [Account(**entry) for entry in json.loads((folder / "accounts.json").read_text())]
    settings = json.loads((folder / "workload.json").read_text())
    workload = Workload(settings["endpoint"], accounts, settings["otlp_http"], settings["bad_after"])
    signal.signal(signal.SIGTERM, lambda *_: workload.stopping.set())
    workload.backfill(settings["backfill_minutes"])
    (folder / BACKFILLED).touch()
    workload.start()
    workload.stopping.wait()
    workload.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
