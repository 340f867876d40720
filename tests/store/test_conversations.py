"""Conversations, their trees and their running replies, on both databases."""

import msgspec
import pytest
from sqlalchemy import Connection

from headrace.core.clock import SystemClock
from headrace.core.errors import Conflict, NotFound, RateLimited, TooLarge
from headrace.core.ids import new_id
from headrace.core.messages import Text, Thinking
from headrace.core.scope import Scope
from headrace.store import conversations, messages, replies
from headrace.store.conversations import Conversation
from headrace.store.database import Database
from headrace.store.messages import Begun, Limits, Receipt, TreeMessage, Turn
from headrace.store.replies import (
    UNFLUSHED_EVENTS_MAX,
    EventBatch,
    FinalReply,
    PartsBuilder,
    ReplyEvent,
)
from support.people import People, move_in

CLOCK = SystemClock()
LIMITS = Limits()


@pytest.fixture
def people(database: Database) -> People:
    return database.write_now(move_in)


def start(database: Database, scope: Scope, *, now_ns: int = 1) -> str:
    made = database.write_now(
        lambda connection: conversations.create_conversation(
            connection, scope, new_id(CLOCK), model_id="tiny", now_ns=now_ns
        )
    )
    return made.id


def turn(conversation: str, text: str = "hi", parent: str | None = None) -> Turn:
    return Turn(
        conversation_id=conversation,
        message_id=new_id(CLOCK),
        reply_id=new_id(CLOCK),
        parent_id=parent,
        parts=(Text(text),),
        model_id="tiny",
        title=text,
    )


def ask(
    database: Database, scope: Scope, asked: Turn, *, limits: Limits = LIMITS, now_ns: int = 1
) -> TreeMessage:
    begun = database.write_now(
        lambda connection: messages.add_turn(connection, scope, asked, limits=limits, now_ns=now_ns)
    )[1]
    return begun.reply


def finish(database: Database, scope: Scope, reply: TreeMessage, text: str = "yes") -> TreeMessage:
    final = FinalReply("done", (Text(text),), 3, None, Receipt("end"), None)
    done = database.write_now(
        lambda connection: replies.finish_reply(
            connection, scope, reply.conversation_id, reply.id, final
        )
    )
    assert done is not None
    return done


def path(database: Database, scope: Scope, conversation: str) -> list[str]:
    def work(connection: Connection) -> tuple[TreeMessage, ...]:
        shown = conversations.get_conversation(connection, scope, conversation)
        return messages.active_path(connection, scope, shown)

    return [item.id for item in database.read_now(work)]


def listed(database: Database, scope: Scope) -> tuple[Conversation, ...]:
    return database.read_now(
        lambda connection: conversations.list_conversations(
            connection, scope, before=None, limit=10
        )
    )


def batch(scope: Scope, reply: TreeMessage, first: int, *texts: str) -> EventBatch:
    events = [ReplyEvent(seq, 0, Text(text)) for seq, text in enumerate(texts, first)]
    return EventBatch(
        scope, reply.id, events[-1].seq, msgspec.json.encode(events).decode(), "generation"
    )


def test_a_tree_is_stored_by_parents_alone(database: Database, people: People) -> None:
    scope = people.member
    conversation = start(database, scope)
    first = turn(conversation, "one")
    reply = finish(database, scope, ask(database, scope, first))
    second = turn(conversation, "two", reply.id)
    ask(database, scope, second)
    whole = [first.message_id, first.reply_id, second.message_id, second.reply_id]
    assert path(database, scope, conversation) == whole
    edited = turn(conversation, "one, edited")
    ask(database, scope, edited, now_ns=1)
    assert path(database, scope, conversation) == [edited.message_id, edited.reply_id]
    shown = database.write_now(
        lambda connection: messages.show_branch(connection, scope, conversation, first.message_id)
    )
    assert shown.head_id == second.reply_id
    assert path(database, scope, conversation) == whole
    root = database.read_now(
        lambda connection: messages.get_message(connection, scope, conversation, first.message_id)
    )
    assert set(root.siblings) == {first.message_id, edited.message_id}
    (one,) = listed(database, scope)
    assert (one.title, one.running) == ("one", True)


def test_a_long_path_is_read_in_order(database: Database, people: People) -> None:
    scope = people.member
    conversation = start(database, scope)
    parent: str | None = None
    expected: list[str] = []
    for _ in range(30):
        asked = turn(conversation, parent=parent)
        # The wall clock stands still, or was set back: order comes from the tree.
        parent = finish(database, scope, ask(database, scope, asked)).id
        expected += [asked.message_id, asked.reply_id]
    assert path(database, scope, conversation) == expected
    with pytest.raises(TooLarge, match="60 messages"):
        ask(database, scope, turn(conversation, parent=parent), limits=Limits(depth_max=61))


def test_the_same_ids_give_the_same_answer(database: Database, people: People) -> None:
    scope = people.member
    conversation = start(database, scope)
    asked = turn(conversation)
    reply = ask(database, scope, asked)
    assert ask(database, scope, asked) == reply
    for change in ({"parts": (Text("other"),)}, {"parent_id": reply.id}, {"model_id": "big"}):
        with pytest.raises(Conflict):
            ask(database, scope, msgspec.structs.replace(asked, **change))
    elsewhere = msgspec.structs.replace(asked, conversation_id=start(database, scope))
    with pytest.raises(Conflict):
        ask(database, scope, elsewhere)
    theirs = msgspec.structs.replace(asked, conversation_id=start(database, people.colleague))
    with pytest.raises(Conflict):
        ask(database, people.colleague, theirs)


def test_nothing_of_others_is_found(database: Database, people: People) -> None:
    conversation = start(database, people.member)
    reply = ask(database, people.member, turn(conversation))
    final = FinalReply("stopped", (), 0, None, None, None)
    for scope in (people.colleague, people.owner, people.stranger):
        assert listed(database, scope) == ()
        with pytest.raises(NotFound):
            path(database, scope, conversation)
        with pytest.raises(NotFound):
            ask(database, scope, turn(conversation))
        with pytest.raises(NotFound):
            database.write_now(
                lambda connection, scope=scope: conversations.delete_conversation(
                    connection, scope, conversation
                )
            )
        other = start(database, scope)
        with pytest.raises(NotFound):
            ask(database, scope, turn(other, parent=reply.id))
        assert (
            database.write_now(
                lambda connection, scope=scope: replies.finish_reply(
                    connection, scope, conversation, reply.id, final
                )
            )
            is None
        )
    assert [item.running for item in listed(database, people.member)] == [True]


def test_an_account_runs_only_so_many_replies(database: Database, people: People) -> None:
    conversation = start(database, people.member)
    limits = Limits(running_max=2)
    for _ in range(2):
        ask(database, people.member, turn(conversation), limits=limits)
    with pytest.raises(RateLimited):
        ask(database, people.member, turn(conversation), limits=limits)
    ask(database, people.colleague, turn(start(database, people.colleague)), limits=limits)


def test_events_are_kept_until_the_reply_is_final(database: Database, people: People) -> None:
    scope = people.member
    reply = ask(database, scope, turn(start(database, scope)))
    gone_id = new_id(CLOCK)
    gone = msgspec.structs.replace(batch(scope, reply, 1, "x"), message_id=gone_id)
    first = batch(scope, reply, 1, "Wa", "ter ")
    lost = database.write_now(lambda connection: replies.append_events(connection, [first, gone]))
    assert lost == {gone_id}
    # A flush whose success was not heard of comes again, with more.
    again = batch(scope, reply, 2, "ter ", "runs")
    database.write_now(lambda connection: replies.append_events(connection, [again]))

    def load(scope: Scope, after: int) -> list[int]:
        events = database.read_now(
            lambda connection: replies.load_events(
                connection, scope, reply.id, after=after, rows_max=10
            )
        )
        return [event.seq for event in events]

    assert load(scope, 0) == [1, 2, 3]
    assert load(scope, 1) == [2, 3]
    assert load(scope, 3) == []
    assert load(people.colleague, 0) == []
    done = finish(database, scope, reply)
    assert (done.status, done.seq, done.parts) == ("done", 3, (Text("yes"),))
    assert load(scope, 0) == []
    late = FinalReply("stopped", (), 9, None, None, None)
    unchanged = database.write_now(
        lambda connection: replies.finish_reply(
            connection, scope, reply.conversation_id, reply.id, late
        )
    )
    assert unchanged == done, "one finaliser wins"


def test_a_start_interrupts_what_a_dead_process_left(database: Database, people: People) -> None:
    scope = people.member
    conversation = start(database, scope)
    reply = ask(database, scope, turn(conversation))
    silent = ask(database, scope, turn(conversation))
    done = finish(database, scope, ask(database, scope, turn(conversation)))
    stored = [batch(scope, reply, 1, "Wa", "ter"), batch(scope, reply, 2, "ter", " runs")]
    for one in stored:
        database.write_now(lambda connection, one=one: replies.append_events(connection, [one]))
    assert database.write_now(replies.interrupt_running) == 2
    assert database.write_now(replies.interrupt_running) == 0

    def get(identifier: str) -> TreeMessage:
        return database.read_now(
            lambda connection: messages.get_message(connection, scope, conversation, identifier)
        )

    cut = get(reply.id)
    assert (cut.status, cut.parts) == ("interrupted", (Text("Water runs"),))
    assert cut.seq == 3 + UNFLUSHED_EVENTS_MAX
    assert cut.generation_id == "generation"
    assert (get(silent.id).status, get(silent.id).parts) == ("interrupted", ())
    assert get(done.id).status == "done"


def test_continuing_keeps_text_and_numbers(database: Database, people: People) -> None:
    scope = people.member
    conversation = start(database, scope)
    reply = ask(database, scope, turn(conversation))
    database.write_now(
        lambda connection: replies.append_events(connection, [batch(scope, reply, 1, "One ")])
    )
    database.write_now(replies.interrupt_running)

    def reopen() -> Begun:
        return database.write_now(
            lambda connection: messages.reopen_reply(
                connection, scope, conversation, reply.id, limits=LIMITS, now_ns=2
            )
        )

    begun = reopen()
    assert begun.fresh
    assert (begun.reply.status, begun.reply.parts) == ("running", (Text("One "),))
    assert [item.role for item in begun.history] == ["user"]
    assert not reopen().fresh, "it runs already"
    seq = begun.reply.seq
    more = batch(scope, reply, seq + 1, "two")
    database.write_now(lambda connection: replies.append_events(connection, [more]))
    database.write_now(replies.interrupt_running)
    cut = reopen().reply
    assert cut.parts == (Text("One two"),)
    assert cut.seq > seq + 1
    finish(database, scope, cut)
    with pytest.raises(Conflict, match="whole"):
        reopen()


def test_deleting_leaves_nothing(database: Database, people: People) -> None:
    scope = people.member
    conversation = start(database, scope)
    reply = ask(database, scope, turn(conversation))
    database.write_now(
        lambda connection: replies.append_events(connection, [batch(scope, reply, 1, "x")])
    )
    database.write_now(
        lambda connection: conversations.delete_conversation(connection, scope, conversation)
    )
    for table in ("conversation", "message", "reply_event"):
        left = database.read_now(
            lambda connection, table=table: connection.exec_driver_sql(
                f"SELECT count(*) FROM {table}"
            ).scalar_one()
        )
        assert left == 0, table


def test_parts_grow_by_index() -> None:
    builder = PartsBuilder((Text("a"),))
    builder.add(0, Text("b"))
    assert builder.parts() == (Text("ab"),)
    builder.add(1, Thinking("c"))
    builder.add(1, Thinking("d", signature="s"))
    builder.add(2, Text(""))
    assert builder.parts() == (Text("ab"), Thinking("cd", signature="s"), Text(""))
