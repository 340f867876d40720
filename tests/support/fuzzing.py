"""Requests of every kind, drawn from the API's own description, at a running `headrace up`.

Half of them keep to the description, half do not. Whatever is sent, the answer must be one that
the description promises: its status, its type, its shape, an error in the client's dialect.
"""

# schemathesis does not say what its checks take.
# pyright: reportUnknownVariableType=false

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import msgspec
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from headrace.core.clock import SystemClock
from headrace.core.ids import new_id
from headrace.wire.openai_moderations import CATEGORIES
from support.running import Running
from support.signed_in import SignedIn

MODEL = "scripted"
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# A moderation's text arrives as JSON, so with a quotation mark; it must be judged.
SCRIPT = {
    "model": {"id": MODEL, "abilities": {"tools": True, "thinking": True, "embeddings": True}},
    "turns": [
        {
            "match": {"user": '^"'},
            "steps": [{"text": json.dumps(dict.fromkeys(CATEGORIES, 0))}],
        }
    ],
}
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
_WAIT_S = 30
_FOUND_MAX = 50
_CHARS_MAX = 2_000


class Tally(msgspec.Struct):
    """What came of requests: how many, by status and by operation, and what was wrong."""

    requests: int = 0
    statuses: dict[str, int] = {}
    operations: dict[str, int] = {}
    wrong: list[str] = []

    def add(self, other: "Tally") -> None:
        """Count another's in."""
        self.requests += other.requests
        self.statuses = dict(Counter(self.statuses) + Counter(other.statuses))
        self.operations = dict(Counter(self.operations) + Counter(other.operations))
        self.wrong = [*self.wrong, *other.wrong][:_FOUND_MAX]


class Fuzzer:
    """Sends requests; the same chunk sends the same ones, but for ids.

    Args:
        running: What is tried.
    """

    def __init__(self, running: Running) -> None:
        self._running = running
        self._url = running.url
        self._key = running.key
        document = requests.get(f"{self._url}/openapi.json", timeout=_WAIT_S).json()
        self._rules = {
            (method.upper(), path): told["security"]
            for path, methods in document["paths"].items()
            for method, told in methods.items()
        }
        self._person = SignedIn(running)
        self._guest = self._invite()
        self._objects: dict[str, str] = {}
        _name_what_is_there(document, self._make_team())
        schema: Any = openapi.from_dict(document)
        operations = [each.ok() for each in schema.get_all_operations()]
        # Made once, as making them costs more than drawing from them.
        self._drawn = [
            each.as_strategy(generation_mode=mode) for each in operations for mode in GenerationMode
        ]

    def run(self, chunk: int, requests_max: int) -> Tally:
        """About `requests_max` requests, the same number of every operation."""
        tally = Tally()
        self._objects = dict(self._make_objects())
        each_max = max(1, requests_max // len(self._drawn))
        with requests.Session() as session:
            for drawn in self._drawn:
                self._try(session, drawn, chunk, each_max, tally)
        return tally

    def _try(
        self, session: requests.Session, drawn: Any, chunk: int, each_max: int, tally: Tally
    ) -> None:
        @seed(chunk)
        @settings(
            max_examples=each_max,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=_SLOW,
        )
        @given(drawn)
        def send(case: Any) -> None:
            self._send(session, case, tally)

        # Nothing that takes no input can be sent wrong input.
        with suppress(Unsatisfiable):
            send()

    def _send(self, session: requests.Session, case: Any, tally: Tally) -> None:
        label = f"{case.method} {case.path}"
        tally.requests += 1
        tally.operations[label] = tally.operations.get(label, 0) + 1
        for name, value in case.path_parameters.items():
            # Every second one asks for something that is there, or few would get far.
            if crc32(f"{case.path} {value}".encode(errors="replace")) % 2:
                case.path_parameters[name] = self._objects.get(_known(case.path, name), value)
        credentials = self._credentials(case)
        if "cookie" in credentials:
            # A credential that was drawn would decide alone.
            case.headers.pop("Authorization", None)
        try:
            response = case.call(
                base_url=self._url,
                session=session,
                headers=credentials,
                timeout=_WAIT_S,
                allow_redirects=False,
            )
        except (requests.RequestException, http.client.HTTPException) as error:
            _note(tally, case, f"no answer: {error!r}")
            return
        status = str(response.status_code)
        tally.statuses[status] = tally.statuses.get(status, 0) + 1
        try:
            case.validate_response(response, checks=CHECKS)
            _check_dialect(case, response.status_code, response.content)
        except FailureGroup as group:
            _note(tally, case, "; ".join(str(each) for each in group.exceptions))
        except AssertionError as error:
            _note(tally, case, str(error))

    def _credentials(self, case: Any) -> dict[str, str]:
        security = self._rules[case.method.upper(), case.path]
        names = {name for one in security for name in one}
        if "bearer" in names:
            return {"authorization": f"Bearer {self._key}"}
        if case.path == "/signin/password":
            return {"origin": self._url}
        # A password that is set ends the other sessions of its account: not those of the others.
        if case.path == "/admin/me/password":
            return {"cookie": self._guest, "origin": self._url}
        # Signing out is tried without a session; it would end that of all others.
        if case.path.startswith("/chat/") and not case.path.endswith("sign-out"):
            return {"cookie": self._person.cookie, "origin": self._url}
        return self._as_operator() if "operator" in names else {}

    def _as_operator(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._running.run_file.credential}"}

    def _make_objects(self) -> Iterator[tuple[str, str]]:
        yield "model", MODEL
        text, hello = {"model": MODEL, "input": "Hello"}, [{"role": "user", "content": "Hello"}]
        yield "response_id", self._post("/v1/responses", text | {"background": True})["id"]
        params = {"model": MODEL, "max_tokens": 9, "messages": hello}
        batch = {"requests": [{"custom_id": "a", "params": params}]}
        yield "message_batch_id", self._post("/v1/messages/batches", batch)["id"]
        form = {"file": ("lines.jsonl", b"{}")}
        file = self._post("/v1/files", None, data={"purpose": "batch"}, files=form)["id"]
        yield "file_id", file
        wanted = {"input_file_id": file, "endpoint": "/v1/responses", "completion_window": "24h"}
        yield "batch_id", self._post("/v1/batches", wanted)["id"]
        conversation, reply = self._person.ask("Hello", MODEL)
        yield "conversation", conversation
        yield "message", reply
        team = self._make_team()
        yield "teams", team
        yield "accounts", self._make_person()["account"]["id"]
        yield "keys", self._post_admin("keys", {"name": "fuzz"})["id"]
        terms = {"node_kind": "team", "node_id": team, "period": "month", "limit_nano": 1}
        yield "budgets", self._post_admin("budgets", terms)["id"]
        limit = {"node_kind": "team", "node_id": team, "maximum": 9}
        self._admin("PUT", "limits", limit | {"kind": "requests", "period": "minute"})
        yield "node_id", team
        yield "kind", "requests"
        yield "period", "minute"
        receipts = self._admin("GET", "receipts").json()["receipts"]
        if receipts:
            yield "receipts", receipts[0]["id"]

    def _make_team(self) -> str:
        return self._post_admin("teams", {"name": new_id(SystemClock())})["id"]

    def _make_person(self) -> Any:
        email = f"{new_id(SystemClock())}@example.org"
        return self._post_admin("accounts", {"kind": "person", "name": "Ada", "email": email})

    def _invite(self) -> str:
        """The cookie of a member who has followed an invitation."""
        path = self._make_person()["invite_path"]
        response = requests.get(f"{self._url}{path}", timeout=_WAIT_S, allow_redirects=False)
        return response.headers["set-cookie"].partition(";")[0]

    def _post_admin(self, word: str, body: Any) -> Any:
        return self._admin("POST", word, body).json()

    def _admin(self, method: str, word: str, body: Any = None) -> requests.Response:
        url = f"{self._url}/admin/{word}"
        response = requests.request(
            method, url, json=body, headers=self._as_operator(), timeout=_WAIT_S
        )
        response.raise_for_status()
        return response

    def _post(self, path: str, body: Any, **more: Any) -> Any:
        response = requests.post(
            f"{self._url}{path}",
            json=body,
            headers={"authorization": f"Bearer {self._key}"},
            timeout=_WAIT_S,
            **more,
        )
        response.raise_for_status()
        return response.json()


def _known(path: str, name: str) -> str:
    """Under what name the id of something that is there is kept."""
    if path.startswith("/v1/messages/batches"):
        return "message_batch_id"
    return path.split("/")[2] if name == "id" else name


def _name_what_is_there(document: Any, team: str) -> None:
    """Let requests ask for the model and the team that there are, or few would get far."""
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        fields = schema.get("properties", {})
        if "messages" in fields or "input" in fields:
            fields["model"] = {"enum": [MODEL]}
        if name.endswith((".LimitBody", ".BudgetTerms")):
            fields["node_id"] = {"enum": [team, "nobody"]}
    # Taken as they are until they run, and far the dearest to draw.
    schemas["MessageBatches.Call"]["properties"]["params"] = {"type": "object"}


def _check_dialect(case: Any, status: int, body: bytes) -> None:
    path = urlsplit(str(case.formatted_path)).path
    if status < 400 or not path.startswith("/v1/"):
        return
    headers: dict[str, str] = dict(case.headers or {})
    sent = {name.lower() for name in headers}
    told = json.loads(body)
    if status == 403 and "kind" in told["error"]:
        return  # the door's own words
    anthropic = path.startswith("/v1/messages") or "anthropic-version" in sent
    assert (told.get("type") == "error") == anthropic, f"not in the client's dialect: {told}"


def _note(tally: Tally, case: Any, what: str) -> None:
    if len(tally.wrong) < _FOUND_MAX:
        tally.wrong.append(f"{what}\n{case.as_curl_command()}"[:_CHARS_MAX])
