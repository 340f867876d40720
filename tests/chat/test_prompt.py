"""From the path to the request."""

from headrace.chat.prompt import request_for, title_for
from headrace.core.messages import Message, Part, Role, Text, Thinking, ToolCall, user
from headrace.store.messages import Begun, TreeMessage


def item(role: Role, *parts: Part) -> TreeMessage:
    return TreeMessage(
        id="m",
        conversation_id="c",
        parent_id=None,
        role=role,
        model_id="scripted",
        status="done",
        parts=parts,
        seq=0,
        generation_id=None,
        receipt=None,
        error=None,
        created_ns=0,
    )


def ask(*history: TreeMessage, held: tuple[Part, ...] = ()) -> tuple[Message, ...]:
    return request_for(Begun(item("assistant", *held), history, fresh=True)).messages


def test_messages_go_out_as_they_are() -> None:
    thought, said = Thinking("Hm."), Text("Yes. ")
    path = (item("user", Text("a")), item("assistant", thought, said), item("user", Text("b")))
    assert ask(*path) == (user("a"), Message("assistant", (thought, said)), user("b"))


def test_a_reply_that_said_nothing_leaves_one_message_of_the_person() -> None:
    path = (item("user", Text("a")), item("assistant", Text("")), item("user", Text("b")))
    assert ask(*path) == (Message("user", (Text("a"), Text("b"))),)


def test_the_prefill_keeps_its_trailing_space_and_no_cut_thought() -> None:
    assert ask(item("user", Text("a")), held=(Text("So \n"),))[-1] == Message(
        "assistant", (Text("So \n"),)
    )
    assert ask(item("user", Text("a")), held=(Thinking("Hm"),)) == (user("a"),)
    call = ToolCall("1", "f", "{")
    assert ask(item("user", Text("a")), held=(Text("x"), call))[-1].parts == (Text("x"),)


def test_titles_come_from_the_first_line() -> None:
    assert title_for("\n  Why   is\tthe sky blue?\nTell me") == "Why is the sky blue?"
    long = title_for("word " * 40)
    assert len(long) <= 60
    assert long.endswith("…")
