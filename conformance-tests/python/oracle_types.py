"""The classes of data/wire-vectors.json, as in the Python program that wrote it."""

import enum
from dataclasses import dataclass
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple


class Point:
    x: int
    y: int

    def __init__(self, x: int, y: int) -> None:
        self.x = x
        self.y = y

    def __repr__(self) -> str:
        return f"Point(x={self.x!r}, y={self.y!r})"


class Pair(NamedTuple):
    name: str
    value: int


class Holder:
    payload: Pair

    def __init__(self, payload: Pair) -> None:
        self.payload = payload

    def __repr__(self) -> str:
        return f"Holder({self.payload!r})"


@dataclass
class Order:
    id: int
    customer: str
    total: float
    lines: List[Pair]
    tags: Set[str]
    span: Tuple[int, int]
    index: Dict[int, Point]
    extra: Dict[str, Any]


@dataclass
class Maybe:
    id: int
    note: Optional[str] = None


class Outer:
    class Inner:
        v: int

        def __init__(self, v: int) -> None:
            self.v = v

        def __repr__(self) -> str:
            return "<Inner instance>"


class CustomError(Exception):
    pass


class CodedError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)


class Color(enum.IntEnum):
    RED = 1
