"""An AWS organization in moto, and a collector whose registry is made of it."""

import http.server
import json
import threading

import identity
import requests
from processes import free_port


class Organization:
    """Accounts, units and tags, made by boto3."""

    def __init__(self, url, existing=False):
        self.url = url
        self.client = identity.client(url, "organizations")
        if not existing:
            self.client.create_organization(FeatureSet="ALL")
        self.root = self.client.list_roots()["Roots"][0]["Id"]

    def unit(self, name, parent=None):
        made = self.client.create_organizational_unit(ParentId=parent or self.root, Name=name)
        return made["OrganizationalUnit"]["Id"]

    def account(self, name, unit=None, **tags):
        tags = [{"Key": key, "Value": value} for key, value in tags.items()]
        made = self.client.create_account(Email=f"{name}@example.com", AccountName=name, Tags=tags)
        account = made["CreateAccountStatus"]["AccountId"]
        if unit:
            self.client.move_account(AccountId=account, SourceParentId=self.root, DestinationParentId=unit)
        return account

    def tag(self, account, **tags):
        self.client.tag_resource(ResourceId=account, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])

    def close(self, account):
        self.client.close_account(AccountId=account)

    def remove(self, account):
        self.client.remove_account_from_organization(AccountId=account)


class Throttling:
    """Stands before moto and answers calls as AWS does when there are too many, where `refuses(operation, number)` says so."""

    def __init__(self, url):
        self.refuses = lambda operation, number: False
        self.calls = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                operation = self.headers["X-Amz-Target"].split(".")[1]
                proxy.calls.append(operation)
                if proxy.refuses(operation, len(proxy.calls)):
                    status, answer = 400, json.dumps({"__type": "TooManyRequestsException", "Message": "Rate exceeded"}).encode()
                else:
                    headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
                    found = requests.post(url, data=body, headers=headers, timeout=30)
                    status, answer = found.status_code, found.content
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.port = free_port()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def environment(url):
    """What points a collector at it."""
    return {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "collector", "AWS_SECRET_ACCESS_KEY": "collector"}


def config(sts_url, organizations=None, **registry):
    """collector.yaml for proofs and an organization that is read each second."""
    made = identity.config(sts_url)
    made["registry"] = {"organizations": {"refresh": "1s", "calls_per_second": 100, **(organizations or {})}, **registry}
    return made
