"""People, their teams and keys, and the ways in."""

from typing import Any, Literal

import msgspec

from headrace.edge.openapi import TEXT, Error, Operation, Parameter, Reply
from headrace.edge.routes import Rule
from headrace.edge.sign_in import PasswordBody
from headrace.identity.accounts import AccountChange, NewAccount
from headrace.identity.new_key import NewKey
from headrace.serving.admin.keys import NewKeyBody, RotationBody
from headrace.serving.admin.me import Me, PasswordChange
from headrace.serving.admin.teams import TeamBody
from headrace.store.account import ShownAccount, ShownTeam
from headrace.store.key import Key

_BODY = (400, 408, 413)
_ID = (Parameter("id", "path", "Its id."),)
_PAGE = Reply("A page that says what is wrong.", {"text/html": TEXT})


class Keys(msgspec.Struct):
    """Keys, without secrets."""

    keys: list[Key]


class Accounts(msgspec.Struct):
    """Accounts, closed ones too."""

    accounts: list[ShownAccount]


class Made(msgspec.Struct):
    """A new account, and the path that a person with an address signs in by, once."""

    account: ShownAccount
    invite_path: str | None


class Teams(msgspec.Struct):
    """Open teams."""

    teams: list[ShownTeam]


class Link(msgspec.Struct):
    """A path that signs in once."""

    path: str


class ProviderName(msgspec.Struct):
    """What people call the provider."""

    name: str


class Methods(msgspec.Struct):
    """The ways in; `oidc` is null where no provider is set."""

    password: Literal[True]
    oidc: ProviderName | None


def operations() -> list[Operation]:
    """Every operation of people and keys."""
    return [*_sign_in(), *_me(), *_keys(), *_accounts(), *_teams()]


def _operation(
    method: str,
    path: str,
    name: str,
    rule: Rule,
    summary: str,
    *,
    reply: tuple[int, Reply],
    pages: tuple[int, ...] = (),
    **more: Any,  # noqa: ANN401 - fields of Operation
) -> Operation:
    return Operation(
        method=method,
        path=path,
        name=name,
        family="Sign in" if rule is Rule.PUBLIC else "Admin",
        rule=rule,
        summary=summary,
        replies={reply[0]: reply[1]} | dict.fromkeys(pages, _PAGE),
        fault=(Error,),
        **more,
    )


def _json(status: int, text: str, shape: type) -> tuple[int, Reply]:
    return status, Reply(text, {"application/json": shape})


def _done(text: str) -> tuple[int, Reply]:
    return 204, Reply(text)


def _sign_in() -> list[Operation]:
    on = (303, Reply("Goes on."))
    return [
        _operation(
            "GET",
            "/signin",
            "signIn",
            Rule.PUBLIC,
            "Use a sign-in link up for a session cookie; sends on to the front page.",
            reply=on,
            pages=(401,),
            parameters=(Parameter("token", "query", "What the link holds."),),
        ),
        _operation(
            "GET",
            "/signin/methods",
            "listSignInMethods",
            Rule.PUBLIC,
            "Which ways in there are.",
            reply=_json(200, "The ways.", Methods),
        ),
        _operation(
            "POST",
            "/signin/password",
            "signInByPassword",
            Rule.PUBLIC,
            "Address and password for a session cookie; from Headrace's own pages only.",
            reply=_done("Signed in; the cookie comes with this."),
            body=PasswordBody,
            example={"email": "ada@example.org", "password": "correct horse battery staple"},
            faults=(*_BODY, 401, 429, 503),
        ),
        _operation(
            "GET",
            "/signin/oidc",
            "beginOidc",
            Rule.PUBLIC,
            "Send the browser to the OpenID Connect provider.",
            reply=on,
            pages=(404, 502, 503),
        ),
        _operation(
            "GET",
            "/signin/oidc/callback",
            "endOidc",
            Rule.PUBLIC,
            "The browser comes back from there; sends on to the front page.",
            reply=on,
            parameters=(
                Parameter("state", "query", "What this sign-in began with."),
                Parameter("code", "query", "What the provider gives for it."),
                Parameter("error", "query", "Or why it gives none."),
            ),
            pages=(400, 401, 403, 404, 429, 502, 503, 504),
        ),
    ]


def _me() -> list[Operation]:
    return [
        _operation(
            "GET",
            "/admin/me",
            "showMe",
            Rule.SESSION,
            "Who is signed in, and the ways in that there are for them.",
            reply=_json(200, "You.", Me),
        ),
        _operation(
            "PUT",
            "/admin/me/password",
            "setPassword",
            Rule.SESSION,
            "Choose a password; all other sessions end.",
            reply=_done("It is set."),
            body=PasswordChange,
            example={"new": "correct horse battery staple"},
            faults=(*_BODY, 409, 429, 503),
        ),
        _operation(
            "POST",
            "/admin/sign-in-links",
            "createSignInLink",
            Rule.OWNER,
            "A fresh sign-in link for the owner who asks.",
            reply=_json(201, "The link.", Link),
        ),
    ]


def _keys() -> list[Operation]:
    return [
        _operation(
            "POST",
            "/admin/keys",
            "createKey",
            Rule.MEMBER,
            "Make an API key, for somebody else as an admin; the only answer with its secret.",
            reply=_json(201, "The key.", NewKey),
            body=NewKeyBody,
            example={"name": "laptop", "scopes": {"models": ["qwen3-*"], "routes": ["chat"]}},
            faults=(*_BODY, 404),
        ),
        _operation(
            "GET",
            "/admin/keys",
            "listKeys",
            Rule.SESSION,
            "One's own keys, or all as an admin; without secrets.",
            reply=_json(200, "The keys.", Keys),
        ),
        _operation(
            "POST",
            "/admin/keys/{id}/rotate",
            "rotateKey",
            Rule.MEMBER,
            "Give a key a new secret; the one so far opens as well for `grace_s` seconds.",
            reply=_json(200, "The key.", NewKey),
            parameters=_ID,
            body=RotationBody,
            example={"grace_s": 3600},
            faults=(*_BODY, 404),
        ),
        _operation(
            "DELETE",
            "/admin/keys/{id}",
            "revokeKey",
            Rule.MEMBER,
            "Revoke a key at once.",
            reply=_done("It opens nothing any more."),
            parameters=_ID,
            faults=(404,),
        ),
    ]


def _accounts() -> list[Operation]:
    every, one = "/admin/accounts", "/admin/accounts/{id}"
    return [
        _operation(
            "GET",
            every,
            "listAccounts",
            Rule.VIEWER,
            "Everybody in the organisation; viewers see no addresses.",
            reply=_json(200, "The accounts.", Accounts),
        ),
        _operation(
            "POST",
            every,
            "createAccount",
            Rule.ADMIN,
            "Make an account; a person with an address is invited at once.",
            reply=_json(201, "The account.", Made),
            body=NewAccount,
            example={"kind": "person", "name": "Ada", "email": "ada@example.org"},
            faults=(*_BODY, 409),
        ),
        _operation(
            "PATCH",
            one,
            "changeAccount",
            Rule.ADMIN,
            "Another name, address, role or team; what is left out stays.",
            reply=_done("It is changed."),
            parameters=_ID,
            body=AccountChange,
            example={"role": "admin"},
            faults=(*_BODY, 404, 409),
        ),
        _operation(
            "DELETE",
            one,
            "closeAccount",
            Rule.ADMIN,
            "Close an account: its keys, sessions and links open nothing any more.",
            reply=_done("It is closed."),
            parameters=_ID,
            faults=(404, 409),
        ),
        _operation(
            "POST",
            f"{one}/invite",
            "invite",
            Rule.ADMIN,
            "A fresh link for a person to set a password with; the password so far is void.",
            reply=_json(201, "The link.", Link),
            parameters=_ID,
            faults=(400, 404),
        ),
        _operation(
            "POST",
            f"{one}/erase",
            "eraseAccount",
            Rule.ADMIN,
            "Close an account and forget whose it was; its receipts stay.",
            reply=_done("It is erased."),
            parameters=_ID,
            faults=(400, 404, 409),
        ),
    ]


def _teams() -> list[Operation]:
    every, one = "/admin/teams", "/admin/teams/{id}"
    return [
        _operation(
            "GET",
            every,
            "listTeams",
            Rule.VIEWER,
            "All teams.",
            reply=_json(200, "The teams.", Teams),
        ),
        _operation(
            "POST",
            every,
            "createTeam",
            Rule.ADMIN,
            "Make a team.",
            reply=_json(201, "The team.", ShownTeam),
            body=TeamBody,
            example={"name": "Research"},
            faults=(*_BODY, 409),
        ),
        _operation(
            "PATCH",
            one,
            "renameTeam",
            Rule.ADMIN,
            "Call a team otherwise.",
            reply=_done("It is."),
            parameters=_ID,
            body=TeamBody,
            example={"name": "Research"},
            faults=(*_BODY, 404, 409),
        ),
        _operation(
            "DELETE",
            one,
            "closeTeam",
            Rule.ADMIN,
            "Close a team; its accounts stay, in none.",
            reply=_done("It is closed."),
            parameters=_ID,
            faults=(404,),
        ),
    ]
