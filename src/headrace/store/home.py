"""The default organisation that every installation starts with."""

from sqlalchemy import Connection

from headrace.core.clock import Clock
from headrace.core.ids import new_id
from headrace.core.scope import Scope
from headrace.store import accounts
from headrace.store.accounts import Home


def bootstrap(connection: Connection, clock: Clock) -> Home:
    """The default organisation, its owner and the chat's account; made on the first call.

    Processes that call it at once get the same answer, because the first transaction wins.
    """
    found = accounts.find_home(connection)
    if found is not None:
        return found
    home = Home(new_id(clock), new_id(clock), new_id(clock))
    now_ns = clock.now_ns()
    accounts.add_organisation(connection, home.organisation_id, name="Home", created_ns=now_ns)
    accounts.add_person(connection, home.owner, role="owner", name="Owner", created_ns=now_ns)
    chat = Scope(home.organisation_id, home.chat_account_id)
    accounts.add_service(connection, chat, role="member", name="chat", created_ns=now_ns)
    return home
