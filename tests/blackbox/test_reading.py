"""Logs and traces as Grafana's Loki and Tempo data sources ask for them, before and after a flush."""

import otlp
import pytest
from collector import eventually


def lines(collector, query, tenant=None, **more):
    answer = collector.get("/loki/api/v1/query_range", tenant, query=query, **more)
    assert answer.status_code == 200, answer.text
    return [line for stream in answer.json()["data"]["result"] for _, line in stream["values"]]


@pytest.fixture(params=["buffer", "files"])
def filled(request, collectors):
    """A collector that holds two tenants' logs and spans, in memory or in files."""
    flush = {"buffer": "1h", "files": "200ms"}[request.param]
    running = collectors({"lake": {"flush_interval": flush}})
    for tenant in ("acme", "globex"):
        running.send("logs", otlp.logs([f"{tenant} placed an order", f"{tenant} payment declined"],
                                       {"service.name": "shop"}), tenant=tenant)
        running.send("traces", otlp.spans(["POST /orders", "PutItem"], {"service.name": "shop"}, trace_id=tenant.encode().ljust(16, b"0"),
                                          duration_ms=120, error=tenant == "globex"), tenant=tenant)
    if request.param == "files":
        eventually(lambda: len(list((running.folder / "data").rglob("*.parquet"))) >= 2)
    return running


def test_selectors_and_line_filters(filled):
    assert lines(filled, '{tenant="acme"} |= "declined"') == ["acme payment declined"]
    assert sorted(lines(filled, '{service_name="shop"} |~ "(order|declined)" != "globex"')) == \
        ["acme payment declined", "acme placed an order"]
    assert lines(filled, '{tenant="nobody"}') == []
    assert lines(filled, '{service_name="shop"}', tenant="globex", limit=1, direction="backward") == ["globex payment declined"]


def test_labels_and_values_stay_in_scope(filled):
    assert "service_name" in filled.get("/loki/api/v1/labels").json()["data"]
    assert filled.get("/loki/api/v1/label/tenant/values").json()["data"] == ["acme", "globex"]
    assert filled.get("/loki/api/v1/label/tenant/values", tenant="acme").json()["data"] == ["acme"]


def test_a_wrong_logql_query_is_a_400(filled):
    answer = filled.get("/loki/api/v1/query_range", query='{tenant="acme"')
    assert answer.status_code == 400 and answer.text


def test_a_trace_by_id_and_not_for_others(filled):
    acme = b"acme".ljust(16, b"0").hex()
    assert "PutItem" in filled.get(f"/tempo/api/traces/{acme}", tenant="acme").text
    assert filled.get(f"/tempo/api/traces/{acme}", tenant="globex").status_code == 404
    assert filled.get("/tempo/api/traces/" + "f" * 32).status_code == 404


@pytest.mark.parametrize("question, found", [
    ({"q": '{ resource.service.name = "shop" }'}, 2),
    ({"q": '{ resource.tenant.id = "acme" }'}, 1),
    ({"q": '{ name = "PutItem" && duration > 100ms }'}, 2),
    ({"q": '{ duration > 1s }'}, 0),
    ({"q": '{ status = error }'}, 1),
    ({"tags": "service.name=shop", "minDuration": "100ms"}, 2),
    ({"tags": "service.name=nothing"}, 0),
])
def test_search(filled, question, found):
    answer = filled.get("/tempo/api/search", **question)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["traces"]) == found


def test_the_tables_are_read_by_others(filled):
    """By the `deltalake` package, once there are files."""
    from deltalake import DeltaTable, QueryBuilder
    data = filled.folder / "data"
    if not any(data.rglob("*.parquet")):
        pytest.skip("nothing is in files yet")

    def rows():
        tables = sorted(path.parent for path in data.rglob("_delta_log"))
        counts = [QueryBuilder().register("t", DeltaTable(str(table))).execute("select count(*) as n from t").read_all() for table in tables]
        return [count["n"][0].as_py() for count in counts]

    # A file is there before the commit that names it, and what came after a flush waits for the next.
    eventually(lambda: rows() == [4, 4])
