"""Break-even: at which volume a machine of our own beats a provider."""

import msgspec


class BreakevenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a machine of ours beside a provider's price for the same tokens.

    Measured over the span: the tokens that the model's calls had, and their share of the
    machine's time. `own_per_million_nano` is what a million of these tokens costs on the machine
    while it is fully used, `provider_per_million_nano` what the provider asks for the same mix of
    input, cached input and output. `breakeven_tokens_per_day` is the volume from which on the
    machine, which costs `machine_per_day_nano` whether or not anybody uses it, is cheaper;
    `breakeven_bp` is that as a share of what it could do, in hundredths of a percent. Both are
    None where the provider is cheaper even than a fully used machine, or nothing was measured.
    """

    machine: str
    model_id: str
    provider: str
    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    machine_ns: int
    tokens_per_s: int | None
    machine_per_day_nano: int
    tokens_per_day: int
    own_per_million_nano: int | None
    provider_per_million_nano: int
    breakeven_tokens_per_day: int | None
    breakeven_bp: int | None
    receipts: str


class Breakeven(msgspec.Struct, frozen=True, kw_only=True):
    """Every model that ran on a machine of ours, beside every provider whose price is known."""

    from_ns: int
    to_ns: int
    rows: tuple[BreakevenRow, ...]
