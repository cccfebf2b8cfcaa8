"""What a Python shop would have: classes that the tests send in both directions."""

from typing import Dict, List, NamedTuple


class Placed:
    order: int
    total: float

    def __init__(self, order: int, total: float) -> None:
        self.order = order
        self.total = total


class Customer:
    name: str
    tags: List[str]

    def __init__(self, name: str, tags: List[str]) -> None:
        self.name = name
        self.tags = tags


class Line(NamedTuple):
    item: str
    count: int


class Basket:
    """Objects in an object, and lists of what is no plain data."""

    customer: Customer
    lines: List[Line]
    others: List[Customer]
    stock: Dict[str, int]

    def __init__(self, customer: Customer, lines: List[Line], others: List[Customer], stock: Dict[str, int]) -> None:
        self.customer = customer
        self.lines = lines
        self.others = others
        self.stock = stock


class Ping:
    """No attributes at all."""


class Outer:
    class Inner:
        """On the wire this is `shop.events.Inner`, which nobody can import."""

        x: int

        def __init__(self, x: int) -> None:
            self.x = x
