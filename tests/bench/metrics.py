"""The metric store beside Debian's prometheus and victoria-metrics, all through HTTP, in alternating rounds."""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "deploy" / "demo" / "fleet"), str(ROOT / "tests")]

import stages  # noqa: E402  (the path is set above)
import table  # noqa: E402
from systems import Missing, Prometheus, Tenantscope, VictoriaMetrics  # noqa: E402

STAGES = ["ingest", "disk", "latency"]


def arguments():
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser = argparse.ArgumentParser(prog="tests/bench/run metrics", description=__doc__,
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--collector", default=str(target / "release" / "tenantscope-collector"), help="our program")
    parser.add_argument("--prometheus", default="prometheus", help="a program, or none")
    parser.add_argument("--victoria", default="victoria-metrics", help="a program, or none")
    parser.add_argument("--stages", default=",".join(STAGES), help="some of them")
    parser.add_argument("--series", type=int, default=200_000, help="active at a time, for ingest and latency")
    parser.add_argument("--samples", type=int, default=8_000_000, help="to ingest")
    parser.add_argument("--interval", type=int, default=60, help="seconds between scrapes, for ingest and latency")
    parser.add_argument("--rounds", type=int, default=3, help="of ingest; the last one ends with kill -9")
    parser.add_argument("--disk-series", type=int, default=4_000, help="active at a time, for disk")
    parser.add_argument("--disk-hours", type=float, default=24, help="of 15 s data")
    parser.add_argument("--history-minutes", type=int, default=65, help="of each of the two stretches that queries ask about")
    parser.add_argument("--ended-hours-ago", type=float, default=6, help="the end of what is in blocks")
    parser.add_argument("--runs", type=int, default=7, help="of each query")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--folder", type=Path, help="for data and recorded requests; emptied at the end")
    return parser.parse_args()


def systems_of(options, folder, say):
    chosen = [(Tenantscope, options.collector), (VictoriaMetrics, options.victoria), (Prometheus, options.prometheus)]
    made = []
    for kind, program in chosen:
        if program == "none":
            continue
        try:
            made.append(kind(program, folder / kind.name))
        except Missing as missing:
            say(str(missing))
    return made


def run(options, folder, say):
    systems = systems_of(options, folder, say)
    wanted = options.stages.split(",")
    results = {system.name: {} for system in systems}
    differing = []

    def take(figures):
        for name, more in figures.items():
            results[name].update(more)

    try:
        if "ingest" in wanted:
            recorder = stages.Recorder(folder, options.series, options.seed, say)
            take(stages.ingest(systems, recorder, options.samples, options.rounds, options.interval, say))
        if "disk" in wanted:
            recorder = stages.Recorder(folder, options.disk_series, options.seed, say)
            take(stages.disk(systems, recorder, options.disk_hours, 15, options.ended_hours_ago, say))
        if "latency" in wanted:
            recorder = stages.Recorder(folder, options.series, options.seed, say)
            figures, then_s, now_s = stages.history(
                systems, recorder, options.history_minutes, options.interval, options.ended_hours_ago, say)
            take(figures)
            figures, differing = stages.latency(systems, then_s, now_s, options.runs, say)
            take(figures)
    finally:
        for system in systems:
            if system.process and system.process.running():
                system.kill()
    return results, differing


def ratios(results, ours):
    """For each peer the median and the worst ratio of the queries' latencies."""
    for name, figures in results.items():
        pairs = [(results[ours][key] / value, key) for key, value in figures.items()
                 if name != ours and key.endswith(", ms") and not key.startswith("sum") and key in results.get(ours, {})]
        if pairs:
            worst, key = max(pairs)
            yield f"queries against {name}: median ratio {statistics.median(r for r, _ in pairs):.2f}, worst {worst:.2f} ({key})"


def main():
    options = arguments()
    began = time.monotonic()

    def say(text):
        print(f"[{time.monotonic() - began:6.0f} s] {text}", file=sys.stderr, flush=True)

    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="tenantscope-bench-", dir=options.folder))
    try:
        results, differing = run(options, folder, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for line in table.lines(results, Tenantscope.name):
        print(line)
    print("disk: our journal is left out, which is freed as the store takes over what it holds")
    for line in [*ratios(results, Tenantscope.name), *(f"answers differ: {one}" for one in differing)]:
        print(line)
    if options.json:
        document = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "options": vars(options) | {
            "json": str(options.json), "folder": str(options.folder)}, "results": results, "differing": differing}
        options.json.write_text(json.dumps(document, indent=1))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
