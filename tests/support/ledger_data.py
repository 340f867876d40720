"""A team's ledger, made through the API as its people make it, for the pages to show."""

import time
from typing import Any

import msgspec
from pyreqwest.simple.sync_request import pyreqwest_post

from support.running import Running
from support.signed_in import SignedIn

_WAIT_S = 20.0
TEAM = "Research"
MEMBER = "Grace Murray"


class Ledger(msgspec.Struct):
    """What was made; `invitation` signs the member in once."""

    owner: SignedIn
    organisation_id: str
    secret: str
    invitation: str
    receipt_id: str


def keep_books(started: Running, *, calls: int = 3) -> Ledger:
    """Prices, people, a key, a budget and a limit, then calls with the key."""
    owner = SignedIn(started)
    organisation_id = made(owner, "GET", "me")["organisation"]["id"]
    team_id = made(owner, "POST", "teams", {"name": TEAM})["id"]
    member: dict[str, Any] = {"kind": "person", "name": MEMBER, "email": "grace@mill.example"}
    invited = made(owner, "POST", "accounts", member | {"role": "member", "team_id": team_id})
    rates = {"input": "0.15", "cached": "0.0375", "output": "0.60"}
    made(owner, "POST", "prices", {"side": "price", "target": "teller", "rates": rates})
    terms = {"rent_per_hour": "1.20", "idle_watts": "100", "load_watts": "400", "kwh": "0.22"}
    made(owner, "POST", "machines", {"name": "local", "terms": terms})
    node = {"node_kind": "organisation", "node_id": organisation_id}
    budget: dict[str, Any] = {"period": "month", "limit_nano": 10**9, "hard": True}
    made(owner, "POST", "budgets", node | budget | {"warn_percent": [50, 100]})
    made(owner, "PUT", "limits", node | {"kind": "requests", "period": "minute", "maximum": 600})
    key = {"name": "laptop", "purpose": "code", "account_id": invited["account"]["id"]}
    secret = made(owner, "POST", "keys", key)["secret"]
    for _ in range(calls):
        call(started, secret)
    newest = wait_for_receipts(owner, calls)[0]
    return Ledger(owner, organisation_id, secret, invited["invite_path"], newest["id"])


def wait_for_receipts(person: SignedIn, count: int) -> list[Any]:
    """The receipts that a person sees, newest first, once so many have been projected."""
    until = time.monotonic() + _WAIT_S
    while True:
        seen = made(person, "GET", "receipts")["receipts"]
        if sum(one["stop"] is not None for one in seen) >= count:
            return seen
        assert time.monotonic() < until, seen
        time.sleep(0.05)


def made(person: SignedIn, method: str, path: str, body: object = None) -> Any:
    """The answer of an admin route that must succeed."""
    reply = person.call(method, f"/admin/{path}", body)
    assert reply.status < 300, reply
    return reply.data if reply.body else None


def call(started: Running, secret: str) -> None:
    """One call of the model with a key."""
    body = {"model": "teller", "messages": [{"role": "user", "content": "hello"}]}
    request = pyreqwest_post(f"{started.url}/v1/chat/completions").body_json(body)
    assert request.header("authorization", f"Bearer {secret}").send().status == 200
