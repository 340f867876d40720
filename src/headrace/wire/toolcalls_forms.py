# ruff: noqa: RUF001, RUF002 - DeepSeek spells its marks with fullwidth bars
"""The forms in which models were taught to write a tool call, and how each one opens and closes.

Sources are the chat templates of the models, and the parsers of llama.cpp and vLLM for them:

- Hermes, Qwen 2.5 and 3: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`;
- Qwen3-Coder: `<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`;
- Llama 3: `{"name": …, "parameters": {…}}`, also after `<|python_tag|>`, several parted by `;`;
  `<function=name>{…}</function>`; Llama 3.2 and 4: `[name(key=value)]`, the latter between
  `<|python_start|>` and `<|python_end|>`;
- Mistral: `[TOOL_CALLS][{"name": …, "arguments": {…}, "id": …}]`, since 2025
  `[TOOL_CALLS]name{…}`, `[TOOL_CALLS]name[ARGS]{…}` and `[TOOL_CALLS]name[CALL_ID]id[ARGS]{…}`;
- DeepSeek V3: `<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>name`, a fence with
  the arguments, `<｜tool▁call▁end｜><｜tool▁calls▁end｜>`; V3.1: `name<｜tool▁sep｜>{…}` instead;
- gpt-oss (harmony): `<|channel|>commentary to=functions.name <|constrain|>json<|message|>{…}`;
- whoever was taught none of these: the JSON of a call, fenced or bare.
"""

import msgspec


class Form(msgspec.Struct, frozen=True):
    """How calls are set apart from text.

    `mark` opens them; the empty one stands for the beginning of a line. `closers` may follow a
    call, `close` is what follows one by the book; None: nothing can, the answer ends with it.
    """

    mark: str = ""
    closers: tuple[str, ...] = ()
    close: str | None = ""


_HERMES_END = "</tool_call>"
_FUNCTION_END = "</function>"
_DEEPSEEK_END = "<｜tool▁call▁end｜>"
_DEEPSEEK_CLOSERS = ("```", _DEEPSEEK_END, "<｜tool▁calls▁end｜>")
CHANNEL_ENDS = ("<|call|>", "<|end|>", "<|return|>")

BARE = Form(closers=(_HERMES_END,))
FENCED = Form("```", ("```",), "\n```")
FUNCTION = Form("<function=", (_FUNCTION_END, _HERMES_END), _FUNCTION_END)
CHANNEL = Form("<|channel|>", CHANNEL_ENDS, None)
CHANNEL_START = Form("<|start|>assistant", CHANNEL_ENDS, None)
CHANNEL_FIRST = Form("to=functions.", CHANNEL_ENDS, None)
"""The prompt ends with `<|start|>assistant`, so this may be the first thing said."""

MARKED = (
    Form("<tool_call>", (_FUNCTION_END, _HERMES_END), "\n" + _HERMES_END),
    FUNCTION,
    Form("<|python_tag|>"),
    Form("<|python_start|>", ("<|python_end|>",)),
    Form("[TOOL_CALLS]"),
    Form("<｜tool▁calls▁begin｜>", _DEEPSEEK_CLOSERS, _DEEPSEEK_END),
    Form("<｜tool▁call▁begin｜>", _DEEPSEEK_CLOSERS, _DEEPSEEK_END),
    CHANNEL,
    CHANNEL_START,
)
CHANNELS = (CHANNEL, CHANNEL_START)
THINKING = {"<think>": "</think>", "[THINK]": "[/THINK]"}

PRESERVED_TOKENS = (
    *THINKING,
    *THINKING.values(),
    *(form.mark for form in MARKED if form not in CHANNELS),
    *(closer for form in MARKED for closer in form.closers if closer not in CHANNEL_ENDS),
    "<｜tool▁sep｜>",
    "[ARGS]",
    "[CALL_ID]",
    "<|channel|>",
    "<|start|>",
    "<|message|>",
    "<|constrain|>",
)
"""What an engine must not swallow when it is a token of its own. The ends of harmony's channels
are not here: they end an answer in other models and would show at its end."""


def form_at(text: str, *, line: bool) -> Form | None:
    """The form that `text` may begin with; `line`: it stands at the beginning of a line."""
    for form in MARKED:
        if text.startswith(form.mark):
            return form
    if not line:
        return None
    if text.startswith(FENCED.mark):
        return FENCED
    return BARE if text[:1] in {"{", "["} else None
