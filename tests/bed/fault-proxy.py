#!/usr/bin/env python3
"""Stands between a client and the API server, speaks plain HTTP to the one and TLS with a token to the other, and does
what networks and API servers do on a bad day. Told by requests of its own:

  POST /-/cut            ends every watch that is open, in the middle of its stream
  POST /-/gone?lists=N&watches=N   the next N lists answer 410 Gone; the next N watches begin with a 410 event
  GET  /-/counts         JSON: {"lists": N, "watches": N, "gone_lists": N, "gone_watches": N, "cut": N, "mutating": [...]}
"""
import argparse
import http.client
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

GONE = json.dumps({
    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
    "message": "too old resource version", "reason": "Expired", "code": 410,
}).encode()
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host", "authorization", "accept-encoding"}


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.open = set()
        self.gone = {"lists": 0, "watches": 0}
        self.counts = {"lists": 0, "watches": 0, "gone_lists": 0, "gone_watches": 0, "cut": 0, "mutating": []}

    def take(self, kind):
        """Whether this one shall be told 410."""
        with self.lock:
            self.counts[kind] += 1
            if self.gone[kind] == 0:
                return False
            self.gone[kind] -= 1
            self.counts["gone_" + kind] += 1
            return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--server", required=True, help="https://host:port")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--token-file", required=True)
    options = parser.parse_args()
    server, state = urlsplit(options.server), State()
    context = ssl.create_default_context(cafile=options.ca)
    with open(options.token_file, encoding="ascii") as file:
        token = file.read().strip()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, body, kind="application/json"):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def told(self, url):
            query = parse_qs(url.query)
            if url.path == "/-/cut":
                with state.lock:
                    streams = list(state.open)
                    state.counts["cut"] += len(streams)
                for stream in streams:
                    # Upstream ends; the client sees a chunked body that stops short.
                    stream.shutdown(2)
            elif url.path == "/-/gone":
                with state.lock:
                    for kind in state.gone:
                        state.gone[kind] += int(query.get(kind, ["0"])[0])
            with state.lock:
                body = json.dumps(state.counts).encode()
            self.answer(200, body)

        def forward(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            if url.path.startswith("/-/"):
                return self.told(url)
            query = parse_qs(url.query, keep_blank_values=True)
            watch = query.get("watch", ["false"])[0] in ("true", "1", "")
            if self.command in ("POST", "PUT", "PATCH", "DELETE"):
                with state.lock:
                    state.counts["mutating"].append(f"{self.command} {self.path}")
            elif watch:
                if state.take("watches"):
                    event = b'{"type":"ERROR","object":' + GONE + b"}\n"
                    return self.answer(200, event)
            elif ("limit" in query or "labelSelector" in query) and state.take("lists"):
                return self.answer(410, GONE)
            upstream = http.client.HTTPSConnection(server.hostname, server.port, context=context, timeout=600)
            try:
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
                headers["Authorization"] = "Bearer " + token
                upstream.request(self.command, self.path, body or None, headers)
                answer = upstream.getresponse()
                if watch:
                    self.stream(upstream, answer)
                else:
                    self.answer(answer.status, answer.read(), answer.headers.get("Content-Type", "application/json"))
            finally:
                upstream.close()

        def stream(self, upstream, answer):
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            sock = upstream.sock
            with state.lock:
                state.open.add(sock)
            try:
                while chunk := answer.read1(65536):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")
            except (OSError, http.client.HTTPException):
                pass
            finally:
                with state.lock:
                    state.open.discard(sock)
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", options.listen), Handler).serve_forever()


if __name__ == "__main__":
    main()
