"""Quantities of resources as Kubernetes writes them: 100m, 1.5, 64Mi, 2e3 (row R1).

Rule: exact integers of 10⁻⁹, never floats; what is finer is rounded up. A value beyond 2⁶³-1 is refused.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, total_ordering

_NANO = 10**9
_MAX = 2**63 - 1
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_SYNTAX = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:([eE][+-]?\d{1,3})|([A-Za-z]*))", re.ASCII)
_DIGITS = 40  # of a number; far beyond what fits in 63 bits


@total_ordering
@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount in units of 10⁻⁹, and the notation it was written in: "decimal", "binary" or "exponent"."""

    nanos: int
    notation: str = "decimal"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nanos == other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __lt__(self, other: "Quantity") -> bool:
        return self.nanos < other.nanos

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nanos + other.nanos, self.notation)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nanos - other.nanos, self.notation)

    @property
    def millis(self) -> int:
        """The amount in thousandths, rounded up: CPU is counted so."""
        return -(-self.nanos // (_NANO // 1000))

    @property
    def whole(self) -> int:
        """The amount in whole units, rounded up: bytes and pods are counted so."""
        return -(-self.nanos // _NANO)

    def __str__(self) -> str:
        """The canonical text: no fraction, the largest suffix that leaves none."""
        if self.notation == "binary" and abs(self.nanos) >= 1024 * _NANO:
            return _with_binary_suffix(self.whole)
        return _with_power(self.nanos, exponent=self.notation == "exponent")


def _with_binary_suffix(amount: int) -> str:
    suffix = ""
    for name, bits in _BINARY.items():
        if amount % (1 << bits) == 0:
            suffix = name
    return f"{amount >> _BINARY[suffix]}{suffix}" if suffix else str(amount)


def _with_power(nanos: int, *, exponent: bool) -> str:
    power = -9
    while nanos and nanos % 1000 == 0 and power < 18:
        nanos //= 1000
        power += 3
    if not nanos or not power:
        return str(nanos)
    return f"{nanos}e{power}" if exponent else nanos_suffix(nanos, power)


def nanos_suffix(mantissa: int, power: int) -> str:
    """The mantissa with the decimal suffix of the power of ten (a multiple of 3, -9 to 18)."""
    return str(mantissa) + next(s for s, p in _DECIMAL.items() if p == power)


@lru_cache(maxsize=4096)
def parse(text: str) -> Quantity:
    """The quantity of a text; raises ValueError that says what is wrong with it."""
    match = _SYNTAX.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise ValueError(f'"{text}" is not a quantity such as 500m, 1.5, 64Mi or 2Gi')
    sign, whole, fraction, exponent, suffix = match[1], match[2], match[3] or "", match[4], match[5] or ""
    if len(whole) + len(fraction) > _DIGITS:
        raise ValueError(f'"{text[:20]}…" is not a quantity: it has too many digits')
    digits = int(whole + fraction or "0")
    numerator, denominator = _NANO * digits, 10 ** len(fraction)
    if exponent:
        notation, power = "exponent", int(exponent[1:])
        numerator, denominator = _scaled(numerator, denominator, power)
    elif suffix in _BINARY:
        notation, numerator = "binary", numerator << _BINARY[suffix]
    elif suffix in _DECIMAL:
        notation = "decimal"
        numerator, denominator = _scaled(numerator, denominator, _DECIMAL[suffix])
    else:
        raise ValueError(f'"{text}" is not a quantity: "{suffix}" is no unit; {_hint(suffix)}')
    nanos = -(-numerator // denominator)
    if nanos > _MAX * _NANO:
        raise ValueError(f'"{text}" is too large: at most {_MAX}')
    return Quantity(-nanos if sign == "-" else nanos, notation)


def _scaled(numerator: int, denominator: int, power: int) -> tuple[int, int]:
    return (numerator * 10**power, denominator) if power >= 0 else (numerator, denominator * 10**-power)


def _hint(suffix: str) -> str:
    known = {name.lower(): name for name in (*_BINARY, *_DECIMAL) if name}
    near = known.get(suffix.lower()) or known.get(suffix.lower().removesuffix("b")) or ""
    if near == "m" and suffix != "m":
        near = "M"
    return f'did you mean "{near}"?' if near else "units are m, k, M, G, T, P, E and Ki, Mi, Gi, Ti, Pi, Ei"


def canonical(text: str) -> str:
    """The canonical form of a quantity's text; raises ValueError."""
    return str(parse(text))


def rounded_to_milli(text: str) -> str:
    """The canonical form, rounded up to thousandths, as resource amounts are kept (R1); raises ValueError."""
    quantity = parse(text)
    return str(Quantity(quantity.millis * (_NANO // 1000), quantity.notation))


def amount(resource: str, text: str) -> int:
    """What schedulers count: thousandths for "cpu", whole units for anything else; raises ValueError."""
    quantity = parse(text)
    return quantity.millis if resource == "cpu" else quantity.whole


def told(resource: str, count: int) -> str:
    """The canonical text of what `amount` counts."""
    unit = _NANO // 1000 if resource == "cpu" else _NANO
    return str(Quantity(count * unit, "decimal" if resource == "cpu" else "binary"))


def total(quantities: Iterable[Quantity]) -> Quantity:
    """The sum; 0 of nothing."""
    result = Quantity(0)
    for quantity in quantities:
        result = quantity + result
    return result
