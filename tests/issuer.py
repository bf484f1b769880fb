"""An issuer of web identity tokens on loopback, signing with `cryptography`: an implementation that no one here wrote."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

AUDIENCE = "https://collector.test"


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Issuer:
    """Serves its keys at /.well-known/jwks.json and where its OpenID Connect document says, and counts who asks."""

    def __init__(self):
        self.keys, self.asked, self.document = {}, 0, {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked += 1
                keys = {"keys": [issuer.jwk(kid) for kid in issuer.keys]}
                document = {"issuer": issuer.url, "jwks_uri": issuer.url + "/keys/v1", **issuer.document}
                served = {"/.well-known/jwks.json": keys, "/keys/v1": keys, "/.well-known/openid-configuration": document}
                body = json.dumps(served.get(self.path)).encode()
                self.send_response(200 if self.path in served else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def add_key(self, kid):
        self.keys[kid] = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwk(self, kid):
        public = self.keys[kid].public_key().public_numbers()
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": number(public.n), "e": number(public.e)}

    def token(self, kid, key=None, header=None, **claims):
        """A token in the form of AWS's outbound identity federation; a claim of None is left out."""
        now = int(time.time())
        whole = {"iss": self.url, "aud": AUDIENCE, "sub": "arn:aws:iam::111122223333:role/tenantscope-agent",
                 "iat": now, "exp": now + 600, **claims}
        whole = {name: value for name, value in whole.items() if value is not None}
        parts = [{"alg": "RS256", "typ": "JWT", "kid": kid, **(header or {})}, whole]
        text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        signature = (key or self.keys[kid]).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{encoded(signature)}"

    def config(self, **more):
        return {"issuer": self.url, "audience": AUDIENCE, "algorithms": ["RS256", "ES384"], **more}


def of_account(account):
    """The claim of AWS's outbound identity federation."""
    return {"https://sts.amazonaws.com/": {"aws_account": account}}
