#!/usr/bin/env python3
"""Asks a URL at a steady rate, each time over a new connection, and prints one JSON line about the answers.

A refused connection is tried once more and counted: the proxy's rules are rewritten for some milliseconds after a
rollout, and that is not an error of the application. Every other failure is counted as what it is.
"""
import argparse
import http.client
import json
import os
import sys
import threading
import time
from urllib.parse import urlsplit


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--stop-file", default="")
    parser.add_argument("--timeout", type=float, default=15)
    options = parser.parse_args()
    url = urlsplit(options.url)
    target = (url.path or "/") + ("?" + url.query if url.query else "")
    lock = threading.Lock()
    seen = {"asked": 0, "ok": 0, "refused_retried": 0, "errors": {}, "versions": {}}

    def once():
        connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=options.timeout)
        try:
            connection.request("GET", target, headers={"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def ask():
        error, status, body = None, 0, ""
        for attempt in (1, 2):
            try:
                status, body = once()
                break
            except ConnectionRefusedError as refused:
                if attempt == 1:
                    with lock:
                        seen["refused_retried"] += 1
                    time.sleep(0.1)
                    continue
                error = repr(refused)
            except Exception as other:  # every kind of failure is counted by its name
                error = type(other).__name__
                break
        with lock:
            seen["asked"] += 1
            if error is None and status == 200:
                seen["ok"] += 1
                version = body.split("\n", 1)[0].strip()[:80]
                seen["versions"][version] = seen["versions"].get(version, 0) + 1
            else:
                name = error or f"HTTP {status}"
                seen["errors"][name] = seen["errors"].get(name, 0) + 1

    threads, start, count = [], time.monotonic(), 0
    while time.monotonic() - start < options.seconds:
        if options.stop_file and os.path.exists(options.stop_file):
            break
        due = start + count / options.rate
        time.sleep(max(0, due - time.monotonic()))
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        threads.append(thread)
        count += 1
        if len(threads) > 500:
            threads = [t for t in threads if t.is_alive()]
    # What was asked in this time is the rate; the last answers may take longer.
    seen["seconds"] = round(time.monotonic() - start, 1)
    for thread in threads:
        thread.join(options.timeout * 2)
    print(json.dumps(seen, sort_keys=True))
    return 0 if not seen["errors"] else 1


if __name__ == "__main__":
    sys.exit(main())
