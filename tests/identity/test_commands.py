import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headrace.config import runfile
from headrace.core.errors import (
    EngineUnavailable,
    HeadraceError,
    InvalidRequest,
    NotFound,
)
from headrace.identity.commands import main

_CREDENTIAL = "hr-" + "c" * 43


class _Server(BaseHTTPRequestHandler):
    """Speaks the admin routes as the running `up` does."""

    keys: dict[str, dict[str, Any]]

    def _reply(self, status: int, body: object = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _admitted(self) -> bool:
        if self.headers["authorization"] == f"Bearer {_CREDENTIAL}":
            return True
        self._reply(401, {"error": {"kind": "unauthenticated", "message": "no", "hint": None}})
        return False

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        wanted = json.loads(self.rfile.read(length))
        if not self._admitted():
            return
        made = {"id": "new", "account_id": "a", "created_ns": 1, "last4": "aaaa"}
        made |= {"name": wanted["name"], "purpose": wanted["purpose"]}
        made |= {"expires_ns": wanted["expires_days"], "revoked_ns": None, "last_used_ns": None}
        self.keys["new"] = made
        self._reply(201, {**made, "secret": "hr-" + "a" * 43})

    def do_GET(self) -> None:
        if self._admitted():
            self._reply(200, {"keys": list(self.keys.values())})

    def do_DELETE(self) -> None:
        if not self._admitted():
            return
        if self.keys.pop(self.path.removeprefix("/admin/keys/"), None) is None:
            error = {"kind": "not_found", "message": "there is no such key", "hint": None}
            self._reply(404, {"error": error})
        else:
            self._reply(204)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstream
        del format, args


@pytest.fixture
def running(tmp_path: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """A server at the run file's address; gives its keys."""
    keys: dict[str, dict[str, Any]] = {}
    handler = type("Handler", (_Server,), {"keys": keys})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    _write_run_file(tmp_path, server.server_address[1])
    yield keys
    server.shutdown()
    thread.join()
    server.server_close()


def _write_run_file(data: Path, port: int, credential: str = _CREDENTIAL) -> None:
    started = runfile.process_start(os.getpid())
    assert started is not None
    url = f"http://127.0.0.1:{port}"
    runfile.write(data, runfile.RunFile(url, os.getpid(), started, credential, 1))


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_keys_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = ("--data", str(tmp_path))
    assert main(["list", *data]) == 0
    assert "no keys yet" in capsys.readouterr().out
    assert main(["create", "laptop", *data]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("hr-")
    assert "'laptop'" in shown
    made = _json(capsys, "create", "--purpose", "eval", "--expires-days", "3", *data)
    listed = _json(capsys, "list", *data)["keys"]
    assert [key["purpose"] for key in listed] == ["api", "eval"]
    assert not any("secret" in key or "hash" in key for key in listed)
    assert main(["revoke", made["id"], *data]) == 0
    assert main(["list", *data]) == 0
    table = capsys.readouterr().out
    assert "revoked" in table
    assert made["secret"] not in table
    with pytest.raises(NotFound):
        main(["revoke", "nobody", *data])
    with pytest.raises(InvalidRequest):
        main(["create", "--expires-days", "-1", *data])
    with pytest.raises(InvalidRequest):
        main(["create", "--expires-days", "99999999", *data])


def test_keys_of_a_running_server(
    running: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = ("--data", str(tmp_path))
    made = _json(capsys, "create", "laptop", *data)
    assert made["secret"] == "hr-" + "a" * 43
    assert running["new"]["name"] == "laptop"
    assert [key["id"] for key in _json(capsys, "list", *data)["keys"]] == ["new"]
    assert _json(capsys, "revoke", "new", *data) == {"revoked": "new"}
    with pytest.raises(NotFound, match="no such key"):
        main(["revoke", "new", *data])
    assert not (tmp_path / "headrace.db").exists()


def test_a_server_that_refuses_is_told_in_its_words(
    running: dict[str, dict[str, Any]], tmp_path: Path
):
    port = int(runfile.read_live(tmp_path).url.rpartition(":")[2])  # pyright: ignore[reportOptionalMemberAccess]
    _write_run_file(tmp_path, port, credential="wrong")
    with pytest.raises(HeadraceError, match="no"):
        main(["list", "--data", str(tmp_path)])
    assert running == {}


def test_a_server_that_does_not_answer_is_an_error(tmp_path: Path):
    _write_run_file(tmp_path, 1)
    with pytest.raises(EngineUnavailable, match="does not answer"):
        main(["list", "--data", str(tmp_path)])
