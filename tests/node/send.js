// Sends a span, a counter, a histogram and a log record with OpenTelemetry's SDK for Node.js, and prints the trace's id.
//
//   node send.js grpc|http/protobuf|http/json ENDPOINT TENANT none|gzip
"use strict";

// Beside package.json, or wherever the tests installed it.
const { createRequire } = require("node:module");
const load = createRequire(`${process.env.NODE_MODULES_OF || __dirname}/`);

const [protocol, endpoint, tenant, compression] = process.argv.slice(2);
const suffix = { grpc: "grpc", "http/protobuf": "proto", "http/json": "http" }[protocol];
const { OTLPTraceExporter } = load(`@opentelemetry/exporter-trace-otlp-${suffix}`);
const { OTLPMetricExporter } = load(`@opentelemetry/exporter-metrics-otlp-${suffix}`);
const { OTLPLogExporter } = load(`@opentelemetry/exporter-logs-otlp-${suffix}`);
const { resourceFromAttributes } = load("@opentelemetry/resources");
const { BasicTracerProvider, SimpleSpanProcessor } = load("@opentelemetry/sdk-trace-base");
const { MeterProvider, PeriodicExportingMetricReader } = load("@opentelemetry/sdk-metrics");
const { LoggerProvider, SimpleLogRecordProcessor } = load("@opentelemetry/sdk-logs");
const { diag, DiagConsoleLogger, DiagLogLevel } = load("@opentelemetry/api");

// An export that fails is only logged by the SDK.
diag.setLogger(new DiagConsoleLogger(), DiagLogLevel.WARN);

function options(path) {
  if (protocol !== "grpc") {
    return { url: endpoint + path, compression, headers: { "X-Scope-OrgID": tenant } };
  }
  const grpc = createRequire(load.resolve("@opentelemetry/exporter-trace-otlp-grpc"))("@grpc/grpc-js");
  const metadata = new grpc.Metadata();
  metadata.set("x-scope-orgid", tenant);
  return { url: endpoint, compression, metadata };
}

async function main() {
  const resource = resourceFromAttributes({ "service.name": "storefront-js" });
  const tracing = new BasicTracerProvider({
    resource,
    spanProcessors: [new SimpleSpanProcessor(new OTLPTraceExporter(options("/v1/traces")))],
  });
  const span = tracing.getTracer("test", "1.0").startSpan("GET /cart");
  span.setAttribute("http.response.status_code", 200);
  span.end();

  const exporter = new OTLPMetricExporter(options("/v1/metrics"));
  const metrics = new MeterProvider({ resource, readers: [new PeriodicExportingMetricReader({ exporter })] });
  const meter = metrics.getMeter("test");
  meter.createCounter("shop.orders", { unit: "{order}" }).add(3, { "shop.kind": "book" });
  meter.createHistogram("http.server.request.duration", { unit: "s" }).record(0.2);

  const exporting = new SimpleLogRecordProcessor({ exporter: new OTLPLogExporter(options("/v1/logs")) });
  const logging = new LoggerProvider({ resource, processors: [exporting] });
  logging.getLogger("test").emit({ body: "payment declined", severityText: "ERROR", severityNumber: 17 });

  for (const provider of [tracing, metrics, logging]) {
    await provider.forceFlush();
    await provider.shutdown();
  }
  console.log(span.spanContext().traceId);
}

main();
