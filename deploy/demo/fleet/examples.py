"""What `up` prints to ask with curl. Each is answered by the time it is printed, of any tenant: nothing need be wrong."""

import time
import urllib.parse

from check import Check, get

# Path, parameter and query.
EXAMPLES = [
    ("/api/v1/query", "query", "tenant:aws_lambda_error_ratio"),
    ("/loki/api/v1/query_range", "query", '{log_group="/aws/lambda/api"} |= "order placed"'),
    ("/tempo/api/search", "q", '{resource.service.name="shop" && duration > 5ms}'),
]
# What has an answer once a tenant is bad.
FAULTS = ['{level="error"}', "{status=error}"]


def answer(collector, example, tenant):
    path, parameter, query = example
    found = get(f"{collector}{path}?{urllib.parse.urlencode({parameter: query})}", tenant)
    return found["traces"] if "traces" in found else found["data"]["result"]


def checks(collector, tenant):
    """Whether each example is answered about a tenant."""
    def ask(example):
        return None if answer(collector, example, tenant) else f"nothing found of {tenant}"
    for example in EXAMPLES:
        yield Check(f"what to ask with curl, {example[2]}", lambda example=example: ask(example))


def wait(collector, tenant, seconds):
    """Waits until each example is answered about a tenant; what was not, with the reason."""
    deadline = time.monotonic() + seconds
    reasons = [(check.name, check.wait(deadline)) for check in checks(collector, tenant)]
    return [f"{name}: {reason}" for name, reason in reasons if reason is not None]


def as_curl(collector, tenant):
    """The lines to print."""
    def line(path, parameter, query):
        return f"  curl -G {collector}{path} -H 'X-Scope-OrgID: {tenant}' --data-urlencode '{parameter}={query}'"
    return "\n".join(line(*example) for example in EXAMPLES)
