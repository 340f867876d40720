"""Odd characters in what a request names are no mistakes of ours, whichever the database."""

from pathlib import Path
from urllib.parse import quote

from support.desk import open_desk

_NUL = "x\0y"
_WORDS = ("\0", _NUL, "\udcff", "'; --", "a" * 5_000)


async def test_odd_words_name_nothing(tmp_path: Path, database_url: str):
    async with open_desk(tmp_path, database_url=database_url) as desk:
        for word in _WORDS:
            sent = quote(word, errors="surrogateescape")
            for path in (
                f"receipts/{sent}",
                f"receipts?before={sent}",
                f"receipts?model_id={sent}&conversation_id={sent}",
                f"audit?before={sent}",
                f"reports/spend?by=model&model_id={sent}",
                f"reports/cache?model_id={sent}",
            ):
                reply = await desk.ask(desk.operator, "GET", f"/admin/{path}")
                assert reply.status in {200, 400, 404}, path
            for path in ("accounts", "teams", "keys", "budgets"):
                reply = await desk.ask(desk.operator, "DELETE", f"/admin/{path}/{sent}")
                assert reply.status == 404, path


async def test_odd_words_in_bodies_are_refused(tmp_path: Path, database_url: str):
    budget = {"node_kind": "account", "node_id": _NUL, "period": "day", "limit_nano": 5}
    limit = {"node_kind": "key", "node_id": _NUL, "kind": "requests", "period": "minute"}
    async with open_desk(tmp_path, database_url=database_url) as desk:
        for method, path, body in (
            ("POST", "/admin/budgets", budget),
            ("PUT", "/admin/limits", limit | {"maximum": 1}),
            ("POST", "/admin/refunds", {"generation_id": _NUL, "reason": "test"}),
            ("POST", "/admin/keys", {"name": "x", "account_id": _NUL}),
            ("POST", "/admin/accounts", {"kind": "person", "name": "x", "team_id": _NUL}),
        ):
            assert (await desk.ask(desk.operator, method, path, body)).status == 400, path
