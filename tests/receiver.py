"""A webhook's receiving end: a real HTTP server on a port that it keeps while it is down."""

import http.server
import json
import threading

from processes import free_port


class Receiver:
    """Takes POSTs of JSON and keeps them in the order in which they came."""

    def __init__(self, start=True):
        self.port = free_port()
        self.received = []
        self.server = None
        if start:
            self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/alerts"

    def start(self):
        received = self.received

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def about(self, alert, status=None):
        """The payloads about the alert."""
        return [payload for payload in list(self.received)
                if payload["groupLabels"].get("alertname") == alert and status in (None, payload["status"])]
