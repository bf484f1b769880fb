"""The demo's driver; deploy/demo/up and deploy/demo/down call it."""

import argparse
import datetime
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from processes import NotReady, Started  # noqa: E402  (the path is set above)

ROOT = Path(__file__).resolve().parents[3]
# The agents poll within seconds; what takes longer comes later.
FIRST_DATA_SECONDS = 60
FOLDER = Path(os.environ.get("TENANTSCOPE_DEMO_DIR", ROOT / "target" / "demo"))


def say(text):
    print(f"demo: {text}", flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="deploy/demo", description="Six tenants, their agents, the collector, an alert.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser(
        "up", help="start the demo", prog="deploy/demo/up", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Builds the programs, starts six tenants in an AWS of moto's, an agent in each account, the collector\n"
                    "and Alertmanager, prints where to look, and leaves them running; deploy/demo/down stops them.\n"
                    "Everything listens on loopback. What an earlier start stored is removed.",
        epilog="environment:\n"
               "  TENANTSCOPE_DEMO_DIR  where configuration, data and logs go (default target/demo)\n"
               "  TENANTSCOPE_CACHE     where the Python environment is kept (default ~/.cache/tenantscope)")
    up.add_argument("--check", action="store_true", help="check every promise on a demo of its own, then stop it")
    up.add_argument("--release", action="store_true", help="build and run optimised programs")
    up.add_argument("--bad-after", type=int, metavar="SECONDS",
                    help="when the bad tenant goes bad (default 120; 20 with --check)")
    up.add_argument("--seconds", type=int, default=240, help="how long --check waits for its promises (default 240)")
    up.add_argument("--reports", type=Path, help="where --check writes the SLO report (default target/demo-check/reports)")
    up.add_argument("--programs", type=Path, default=ROOT / "target" / "debug", help=argparse.SUPPRESS)
    commands.add_parser("down", help="stop what up started", prog="deploy/demo/down",
                        description="Stops, by process id, what deploy/demo/up started. The data stays until the next up.")
    return parser.parse_args()


def where_to_look(stack, bad_after):
    """What `up` prints at the end."""
    import examples
    from cloud import BAD_TENANT
    collector = stack.url("collector")
    month = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m")
    pages = [
        ("/", "the fleet: every tenant's health, budget, freshness"),
        ("/tenants/globex", f"the tenant that goes bad {bad_after} s after the start; its alert follows in a minute"),
        ("/incidents", "what is wrong now, and how far it reaches"),
        ("/slo", "the error budgets, with reports"),
        ("/metrics", "the collector about itself"),
    ]
    rows = [(collector + path, what) for path, what in pages]
    if "alertmanager" in stack.ports:
        rows.append((stack.url("alertmanager") + "/", "Alertmanager, where the alert arrives"))
    width = max(len(address) for address, _ in rows)
    listed = "\n".join(f"  {address:<{width}}  {what}" for address, what in rows)
    return f"""
The demo runs. All tenants have data within a minute. What to look at:
{listed}

Ask one tenant (X-Scope-OrgID), or all of them without that header, in PromQL, LogQL and TraceQL; write the SLO reports.
Once {BAD_TENANT} is bad, {" and ".join(examples.FAULTS)} find something, too:
{examples.as_curl(collector, BAD_TENANT)}
  {stack.programs}/tenantscope-collector report --config {stack.folder}/collector.yaml --month {month} --out reports

For Grafana: dashboards/README.md. Data sources: Prometheus and Loki at {collector}, Tempo at {collector}/tempo.
Logs of every process: {stack.folder}/log. Stop it: deploy/demo/down"""


def interrupt(*_):
    raise KeyboardInterrupt


def up(options):
    import examples
    from cloud import BAD_TENANT
    from stack import Stack
    signal.signal(signal.SIGTERM, interrupt)
    started = Started(FOLDER / "started.json")
    if started.running():
        say(f"it is running already, at {started.read()['collector']}/; deploy/demo/down stops it")
        return 1
    shutil.rmtree(FOLDER, ignore_errors=True)
    stack = Stack(FOLDER, options.programs, preferred_ports=True, say=say)
    bad_after = 120 if options.bad_after is None else options.bad_after
    try:
        stack.start(bad_after=bad_after, backfill_minutes=55)
    except (NotReady, KeyboardInterrupt) as error:
        say(f"could not start: {str(error) or 'interrupted'}")
        stack.stop()
        return 1
    started.write(stack.processes, collector=stack.url("collector"))
    say("waiting until there is something to ask for")
    for silent in examples.wait(stack.url("collector"), BAD_TENANT, FIRST_DATA_SECONDS):
        say(f"no answer yet to {silent}")
    print(where_to_look(stack, bad_after))
    return 0


def check(options):
    import examples
    from check import Questions
    from cloud import BAD_TENANT
    from stack import Stack
    folder = FOLDER.with_name(FOLDER.name + "-check")
    shutil.rmtree(folder, ignore_errors=True)
    stack = Stack(folder, options.programs, preferred_ports=False, say=say)
    missing = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        stack.start(bad_after=20 if options.bad_after is None else options.bad_after, backfill_minutes=20)
        deadline = time.monotonic() + options.seconds
        # Of one that never goes bad.
        healthy = next(account.tenant for account in stack.accounts if account.tenant != BAD_TENANT)
        for question in [*Questions(stack).checks(), *examples.checks(stack.url("collector"), healthy)]:
            reason = question.wait(deadline)
            print(f"  {'ok     ' if reason is None else 'MISSING'} {question.name}" + (f": {reason}" if reason else ""), flush=True)
            if reason is not None:
                missing.append(question.name)
        missing += report(stack, options.reports or folder / "reports", options.programs)
        memory(stack)
    except NotReady as error:
        say(f"could not start: {error}")
        missing.append("a start")
    finally:
        say("stopping")
        exits = stack.stop()
    ours = {name: code for name, code in exits.items() if name == "collector" or name.startswith("agent-")}
    bad_exits = {name: code for name, code in ours.items() if code != 0}
    if bad_exits:
        missing.append(f"exit code 0 of {bad_exits}")
    say(f"missing: {', '.join(missing)}" if missing else "everything that the demo promises is there")
    return 1 if missing else 0


def report(stack, out, programs):
    """Writes the SLO reports of this month; what is missing."""
    month = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m")
    missing = []
    for form in ("html", "json"):
        done = subprocess.run(
            [programs / "tenantscope-collector", "report", "--config", stack.folder / "collector.yaml",
             "--month", month, "--format", form, "--out", out], capture_output=True, text=True, check=False)
        files = [out / f"{account.tenant}.{form}" for account in stack.accounts]
        absent = [f.name for f in files if not f.exists() or f.stat().st_size == 0]
        if done.returncode != 0 or absent:
            missing.append(f"SLO report ({form})")
            print(f"  MISSING SLO report ({form}): exit code {done.returncode}, absent {absent}: {done.stderr.strip()}")
        else:
            print(f"  ok      SLO report ({form}): {len(files)} tenants in {out}", flush=True)
    return missing


def memory(stack):
    """Resident memory of our programs, for the README."""
    sizes = {p.name: p.resident_bytes() / 2**20 for p in stack.processes if p.running()}
    agents = [size for name, size in sizes.items() if name.startswith("agent-")]
    if agents:
        say(f"resident memory: collector {sizes.get('collector', 0):.0f} MiB, "
            f"agents {min(agents):.0f} to {max(agents):.0f} MiB")


def down(_):
    started = Started(FOLDER / "started.json")
    if not started.running():
        say("nothing runs")
    started.stop(say)
    return 0


def main():
    options = arguments()
    if options.command == "down":
        return down(options)
    return check(options) if options.check else up(options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
