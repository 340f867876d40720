import pytest

from headrace.code.connect import chosen
from headrace.code.flags import Flags
from headrace.core.errors import ConfigError

BOTH = {
    "ANTHROPIC_BASE_URL": "http://127.0.0.1:4000",
    "ANTHROPIC_API_KEY": "sk-a",
    "OPENAI_BASE_URL": "https://models.example.org/v1",
    "OPENAI_API_KEY": "sk-o",
}


def taken(flags: Flags, environ: dict[str, str]) -> tuple[str, str, str, str]:
    found = chosen(flags, environ)
    assert found is not None
    endpoint, origin = found
    return endpoint.base_url, endpoint.dialect, endpoint.key, origin


def test_our_own_is_the_default_also_where_keys_lie_about():
    assert chosen(Flags(), {"ANTHROPIC_API_KEY": "sk-a", "OPENAI_API_KEY": "sk-o"}) is None


def test_the_flag_goes_before_our_variable_before_those_of_providers():
    environ = BOTH | {
        "HEADRACE_CODE_ENDPOINT": "https://e.example.org",
        "HEADRACE_CODE_KEY": "k",
        "HEADRACE_CODE_DIALECT": "openai_responses",
    }
    assert taken(Flags(endpoint="http://f"), environ) == (
        "http://f",
        "openai_chat",
        "k",
        "--endpoint",
    )
    assert taken(Flags(), environ) == (
        "https://e.example.org",
        "openai_responses",
        "k",
        "HEADRACE_CODE_ENDPOINT",
    )
    assert taken(Flags(), BOTH) == (
        "http://127.0.0.1:4000",
        "anthropic",
        "sk-a",
        "ANTHROPIC_BASE_URL",
    )
    del (rest := dict(BOTH))["ANTHROPIC_BASE_URL"]
    assert taken(Flags(), rest) == (
        "https://models.example.org/v1",
        "openai_chat",
        "sk-o",
        "OPENAI_BASE_URL",
    )


def test_a_token_goes_before_an_api_key():
    assert taken(Flags(), BOTH | {"ANTHROPIC_AUTH_TOKEN": "t"})[2] == "t"


def test_a_providers_key_goes_to_its_own_host_only():
    environ = {"ANTHROPIC_API_KEY": "sk-a", "OPENAI_API_KEY": "sk-o"}
    for url in ("http://127.0.0.1:8080/v1", "https://api.openai.com.example.org/v1"):
        assert taken(Flags(endpoint=url), environ)[2] == ""
        assert taken(Flags(endpoint=url, dialect="anthropic"), environ)[2] == ""
    assert taken(Flags(endpoint="https://api.openai.com/v1"), environ)[2] == "sk-o"
    assert taken(Flags(endpoint="https://api.anthropic.com"), environ)[1:3] == ("anthropic", "sk-a")


@pytest.mark.parametrize("url", ["models.example.org", "file:///etc/passwd", "http://", ""])
def test_what_is_no_address_is_refused(url: str):
    if url:
        with pytest.raises(ConfigError):
            chosen(Flags(endpoint=url), {})
    with pytest.raises(ConfigError):
        chosen(Flags(endpoint="http://x", dialect="grpc"), {})
