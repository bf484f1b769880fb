"""One metric in by OTLP over HTTP, stamped, stored, and out by PromQL."""

import otlp
import remote_write
from collector import eventually


def test_an_otlp_metric_is_found_under_its_tenant(collector):
    assert collector.send("metrics", otlp.gauge_json("shop_carts", 7.0), tenant="acme").status_code == 200
    found = collector.query("shop_carts")
    assert [(e["metric"]["tenant"], e["value"][1]) for e in found] == [("acme", "7")]


def test_without_a_tenant_it_is_anonymous(collector):
    assert collector.send("metrics", otlp.gauge_json("shop_carts", 7.0)).status_code == 200
    assert collector.query("shop_carts")[0]["metric"]["tenant"] == "anonymous"


def test_a_claimed_tenant_is_moved_aside(collector):
    forged = otlp.gauges("shop_carts", [({"tenant": "globex"}, 1.0, otlp.now_ns())],
                         {"tenant.id": "globex", "cloud.account.id": "111122223333", "cloud.region": "eu-west-1"})
    assert collector.send("metrics", forged, tenant="acme").status_code == 200
    labels = collector.query("shop_carts")[0]["metric"]
    assert labels["tenant"] == "acme"
    assert labels["exported_tenant"] == "globex"
    assert "account_id" not in labels
    assert collector.query('shop_carts{tenant="globex"}') == []


def test_a_narrowed_reader_sees_its_tenant_alone(collector):
    for tenant in ("acme", "globex", "initech"):
        collector.send("metrics", otlp.gauge_json("shop_carts", 1.0), tenant=tenant)
    seen = {e["metric"]["tenant"] for e in collector.query("shop_carts", tenant="acme|globex")}
    assert seen == {"acme", "globex"}
    assert collector.query("shop_carts", tenant="nobody") == []
    values = collector.get("/api/v1/label/tenant/values", tenant="acme").json()["data"]
    assert values == ["acme"]


def test_a_write_for_two_tenants_is_refused(collector):
    assert collector.send("metrics", otlp.gauge_json("shop_carts", 1.0), tenant="a|b").status_code == 400
    assert collector.query("shop_carts") == []


def test_remote_write_is_found_and_the_newest_write_wins(collector):
    at = otlp.now_ns() // 1_000_000 - 5_000
    for value in (1.0, 2.0):
        answer = remote_write.push(collector.session, collector.url + "/api/v1/write",
                                   [({"__name__": "up", "job": "node"}, [(at, value)])], {"X-Scope-OrgID": "acme"})
        assert answer.status_code in (200, 204), answer.text
    assert collector.value("up") == 2.0
    assert collector.value("count_over_time(up[1m])") == 1.0


def test_everything_is_there_after_a_restart(collector):
    collector.send("metrics", otlp.gauge_json("shop_carts", 7.0), tenant="acme")
    collector.send("logs", otlp.logs(["cart abandoned"]), tenant="acme")
    collector.send("traces", otlp.spans(["GET /cart", "select"], trace_id=b"\x01" * 16), tenant="acme")
    assert collector.stop() == 0
    collector.start()
    assert collector.value("shop_carts") == 7.0
    found = collector.get("/loki/api/v1/query_range", query='{tenant="acme"} |= "abandoned"').json()["data"]["result"]
    assert [line for stream in found for _, line in stream["values"]] == ["cart abandoned"]
    assert "select" in collector.get("/tempo/api/traces/" + "01" * 16).text


def test_own_metrics_count_what_came(collector):
    collector.send("metrics", otlp.gauge_json("shop_carts", 7.0), tenant="acme")
    eventually(lambda: collector.get("/metrics").text.count("tenantscope_ingest_") > 0)
    assert "acme" not in collector.get("/metrics").text
