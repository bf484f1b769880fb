"""The demo's own incident tool: writes each notification that it receives as one line of JSON."""

import http.server
import json
import sys


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes POSTs of JSON up to 4 MiB."""

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if length > 4 << 20:
            self.send_error(413)
            return
        body = json.loads(self.rfile.read(length))
        with open(sys.argv[2], "a", encoding="utf-8") as out:
            out.write(json.dumps(body) + "\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
