"""The classes of a Python shop, which the tests send in both directions."""

import enum
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Set, Tuple


@dataclass
class Placed:
    order: int
    total: float


@dataclass
class Customer:
    name: str
    tags: List[str]


class Line(NamedTuple):
    item: str
    count: int


@dataclass
class Basket:
    """Nested objects, lists of them, and values that are not plain data."""

    customer: Customer
    lines: List[Line]
    others: List[Customer]
    labels: Set[str]
    size: Tuple[int, int]
    shelves: Dict[int, Line]


@dataclass
class Ping:
    """No attributes."""


class Outer:
    @dataclass
    class Inner:
        """On the wire this is `shop.events.Inner`, which Python cannot import."""

        x: int


class Color(enum.IntEnum):
    RED = 1


class OutOfStock(Exception):
    pass
