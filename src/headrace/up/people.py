"""People, their keys and their ways in, put together from the settings."""

import os
from pathlib import Path
from typing import cast

from headrace.config.hidden import hide
from headrace.config.settings import Settings
from headrace.core.errors import ConfigError
from headrace.core.scope import Scope
from headrace.edge.routes import RuledRoute
from headrace.edge.sign_in import SignInEndpoints
from headrace.identity.accounts import Accounts
from headrace.identity.admission import Admission
from headrace.identity.oidc import Oidc
from headrace.identity.oidc_provider import Provider, ProviderConfig
from headrace.identity.passwords import Passwords
from headrace.identity.sign_in import SignIn
from headrace.identity.teams import Teams
from headrace.serving.admin.accounts import AccountRoutes
from headrace.serving.admin.keys import KeyRoutes
from headrace.serving.admin.me import MeRoutes
from headrace.serving.admin.teams import TeamRoutes
from headrace.store.account import Role
from headrace.up.ground import Ground


def people_routes(ground: Ground) -> list[RuledRoute]:
    """Routes of accounts, teams, keys and of signing in.

    Raises:
        ConfigError: The settings of OpenID Connect are not whole.
    """
    database, keys, clock = ground.database, ground.keys, ground.clock
    sessions, audit = ground.sessions, ground.books.audit
    sign_in = SignIn(database, sessions, Passwords(), clock)
    settings = ground.settings

    async def newcomer(scope: Scope) -> None:
        await audit.note(scope, "account.made", scope.account_id, role=settings.oidc_newcomer_role)

    admission = Admission(
        sessions,
        keys,
        clock,
        organisation_id=ground.home.organisation_id,
        domains=settings.oidc_domains,
        newcomers=cast("Role", settings.oidc_newcomer_role) if settings.oidc_newcomers else None,
    )
    config = provider_config(settings)
    oidc = None
    if config is not None:
        provider = Provider(config, clock)
        oidc = Oidc(provider, ground.pepper, clock, name=settings.oidc_name)
    return [
        *SignInEndpoints(sessions, sign_in, oidc, admission, newcomer).routes(),
        *MeRoutes(database, sessions, sign_in, audit).routes(),
        *KeyRoutes(keys, audit, clock).routes(),
        *AccountRoutes(Accounts(database, keys, sessions, clock), audit).routes(),
        *TeamRoutes(Teams(database, keys, clock), audit).routes(),
    ]


def provider_config(settings: Settings) -> ProviderConfig | None:
    """What is set about the provider; None where none is set.

    Raises:
        ConfigError: Half of it is missing, or the secret cannot be read.
    """
    issuer, client_id = settings.oidc_issuer, settings.oidc_client_id
    if issuer is None and client_id is None:
        return None
    if issuer is None or client_id is None:
        raise ConfigError("oidc_issuer and oidc_client_id are set together or not at all")
    return ProviderConfig(issuer, client_id, _client_secret(settings))


def _client_secret(settings: Settings) -> str | None:
    file, variable = settings.oidc_client_secret_file, settings.oidc_client_secret_env
    if file is not None and variable is not None:
        raise ConfigError("oidc_client_secret_file and oidc_client_secret_env are set both")
    if file is not None:
        secret, where = _read(file), f"the file {file}"
    elif variable is not None:
        secret, where = os.environ.get(variable, ""), f"the variable {variable}"
    else:
        return None
    secret = secret.strip()
    if not secret or not secret.isprintable():
        raise ConfigError(f"{where} holds no client secret for OpenID Connect")
    hide(secret)
    return secret


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the client secret of OpenID Connect cannot be read: {error}") from None
