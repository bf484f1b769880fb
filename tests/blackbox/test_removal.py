"""`tenants remove`: refused while the registry lists the tenant, then complete, and nothing comes back after a crash."""

import hashlib
import json
import subprocess

import otlp
import yaml

ACME, GLOBEX = "111122223333", "444455556666"


def sender(name, account):
    return {"name": name, "token_sha256": hashlib.sha256(name.encode()).hexdigest(), "accounts": [account]}


def write_tenants(running, *tenants):
    listed = [{"id": name, "accounts": [account]} for name, account in tenants]
    (running.folder / "tenants.yaml").write_text(yaml.safe_dump({"tenants": listed}))


def remove(running, tenant):
    command = [running.program, "tenants", "remove", tenant, "--config", running.folder / "collector.yaml"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_tenant_is_removed_once_the_registry_does_not_list_it(collectors):
    running = collectors({}, start=False)
    running.config = {"listen": {"http": f"127.0.0.1:{running.ports['http']}"}, "registry": {"file": "tenants.yaml"},
                      "identity": {"tokens": [sender("one", ACME), sender("two", GLOBEX)]}}
    running.folder.mkdir(parents=True)
    write_tenants(running, ("acme", ACME), ("globex", GLOBEX))
    running.start()
    for token in ("one", "two"):
        sent = running.send("metrics", otlp.gauge_json("shop_carts", 1.0), headers={"Authorization": f"Bearer {token}"})
        assert sent.status_code == 200, sent.text
    tenants = lambda: {found["metric"]["tenant"] for found in running.query("shop_carts")}
    assert tenants() == {"acme", "globex"}

    refused = remove(running, "acme")
    assert refused.returncode == 1 and "the registry lists tenant acme" in refused.stderr

    write_tenants(running, ("globex", GLOBEX))
    assert running.session.post(running.url + "/-/reload", timeout=30).status_code == 200
    removed = remove(running, "acme")
    assert removed.returncode == 0, removed.stderr
    report = json.loads(removed.stdout)
    assert report["tenant"] == "acme" and report["metrics"]["series"] >= 1 and report["metrics"]["samples"] >= 1
    assert tenants() == {"globex"}

    running.kill()
    running.start()
    assert tenants() == {"globex"}
    assert running.get("/api/v1/series", **{"match[]": '{tenant="acme"}'}).json()["data"] == []
