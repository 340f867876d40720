"""Which HTTP client costs least towards upstreams, and which cancels at any moment.

    python bench/http_clients.py [--calls N] [--rounds N]

Own (`serving/engines/http_client.py`), pyreqwest and aiohttp (where installed) by turns, in this
process on uvloop, against an upstream in C. Printed are medians over the rounds of this process's
CPU per call. "Cancelled" tells whether the connection closed within a second of a cancel before
any header had come.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from headrace.net.http_client import HttpClient, Timeouts, header_lines
from load import canned
from load.upstream import upstream

Call = Callable[[bytes, bool], Awaitable[int]]
HEADERS = {"content-type": "application/json", "authorization": "Bearer x"}
DIALECT = "openai_chat"
LOADS = (
    ("JSON, 1 at once", False, 1, "burst"),
    ("JSON, 64 at once", False, 64, "burst"),
    ("stream, 1 write, 64 at once", True, 64, "burst"),
    ("stream, 100 writes, 1 at once", True, 1, "writes"),
)


@asynccontextmanager
async def own(url: str) -> AsyncGenerator[Call]:
    client = HttpClient("the upstream", url)
    limits = Timeouts(10, 60, 60, 600)
    lines = header_lines(HEADERS)

    async def call(body: bytes, stream: bool) -> int:  # noqa: FBT001
        del stream
        reply = await client.send("POST", client.base, lines, body, limits)
        size = 0
        try:
            while data := await reply.read():
                size += len(data)
        finally:
            reply.release()
        return size

    yield call
    client.close()


@asynccontextmanager
async def pyreqwest(url: str) -> AsyncGenerator[Call]:
    from pyreqwest.client import ClientBuilder  # noqa: PLC0415

    client: Any = ClientBuilder().no_proxy().build()

    async def call(body: bytes, stream: bool) -> int:  # noqa: FBT001
        builder: Any = client.post(url).body_bytes(body)
        for name, value in HEADERS.items():
            builder = builder.header(name, value)
        if not stream:
            response = await builder.build().send()
            return len(bytes(await response.bytes()))
        size = 0
        async with builder.streamed_read_buffer_limit(0).build_streamed() as response:
            while (data := await response.body_reader.read_chunk()) is not None:
                size += len(bytes(data))
        return size

    yield call
    await client.close()


@asynccontextmanager
async def aiohttp(url: str) -> AsyncGenerator[Call]:
    library: Any = importlib.import_module("aiohttp")
    async with library.ClientSession(connector=library.TCPConnector(limit=0)) as session:

        async def call(body: bytes, stream: bool) -> int:  # noqa: FBT001
            async with session.post(url, data=body, headers=HEADERS) as response:
                if not stream:
                    return len(await response.read())
                size = 0
                async for data in response.content.iter_any():
                    size += len(data)
                return size

        yield call


CLIENTS = {"own": own, "pyreqwest": pyreqwest, "aiohttp": aiohttp}


async def cost_us(call: Call, calls: int, at_once: int, *, stream: bool) -> float:
    body = canned.request(DIALECT, "m", stream=stream)
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            assert await call(body, stream) > 500

    await asyncio.gather(*(work() for _ in range(at_once)))  # warm
    left = iter(range(calls))
    began = time.process_time()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return (time.process_time() - began) / calls * 1e6


async def cancels(name: str) -> bool:
    """Whether a cancel before any header closes the connection."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while await reader.read(65_536):
                pass
            gone.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with CLIENTS[name](f"http://127.0.0.1:{port}/v1") as call:
        task = asyncio.ensure_future(call(b"{}", True))  # noqa: FBT003
        await asyncio.wait_for(asked.wait(), 5)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        try:
            await asyncio.wait_for(gone.wait(), 1)
        except TimeoutError:
            return False
        finally:
            server.close()
    return True


async def measure(calls: int, rounds: int) -> None:
    names = [name for name in CLIENTS if name == "own" or importlib.util.find_spec(name)]
    taken: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, upstream(Path(folder)) as server:
        for _ in range(rounds):
            for label, stream, at_once, mode in LOADS:
                for name in names:
                    url = server.address(mode) + canned.PATHS[DIALECT]
                    async with CLIENTS[name](url) as call:
                        cost = await cost_us(call, calls, at_once, stream=stream)
                    taken.setdefault((name, label), []).append(cost)
    print("| CPU us a call | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for label, *_ in LOADS:
        row = [f"{statistics.median(taken[name, label]):.0f}" for name in names]
        print(f"| {label} | " + " | ".join(row) + " |")
    told = ["yes" if await cancels(name) else "no" for name in names]
    print("| cancelled before headers | " + " | ".join(told) + " |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    uvloop.run(measure(options.calls, options.rounds))


if __name__ == "__main__":
    main()
