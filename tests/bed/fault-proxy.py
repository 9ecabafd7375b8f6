#!/usr/bin/env python3
"""Stands between a client and the API server, speaks plain HTTP to the one and TLS with a token to the other, and does
what networks and API servers do on a bad day. Told by requests of its own:

  POST /-/cut            ends every watch that is open, in the middle of its stream
  POST /-/gone?lists=N&watches=N   the next N lists answer 410 Gone; the next N watches begin with a 410 event
  GET  /-/counts         JSON: {"lists": N, "watches": N, "gone_lists": N, "gone_watches": N, "cut": N, "mutating": [...]}

With a COMMAND it starts the client too, and takes it away where that hurts most:

  POST /-/run            starts COMMAND where it does not run. With --name NAME the API server is told by the user agent
                         who asks: NAME-1 for what the first start asks for, NAME-2 for the second
  POST /-/arm?at=N&when=WHEN&act=ACT   at the N-th request from now on that would change something. WHEN is `before` (it
                         is not sent), `sent` (it is answered, and the client does not hear that) or `answered` (the client
                         heard it, and asks for the next thing, which is not sent). ACT is `kill`, or `freeze`: then the
                         request is held until /-/thaw, and reaches the API server, or its answer the client, only then
  POST /-/freeze         freezes COMMAND now
  POST /-/thaw           lets it go on; what is held is sent first, as if it had been on its way for so long
  GET  /-/process        JSON, and the answer to these four; see Process.told

With --only NAMESPACE the client takes that namespace for the whole cluster: its lists and watches of all namespaces, and
of sources, show what is of that namespace, and the source of that name. So several clients work side by side.
"""
import argparse
import contextlib
import http.client
import json
import queue
import re
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

GONE = json.dumps({
    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
    "message": "too old resource version", "reason": "Expired", "code": 410,
}).encode()
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host", "authorization", "accept-encoding",
       "user-agent"}
OF_ALL = re.compile(r"(/api/v1|/apis/[^/]+/[^/]+)/([a-z]+)")
# An API server ends a connection that was idle for 90 s; a request must not meet that moment.
IDLE = 30


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


class Process:
    """The client. It is started by the main thread, since it dies with the thread that started it."""

    def __init__(self, command, name):
        self.command, self.name = command, name
        self.lock = threading.Lock()
        self.wanted, self.begun = queue.Queue(), queue.Queue()
        self.child, self.starts, self.frozen, self.held = None, 0, False, False
        self.thawing = threading.Event()
        self.rule, self.due, self.fired, self.counted, self.late = None, None, None, 0, None
        # Requests are numbered, so that one can see what was asked after what was written.
        self.number, self.thawed, self.asked, self.wrote = 0, 0, {}, []

    def serve(self):
        while True:
            self.wanted.get()
            if not self.alive():
                with self.lock:
                    self.asked, self.frozen, self.held, self.late = {}, False, False, None
                    self.starts += 1
                self.child = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", "--", *self.command], stdin=subprocess.DEVNULL)
            self.begun.put(None)

    def run(self):
        self.wanted.put(None)
        self.begun.get()

    def alive(self):
        return self.child is not None and self.child.poll() is None

    def told(self):
        with self.lock:
            return {
                "pid": self.child.pid if self.child else 0, "starts": self.starts, "alive": self.alive(),
                "frozen": self.frozen,
                # Where the rule did what it says: {"at": N, "request": "PATCH /…"}.
                "fired": self.fired,
                # Of requests that would change something, how many since the rule was given, and each with its number.
                "counted": self.counted, "wrote": self.wrote,
                # Of each path that was read since the start, the number of the last time; when it was let go on.
                "asked": self.asked, "thawed": self.thawed,
            }

    def arm(self, at, when, act):
        if when not in ("before", "sent", "answered") or act not in ("kill", "freeze"):
            raise ValueError(f"{when} {act}")
        with self.lock:
            self.rule, self.fired, self.counted, self.late, self.wrote = (at, when, act), None, 0, None, []

    def heard(self):
        """What is to be done now that the client asks for something after it heard an answer: once, an act or nothing."""
        with self.lock:
            late, self.late = self.late, None
            if late is not None:
                self.fired = self.due
            return late

    def reads(self, path):
        with self.lock:
            self.number += 1
            self.asked[path] = self.number

    def writes(self, request):
        """What the rule says of this one: when and what, or nothing."""
        with self.lock:
            self.number += 1
            self.counted += 1
            self.wrote.append([self.number, request])
            if self.rule is None or self.counted != self.rule[0]:
                return None, None
            at, when, act = self.rule
            self.rule, self.due = None, {"at": at, "request": request}
            if when != "answered":
                self.fired = self.due
            return when, act

    def answered(self, act):
        with self.lock:
            self.late = act

    def kill(self):
        self.child.kill()
        self.child.wait()

    def freeze(self, holding=False):
        """With `holding` somebody else lets it go on, once it is to."""
        with self.lock:
            self.held, self.frozen = holding, True
            self.thawing.clear()
            self.child.send_signal(signal.SIGSTOP)

    def thaw(self):
        """Ends when it goes on."""
        self.thawing.set()
        if self.held:
            while self.frozen and self.alive():
                time.sleep(0.01)
        else:
            self.go_on()

    def go_on(self):
        with self.lock:
            self.held, self.frozen, self.thawed = False, False, self.number
            self.child.send_signal(signal.SIGCONT)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--control", help="a socket in the file system that is told the same")
    parser.add_argument("--server", required=True, help="https://host:port")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--token-file", required=True)
    parser.add_argument("--only", metavar="NAMESPACE")
    parser.add_argument("--name")
    parser.add_argument("command", nargs="*")
    return parser.parse_args()


def main():
    options = arguments()
    server, state, process = urlsplit(options.server), State(), Process(options.command, options.name)
    context = ssl.create_default_context(cafile=options.ca)
    with open(options.token_file, encoding="ascii") as file:
        token = file.read().strip()

    def narrowed(url):
        """What is asked for in place of a list or a watch of the whole cluster."""
        found = OF_ALL.fullmatch(url.path)
        if not options.only or not found or found[2] in ("namespaces", "nodes"):
            return url.geturl()
        if found[2] == "releasesources":
            only = f"fieldSelector=metadata.name%3D{options.only}"
            return url._replace(query=f"{url.query}&{only}" if url.query else only).geturl()
        return url._replace(path=f"{found[1]}/namespaces/{options.only}/{found[2]}").geturl()

    class Told(BaseHTTPRequestHandler):
        """Requests that are meant for this program."""
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
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            answer = process.told
            match url.path:
                case "/-/cut":
                    with state.lock:
                        streams = list(state.open)
                        state.counts["cut"] += len(streams)
                    for stream in streams:
                        # Upstream ends; the client sees a chunked body that stops short. It may have ended by itself.
                        with contextlib.suppress(OSError):
                            stream.shutdown(2)
                    answer = None
                case "/-/gone":
                    with state.lock:
                        for kind in state.gone:
                            state.gone[kind] += int(query.get(kind, 0))
                    answer = None
                case "/-/counts":
                    answer = None
                case "/-/run":
                    process.run()
                case "/-/arm":
                    process.arm(int(query["at"]), query["when"], query["act"])
                case "/-/freeze":
                    process.freeze()
                case "/-/thaw":
                    process.thaw()
                case "/-/process":
                    pass
                case _:
                    return self.answer(404, b"{}")
            if answer is None:
                with state.lock:
                    return self.answer(200, json.dumps(state.counts).encode())
            self.answer(200, json.dumps(answer()).encode())

        def only_told(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.told(urlsplit(self.path))

        do_GET = do_POST = only_told

    class Between(Told):
        """Requests for the API server."""
        # Head and body of an answer are two pieces, and the second is not to wait until the first is acknowledged.
        disable_nagle_algorithm = True
        link, used = None, 0.0

        def upstream(self):
            if self.link is not None and time.monotonic() - self.used > IDLE:
                self.link.close()
            if self.link is None:
                self.link = http.client.HTTPSConnection(server.hostname, server.port, context=context, timeout=600)
            return self.link

        def finish(self):
            super().finish()
            if self.link is not None:
                self.link.close()

        def ask(self, target, body):
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
            headers["Authorization"] = "Bearer " + token
            who = f" {process.name}-{process.starts}" if process.name else ""
            headers["User-Agent"] = self.headers.get("User-Agent", "") + who
            self.upstream().request(self.command, target, body or None, headers)
            answer = self.link.getresponse()
            self.used = time.monotonic()
            return answer

        def forward(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            if url.path.startswith("/-/"):
                return self.told(url)
            late = process.heard()
            if late == "kill":
                return self.killed()
            query = parse_qs(url.query, keep_blank_values=True)
            if self.command in ("POST", "PUT", "PATCH", "DELETE"):
                return self.change(body, late)
            watch = query.get("watch", ["false"])[0] in ("true", "1", "")
            if watch:
                if state.take("watches"):
                    event = b'{"type":"ERROR","object":' + GONE + b"}\n"
                    return self.answer(200, event)
            else:
                process.reads(url.path)
                if ("limit" in query or "labelSelector" in query) and state.take("lists"):
                    return self.answer(410, GONE)

            def send():
                return self.ask(narrowed(url), body) if watch else self.whole(narrowed(url), body)

            answer = self.frozen("before", send) if late else send()
            return self.stream(answer) if watch else self.answer(*answer)

        def whole(self, target, body):
            answer = self.ask(target, body)
            return answer.status, answer.read(), answer.headers.get("Content-Type", "application/json")

        def killed(self):
            process.kill()
            self.close_connection = True

        def frozen(self, when, send):
            """Sends while the client is frozen: when that is over, or at once; the client goes on with the answer."""
            process.freeze(holding=True)
            try:
                if when == "before":
                    process.thawing.wait()
                answer = send()
                process.thawing.wait()
            finally:
                process.go_on()
            return answer

        def change(self, body, late):
            """What would change something, with what is due since an earlier one, and by itself."""
            request = f"{self.command} {self.path}"
            with state.lock:
                state.counts["mutating"].append(request)
            when, act = process.writes(request)

            def send():
                return self.whole(self.path, body)

            if late == "freeze":
                return self.answer(*self.frozen("before", send))
            if (when, act) == ("before", "kill"):
                return self.killed()
            if act == "freeze" and when != "answered":
                return self.answer(*self.frozen(when, send))
            answer = send()
            if (when, act) == ("sent", "kill"):
                return self.killed()
            if when == "answered":
                # Before the answer goes out, since what follows may come at once.
                process.answered(act)
            return self.answer(*answer)

        def stream(self, answer):
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            sock = self.link.sock
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

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            # Who was killed in the middle does not hear its answer.
            if not isinstance(sys.exc_info()[1], (OSError, http.client.HTTPException)):
                super().handle_error(request, client_address)

    class Control(Server):
        address_family = socket.AF_UNIX

        def server_bind(self):
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = "", 0

    servers = [Server(("127.0.0.1", options.listen), Between)]
    if options.control:
        servers.append(Control(options.control, Told))
    for each in servers:
        threading.Thread(target=each.serve_forever, daemon=True).start()
    process.serve()


if __name__ == "__main__":
    main()
