import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from headrace.core.errors import ConfigError
from headrace.safety.sandbox import proxy as module
from headrace.safety.sandbox.proxy import AllowList, Proxy, Refused, Target, parse
from support.sandbox_world import World

ALLOWED = ("allowed.test", "*.ok.test", "odd.test:8443")


@contextlib.asynccontextmanager
async def running(
    answers: dict[str, Sequence[str]] | None = None,
) -> AsyncGenerator[tuple[Proxy, Path]]:
    async def resolve(host: str, _port: int) -> Sequence[str]:
        return (answers or {}).get(host, ())

    with tempfile.TemporaryDirectory(prefix="hr-") as folder:
        proxy = Proxy(ALLOWED, resolve=resolve)
        await proxy.start(Path(folder, "s"))
        try:
            yield proxy, Path(folder, "s")
        finally:
            await proxy.close()


async def ask(path: Path, head: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(head)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


TARGETS = {
    "127.0.0.1\0.ok.test:443": 400,
    "evil.test\0allowed.test:443": 400,
    "allowed.test@127.0.0.1:80": 400,
    "allowed.test:80@127.0.0.1:80": 400,
    "127.0.0.1:80": 403,
    "0x7f000001:80": 403,
    "2130706433:80": 403,
    "0177.0.0.1:80": 403,
    "[::1]:80": 400,
    "[::ffff:7f00:1]:80": 400,
    "127.1:80": 403,
    "evil.test:443": 403,
    "allowed.test.evil.test:443": 403,
    "evilok.test:443": 403,
    "ok.test:443": 403,
    "allowed.test:22": 403,
    "allowed.test:99999": 400,
    "allowed.test:0": 400,
    "allowed.test": 400,
    "allowed.test:": 400,
    "allоwed.test:443": 400,  # noqa: RUF001 - a Cyrillic letter on purpose
    "-.ok.test:443": 400,
    "..ok.test:443": 400,
    "allowed.test..:443": 400,
    "%61llowed.test:443": 400,
    "allowed.test#.evil.test:443": 400,
    "allowed.test :443": 400,
    "odd.test:443": 403,
}


@pytest.mark.parametrize("target", TARGETS)
async def test_a_target_that_is_not_allowed(target: str):
    async with running({"allowed.test": ["127.0.0.1"]}) as (_, path):
        answer = await ask(path, f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
    assert answer.split()[1] == str(TARGETS[target]).encode()


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::1"], ["169.254.169.254"]]
)
async def test_an_allowed_name_with_a_private_address(addresses: list[str]):
    async with running({"allowed.test": addresses}) as (_, path):
        answer = await ask(path, b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403")


async def test_it_connects_to_the_very_address_that_it_judged(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    reached: list[str] = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["93.184.216.34"] if len(asked) == 1 else ["127.0.0.1"]

    async def connect(address: str, _port: int) -> tuple[object, object]:
        reached.append(address)
        raise Refused(502, "enough is seen")

    monkeypatch.setattr(module, "_connect", connect)
    with tempfile.TemporaryDirectory(prefix="hr-") as folder:
        proxy = Proxy(ALLOWED, resolve=resolve)
        await proxy.start(Path(folder, "s"))
        await ask(Path(folder, "s"), b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
        await proxy.close()
    assert (asked, reached) == (["allowed.test"], ["93.184.216.34"])


async def test_bytes_pass_both_ways_and_are_counted(monkeypatch: pytest.MonkeyPatch):
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read(100))
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def connect(
        _address: str, _port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)

    monkeypatch.setattr(module, "_connect", connect)
    async with running({"a.ok.test": ["93.184.216.34"]}) as (proxy, path):
        answer = await ask(path, b"CONNECT A.OK.test.:443 HTTP/1.1\r\nX: y\r\n\r\nhello")
        assert answer == b"HTTP/1.1 200 Connection established\r\n\r\ngot hello"
        assert (proxy.bytes_out, proxy.bytes_in, proxy.denied) == (5, 9, [])
        answer = await ask(path, b"GET http://a.ok.test/x?y HTTP/1.1\r\nHost: evil.test\r\n\r\n")
        assert answer == (b"got GET /x?y HTTP/1.1\r\nHost: a.ok.test\r\nConnection: close\r\n\r\n")
    server.close()
    await server.wait_closed()


def test_a_plain_request_is_told_only_to_its_host():
    target, head = parse(
        b"POST http://allowed.test:8080 HTTP/1.1\r\nHost: evil.test\r\nProxy-Authorization: x\r\n"
        b"Connection: keep-alive\r\nContent-Length: 3"
    )
    assert target == Target("allowed.test", 8080)
    assert head == (
        b"POST / HTTP/1.1\r\nHost: allowed.test:8080\r\nConnection: close\r\n"
        b"Content-Length: 3\r\n\r\n"
    )


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET / HTTP/1.1",
        b"GET https://allowed.test/ HTTP/1.1",
        b"GET file:///etc/passwd HTTP/1.1",
        b"GET http://allowed.test/ HTTP/1.1\r\nA: b\r\n c",
        b"GET http://allowed.test/ HTTP/1.1\r\nA: b\nHost: evil.test",
        b"GET http://allowed.test/ HTTP/1.1\r\nA: b\rc",
        b"GET http://x@allowed.test/ HTTP/1.1",
        b"CONNECT  allowed.test:443 HTTP/1.1",
        b"CONNECT allowed.test:443 HTTP/2",
        b"\x05\x01\x00",
    ],
    ids=repr,
)
def test_what_cannot_be_read_is_refused(head: bytes):
    with pytest.raises(Refused) as caught:
        parse(head)
    assert caught.value.status == 400


async def test_a_head_has_a_limit():
    async with running() as (_, path):
        head = b"CONNECT allowed.test:443 HTTP/1.1\r\nA: " + b"x" * 20_000 + b"\r\n\r\n"
        answer = await ask(path, head)
    assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("entry", ["", "*", "*.", "127.0.0.1", "a b", "http://a.test", "a.test:x"])
def test_a_malformed_entry_is_refused_not_taken_for_open(entry: str):
    with pytest.raises(ConfigError):
        AllowList([entry])


def test_an_empty_list_allows_nothing():
    assert not AllowList([]).allows(Target("a.test", 443))


async def test_commands_reach_the_proxy_and_nothing_else(world: World):
    code = "import socket; socket.socket(socket.AF_UNIX)"
    ran = await world.held(
        "curl -sS -m 5 http://evil.test/; curl -sS -m 5 https://other.test/;"
        f" /usr/bin/python3 -c '{code}'; cat /proc/*/environ | grep -c CANARY;"
        " grep Seccomp_filters /proc/self/status; exit 5",
        network_hosts=("allowed.test",),
    )
    assert ran.status == 5
    assert b"evil.test:80 is not on the list of allowed hosts" in ran.head
    assert b"Address family not supported" in ran.head
    assert b"Seccomp_filters:\t2" in ran.head
    assert "evil.test:80, other.test:443 cannot be reached" in ran.blocked[-1]


async def test_the_helper_inside_cannot_be_taken_over(world: World):
    ran = await world.held(
        "for p in /proc/[0-9]*; do if tr '\\0' ' ' < $p/cmdline | grep -q 'forward[.]py [0-9]';"
        ' then echo "helper"; (echo x > $p/mem) 2>&1 | grep -o "Permission denied"; fi; done',
        network_hosts=("allowed.test",),
    )
    assert b"helper\nPermission denied" in ran.head
