"""What a call can use at most, before it runs: by its bytes, and by what its client names."""

from collections.abc import Sequence

from headrace.core.models import Model
from headrace.ledger.charge import Bounds
from headrace.serving.ask import Ask
from headrace.serving.queue import Priority

_BYTES_PER_TOKEN = 4
# What an embedding model puts around each text.
_AROUND_TOKENS = 8


def bounds_of(ask: Ask, model: Model, priority: Priority) -> Bounds:
    """The bounds of an answer."""
    size, context = ask.size, model.context_tokens
    bytes_bound = size.input_tokens_max
    return Bounds(
        input_tokens=min(size.input_tokens, context),
        input_tokens_max=context if bytes_bound is None else min(bytes_bound, context),
        output_named=ask.output_tokens_max,
        output_tokens_max=model.output_tokens_max,
        answers=ask.answers,
        images=size.images,
        tier="batch" if priority == "batch" else "standard",
    )


def bounds_of_texts(texts: Sequence[str], model: Model, priority: Priority) -> Bounds:
    """The bounds of embeddings; each text is read by itself."""
    longest = len(texts) * model.context_tokens
    size = sum(len(text.encode()) for text in texts)
    return Bounds(
        input_tokens=min(size // _BYTES_PER_TOKEN, longest),
        input_tokens_max=min(size + _AROUND_TOKENS * len(texts), longest),
        output_named=0,
        tier="batch" if priority == "batch" else "standard",
    )
