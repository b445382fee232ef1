"""Values as sources write them ("Reading values, all sources"): text in, exact value, None or Unreadable out."""

import re
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from functools import lru_cache

NULLS = {"", "null", "NULL", "NaN", "\\N"}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)
MONEY = Decimal("0.0001")


class Unreadable(ValueError):
    """There is a value, and it is not one of its type."""


def text(raw):
    """Trimmed; None for the words that mean null. Numbers come as the text that stood there."""
    if raw is None:
        return None
    if not isinstance(raw, str):
        raise Unreadable(raw)
    trimmed = raw.strip()
    return None if trimmed in NULLS else trimmed


@lru_cache(1 << 16)
def lower(value):
    """Unicode simple mapping: character by character, so that a text keeps its length; İ is i."""
    return "".join("i" if c == "İ" else c.lower() if len(c.lower()) == 1 else c for c in value)


def category(raw):
    value = text(raw)
    return None if value is None else lower(value)


@lru_cache(1 << 18)
def _number(value):
    if not NUMBER.fullmatch(value):
        raise Unreadable(value)
    return Decimal(value)


def number(raw):
    value = text(raw)
    return None if value is None else _number(value)


def integer(raw):
    """3.0 is 3; 3.5 is not an integer, nor is what 64 bits cannot hold."""
    value = number(raw)
    if value is None:
        return None
    if value != value.to_integral_value() or not -(2**63) <= value < 2**63:
        raise Unreadable(raw)
    return int(value)


def money(raw):
    """DECIMAL(18,4)."""
    value = number(raw)
    if value is not None and abs(value) >= 10**14:
        raise Unreadable(raw)
    return None if value is None else value.quantize(MONEY, ROUND_HALF_UP)


def instant(raw):
    """Epoch seconds, perhaps with a fraction, as whole microseconds since 1970 (UTC)."""
    value = number(raw)
    return None if value is None else int((value * 1000000).to_integral_value(ROUND_FLOOR))


class Fields:
    """One row being read: collects why it must go to quarantine and what deserves a warning."""

    __slots__ = ("reasons", "row", "warnings")

    def __init__(self, row):
        self.row, self.reasons, self.warnings = row, [], []

    def required(self, name, read):
        try:
            value = read(self.row.get(name))
        except Unreadable:
            self.reasons.append(f"{name} is unreadable")
            return None
        if value is None:
            self.reasons.append(f"{name} is missing")
        return value

    def optional(self, name, read):
        try:
            return read(self.row.get(name))
        except Unreadable:
            self.warnings.append(f"{name} is unreadable")
            return None

    def happened(self, name, received_us):
        """A required time that is at most 5 minutes ahead of its receipt."""
        at_us = self.required(name, instant)
        if at_us is not None and at_us > received_us + 5 * 60 * 1000000:
            self.reasons.append(f"{name} is ahead of its receipt")
        return at_us

    def limit(self, ok, reason):
        """ok None: the value is not there, which was said already."""
        if ok is False:
            self.reasons.append(reason)
