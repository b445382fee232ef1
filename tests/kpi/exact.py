"""Exact arithmetic: fractions until the very last step, then half up."""

from decimal import Decimal
from fractions import Fraction

PERCENT_DIGITS = 2
RATE_DIGITS = 4


def half_up(value, digits):
    """Fraction, Decimal or int as a Decimal with `digits` digits; a half goes away from zero. None stays None."""
    if value is None:
        return None
    value = Fraction(value)
    shifted = abs(value) * 10**digits + Fraction(1, 2)
    whole = shifted.numerator // shifted.denominator
    return Decimal(-whole if value < 0 else whole).scaleb(-digits)


def ratio(part, whole):
    """part / whole as a Fraction; None where the divisor is 0 or one of them is not there."""
    return None if part is None or not whole else Fraction(part) / Fraction(whole)


def percent(part, whole):
    share = ratio(part, whole)
    return half_up(None if share is None else share * 100, PERCENT_DIGITS)


def rate(value):
    return half_up(value, RATE_DIGITS)


def mean(values):
    return Fraction(sum(map(Fraction, values)), len(values)) if values else None


def quantile(values, share):
    """Linear interpolation between the two nearest values (quantile_cont); None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    position = Fraction(share) * (len(ordered) - 1)
    below = position.numerator // position.denominator
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (Fraction(ordered[above]) - ordered[below])


def median(values):
    return quantile(values, Fraction(1, 2))
