"""The series of a fleet: tenants with services, pods and what one pod's process says about itself.

Every pod has the same 200 series, so the values of a fleet are a matrix (pods, 200), which `values` moves. A tenant has
ten pods. A pod that is replaced keeps its place in the matrix and gets new names: that is the fleet's churn.
"""

import itertools

import numpy

PODS_PER_TENANT = 10
SERVICES = ["checkout", "catalog", "identity", "billing", "search"]
ROUTES = ["/api/v1/orders", "/api/v1/orders/{id}", "/api/v1/users/{id}/sessions", "/healthz"]
METHODS_AND_CODES = [("GET", "200"), ("GET", "404"), ("POST", "201"), ("POST", "400"), ("POST", "503")]
BOUNDS = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"]
TABLES = ["orders", "order_lines", "users", "sessions", "payments"]
KEYS = [f"limit_{key}" for key in "abcdefghijklmn"]


def _families():
    """(name, kind of values, [labels of each series of one pod])"""
    routes = [{"route": route} for route in ROUTES[:2]]
    yield "http_requests_total", "counter", [
        {"route": route, "method": method, "code": code} for route in ROUTES for method, code in METHODS_AND_CODES]
    yield "http_request_duration_seconds_bucket", "bucket", [
        {**route, "le": bound} for route in routes for bound in BOUNDS]
    yield "http_request_duration_seconds_count", "observations", routes
    yield "http_request_duration_seconds_sum", "latency_sum", routes
    yield "queue_depth", "integer", [{"queue": f"queue-{n:02}"} for n in range(20)]
    yield "process_cpu_ratio", "noise", [{"core": str(n)} for n in range(20)]
    yield "memory_used_bytes", "pages", [{"area": f"arena-{n}"} for n in range(20)]
    yield "pool_utilisation_ratio", "walk", [{"pool": f"pool-{n}"} for n in range(20)]
    yield "network_bytes_total", "bytes", [
        {"interface": f"eth{n}", "direction": direction} for n in range(10) for direction in ("rx", "tx")]
    yield "db_queries_total", "counter", [
        {"table": table, "op": op} for table in TABLES for op in ("select", "insert", "update", "delete")]
    yield "errors_total", "idle", [{"kind": f"kind-{n:02}"} for n in range(20)]
    yield "up", "constant", [{}]
    yield "target_info", "constant", [{"version": None}]
    yield "config_limit", "constant", [{"key": key} for key in KEYS]


COLUMNS = [(name, kind, labels) for name, kind, many in _families() for labels in many]
SERIES_PER_POD = len(COLUMNS)
SERIES_PER_TENANT = SERIES_PER_POD * PODS_PER_TENANT


def columns_of(kind):
    return numpy.array([at for at, (_, its, _) in enumerate(COLUMNS) if its == kind])


class Pod:
    """One place in the fleet; `life` counts the pods that have filled it."""

    def __init__(self, number):
        self.number, self.life = number, 0
        self.tenant = f"tenant-{number // PODS_PER_TENANT:04}"

    def labels(self):
        """The labels of all its series, sorted by name, in the order of COLUMNS."""
        place = self.number % PODS_PER_TENANT
        service = SERVICES[place % len(SERVICES)]
        mixed = (self.number * 2654435761 + self.life * 40503) % 2**32
        common = {
            "tenant": self.tenant, "cluster": f"eu-{self.number // PODS_PER_TENANT % 7}", "namespace": f"{service}-prod",
            "service": service, "job": f"kubernetes/{service}", "pod": f"{service}-{mixed % 65536:04x}-{mixed >> 16:04x}",
            "instance": f"10.{mixed >> 24}.{mixed >> 16 & 255}.{mixed >> 8 & 255}:8080",
        }
        version = f"1.{mixed % 5}.{self.life}"
        for name, _, more in COLUMNS:
            own = {key: version if value is None else value for key, value in more.items()}
            yield sorted({"__name__": name, **common, **own}.items())


class Fleet:
    """The pods, and which of them are replaced as time passes."""

    def __init__(self, series, churn_per_hour, seed):
        tenants = max(1, series // SERIES_PER_TENANT)
        self.pods = [Pod(number) for number in range(tenants * PODS_PER_TENANT)]
        self.churn_per_hour = churn_per_hour
        self.random = numpy.random.default_rng(seed)
        self.replaced = 0

    @property
    def series(self):
        """How many are active at a time."""
        return len(self.pods) * SERIES_PER_POD

    @property
    def series_ever(self):
        return self.series + self.replaced * SERIES_PER_POD

    def replace(self, seconds):
        """Replaces the pods that end in so many seconds; their numbers."""
        share = self.churn_per_hour * seconds / 3600
        numbers = numpy.flatnonzero(self.random.random(len(self.pods)) < share)
        for number in numbers:
            self.pods[number].life += 1
        self.replaced += len(numbers)
        return numbers

    def tenants(self):
        """The pods of each tenant."""
        return [list(pods) for _, pods in itertools.groupby(self.pods, lambda pod: pod.tenant)]
