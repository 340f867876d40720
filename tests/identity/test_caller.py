import pytest

from headrace.core.errors import Forbidden, InvalidRequest
from headrace.identity.caller import (
    Caller,
    check_scopes,
    effective,
    for_purpose,
    may,
    may_see,
)
from headrace.store.account import Role
from headrace.store.key import KeyScopes, RouteName
from support.callers import make_caller

SCOPES = KeyScopes(models=("qwen3-*", "gpt-?"), routes=("chat", "models"), purposes=("api", "ci"))


def _caller(scopes: KeyScopes | None, role: Role = "member") -> Caller:
    return make_caller(role=role, scopes=effective(scopes, role))


def test_a_key_without_scopes_may_do_everything():
    for scopes in (None, KeyScopes()):
        caller = _caller(scopes)
        assert caller.scopes is None
        may(caller, model="anything", route="files", purpose="whatever")
        assert may_see(caller, "anything")


@pytest.mark.parametrize("model", ["qwen3-1.7b", "qwen3-", "gpt-5"])
def test_patterns_of_models_match_whole_names(model: str):
    may(_caller(SCOPES), model=model)


@pytest.mark.parametrize("model", ["qwen3", "my-qwen3-1.7b", "gpt-55", "QWEN3-1.7b", ""])
def test_other_models_are_refused_with_the_scope_s_name(model: str):
    caller = _caller(SCOPES)
    assert not may_see(caller, model)
    with pytest.raises(Forbidden, match=r"'models' allows qwen3-\*, gpt-\?"):
        may(caller, model=model)


def test_other_routes_and_purposes_are_refused():
    caller = _caller(SCOPES)
    may(caller, route="chat", purpose="ci")
    with pytest.raises(Forbidden, match="'routes' allows chat, models"):
        may(caller, route="embeddings")
    with pytest.raises(Forbidden, match="'purposes' allows api, ci"):
        may(caller, purpose="eval")


@pytest.mark.parametrize("scopes", [None, KeyScopes(), KeyScopes(routes=("chat",))])
def test_a_viewer_s_key_only_lists_models(scopes: KeyScopes | None):
    caller = _caller(scopes, "viewer")
    may(caller, route="models")
    routes: tuple[RouteName, ...] = ("chat", "responses", "messages", "files", "outcomes")
    for route in routes:
        with pytest.raises(Forbidden, match="viewer"):
            may(caller, route=route)


def test_a_viewer_s_key_keeps_its_models():
    assert not may_see(_caller(KeyScopes(models=("a",)), "viewer"), "b")


def test_a_call_may_choose_among_the_purposes_of_its_key():
    caller = _caller(SCOPES)
    assert for_purpose(caller, "api") is caller
    chosen = for_purpose(caller, "ci")
    assert (chosen.purpose, chosen.lineage) == ("ci", caller.lineage)
    with pytest.raises(Forbidden):
        for_purpose(caller, "eval")
    assert for_purpose(_caller(None), "eval").purpose == "eval"
    for odd in ("chat", "terminal", "Not a word", "", "x" * 33):
        with pytest.raises(InvalidRequest):
            for_purpose(_caller(None), odd)


@pytest.mark.parametrize(
    "scopes",
    [
        KeyScopes(models=("",)),
        KeyScopes(models=("x" * 201,)),
        KeyScopes(models=("a\n",)),
        KeyScopes(models=tuple(f"m{number}" for number in range(65))),
        KeyScopes(purposes=("Not a word",)),
        KeyScopes(purposes=("chat",)),
    ],
)
def test_unfit_scopes_are_refused(scopes: KeyScopes):
    with pytest.raises(InvalidRequest):
        check_scopes(scopes)
