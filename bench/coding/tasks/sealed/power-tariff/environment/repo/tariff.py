"""What electricity costs, in cents."""

STEPS = [(100, 20), (500, 30), (None, 45)]
"""Up to how many units in all (None: no end), and the price of one."""


def cost_cents(units, steps=STEPS):
    """The cost of a month's units."""
    if units < 0:
        raise ValueError("units cannot be negative")
    for limit, price in steps:
        if limit is None or units <= limit:
            return units * price
    raise ValueError("the last step must have no end")


def bill(units, monthly_fee_cents=790):
    """The lines of a bill."""
    cost = cost_cents(units)
    total = cost + monthly_fee_cents
    return [f"units {units}", f"energy {cost / 100:.2f}", f"total {total / 100:.2f}"]
