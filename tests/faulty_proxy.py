"""A proxy of an object store that fails some requests, for tests of what a run survives.

``python -m tests.faulty_proxy --target URL --rate 0.1 --seed 1`` prints one line ``{"port": ...}`` when it
listens on 127.0.0.1, and one with the counts of what it did when SIGTERM or SIGINT ends it. A GET of
``/faulty-proxy`` returns the counts at any time. The nth request meets the nth fault that the seed draws.
"""

import argparse
import asyncio
import collections
import json
import random
import signal
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from urllib.request import urlopen

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from yarl import URL

FAULTS = ("503", "429", "500", "reset", "503-after", "reset-after", "cut-after")
"""Answered without asking the store; the connection reset without asking; passed on, and then the answer
replaced by 503, lost, or cut off in its middle."""
OTHER_FAULTS = ("400", "403", "404", "hang")
"""Only where they are asked for: what no client should try again, and a request passed on but never answered."""
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect", "host"}
COUNTS = "/faulty-proxy"


class FaultyProxy:
    """Passes requests on to `target`, but for a seeded fraction `rate` of them."""

    def __init__(self, target, *, rate, seed, faults=FAULTS):
        self._target, self._rate, self._faults = target.rstrip("/"), rate, tuple(faults)
        self._random = random.Random(seed)
        self.counts = collections.Counter()

    def _draw(self):
        is_faulty, fault = self._random.random() < self._rate, self._random.choice(self._faults)
        return fault if is_faulty else "passed"

    async def handle(self, request):
        """Answer one request, or fail to."""
        if request.path == COUNTS:
            return web.json_response(self.counts)
        fault = self._draw()
        self.counts["requests"] += 1
        self.counts[fault] += 1
        body = await request.read()
        if fault == "reset":
            return self._reset(request)
        if fault.isdecimal():
            return web.Response(status=int(fault), text="not now")
        answer = await self._pass_on(request, body)
        if fault == "503-after":
            return web.Response(status=503, text="not now")
        if fault == "reset-after":
            return self._reset(request)
        if fault == "hang":
            await self._ended.wait()
        if fault == "cut-after":
            return await self._cut(request, answer)
        return answer

    async def _pass_on(self, request, body):
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
        url = URL(f"{self._target}{request.raw_path}", encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as got:
            content = await got.read()
            kept = [(n, v) for n, v in got.headers.items() if n.lower() not in HOP_BY_HOP]
        answer = web.Response(status=got.status, reason=got.reason, body=None if request.method == "HEAD" else content)
        for name, value in kept:
            if request.method != "HEAD" and name.lower() == "content-length":
                continue
            # An upload that goes on elsewhere goes on through here too.
            moved = value.replace(self._target, f"http://{request.host}") if name.lower() == "location" else value
            if name.lower() == "content-type":
                answer.headers[name] = moved
            else:
                answer.headers.add(name, moved)
        return answer

    async def _cut(self, request, answer):
        """Promise the whole answer, send half of it and reset the connection."""
        content = answer.body or b""
        headers = answer.headers.copy()
        headers["Content-Length"] = str(len(content) + 1)
        part = web.StreamResponse(status=answer.status, headers=headers)
        await part.prepare(request)
        await part.write(content[: len(content) // 2])
        return self._reset(request, part)

    @staticmethod
    def _reset(request, answer=None):
        if request.transport is not None:
            no_lingering = struct.pack("ii", 1, 0)
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_lingering)
            request.transport.abort()
        return answer or web.Response()

    async def serve(self, listening):
        """Serve on a free port until SIGTERM or SIGINT; `listening` is told the port."""
        self._ended = asyncio.Event()
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, self._ended.set)
        connector, patience = TCPConnector(limit=0), ClientTimeout(total=60)
        async with ClientSession(
            connector=connector, timeout=patience, auto_decompress=False, cookie_jar=DummyCookieJar()
        ) as self._session:
            runner = web.ServerRunner(web.Server(self.handle), handle_signals=False, shutdown_timeout=0)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            listening(runner.addresses[0][1])
            await self._ended.wait()
            await runner.cleanup()


@contextmanager
def faulty_proxy(target, *, rate, seed=1, faults=FAULTS):
    """Run the proxy as a process of its own; yield its URL."""
    command = [sys.executable, "-m", "tests.faulty_proxy", "--target", target, "--rate", str(rate)]
    command += ["--seed", str(seed), "--faults", ",".join(faults)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        finally:
            process.terminate()
            try:
                process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()  # else it would be waited for without end
                raise


def counts_of(url):
    """Return what the proxy at `url` has done so far."""
    with urlopen(url + COUNTS, timeout=10) as answer:
        return json.load(answer)


def main():
    """Run the proxy until a signal ends it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, help="URL of the store")
    parser.add_argument("--rate", type=float, default=0.1, help="fraction of requests that fail")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", default=",".join(FAULTS), help=f"any of {', '.join((*FAULTS, *OTHER_FAULTS))}")
    given = parser.parse_args()
    faults = given.faults.split(",")
    if unknown := set(faults) - {*FAULTS, *OTHER_FAULTS}:
        parser.error(f"unknown faults: {', '.join(sorted(unknown))}")
    proxy = FaultyProxy(given.target, rate=given.rate, seed=given.seed, faults=faults)
    asyncio.run(proxy.serve(lambda port: _say({"port": port})))
    _say(proxy.counts)


def _say(values):
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
