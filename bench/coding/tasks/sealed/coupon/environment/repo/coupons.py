"""Coupons of the shop; amounts are cents."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Coupon:
    code: str
    minimum: int = 0
    percent: int = 0
    cents_off: int = 0


def discount(coupon, cart):
    """What a coupon takes off a cart, in whole cents."""
    return coupon.cents_off + cart * coupon.percent // 100


def apply(coupon, cart):
    """What is left to pay."""
    if cart >= coupon.minimum:
        return cart - discount(coupon, cart)
    return cart


def best(coupons, cart):
    """The lowest price that one of the coupons gives."""
    return min([apply(coupon, cart) for coupon in coupons] + [cart])
