"""Pickles walked opcode by opcode, before any unpickler builds what they say.

An unpickler does as it is told: it makes room for as many notes as an index says, and tuples
within tuples without end, which overflow the stack of C once they are hashed or freed. So both
are bounded here, by following how deep each value on its stack is, and of which class: what a
stand-in must be able to take is known before one is made.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

DEEPEST = 100
"""Containers within containers; checkpoints of training programs have about ten."""

_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_FILLS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
_MAKES = ("NEWOBJ", "REDUCE")
_MAPPING, _LISTING = ("SETITEM", "SETITEMS"), ("APPEND", "APPENDS")


class _Value(NamedTuple):
    """What is known of a value: how deep it is, and the global that made it, or "" for none."""

    depth: int
    origin: str = ""


_MARK = _Value(-1)


class BadPickle(ValueError):
    """A pickle that no honest program writes."""


def walk(
    stream: IO[bytes], most_memos: int, filled: dict[str, str] | None = None
) -> Iterator[tuple[str, Any]]:
    """The opcodes of one pickle with their arguments, to its end.

    Args:
        stream: stands behind the pickle afterwards.
        most_memos: the largest index under which a value may be noted.
        filled: gets the globals, as "module name", whose objects are filled after they were
            made: as a ``mapping`` or a ``listing``.

    Raises:
        BadPickle: it is nested too deeply, or notes values under larger indices.
        Exception: whatever ``pickletools`` raises for bytes that are no pickle.
    """
    depths = _Depths(most_memos, {} if filled is None else filled)
    for opcode, argument, _ in pickletools.genops(stream):
        yield opcode.name, argument
        depths.follow(opcode, argument)


class _Depths:
    """The stack and the notes of an unpickler, with what is known of values in place of them."""

    def __init__(self, most_memos: int, filled: dict[str, str]) -> None:
        self.most = most_memos
        self.filled = filled
        self.stack: list[_Value] = []
        self.memo: dict[int, _Value] = {}

    def follow(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        name = opcode.name
        if name in _PUTS or name == "MEMOIZE":
            key = len(self.memo) if name == "MEMOIZE" else int(argument)
            if not 0 <= key <= self.most:
                raise BadPickle(f"it notes a value under the number {key:,}")
            self.memo[key] = self.stack[-1]
        elif name in _GETS:
            self.stack.append(self.memo.get(int(argument), _Value(0)))
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name == "GLOBAL":
            self.stack.append(_Value(0, str(argument)))
        else:
            self._build(opcode, name)

    def _build(self, opcode: pickletools.OpcodeInfo, name: str) -> None:
        taken = self._taken(opcode)
        made = len(opcode.stack_after)
        if not made:
            return
        depths = [one.depth for one in taken]
        depth = max(depths, default=0) + (1 if taken else 0)
        if name in _FILLS and taken:  # the container is as deep as it was, or as what it gets
            depth = max(depths[0], max(depths[1:], default=0) + 1)
        if depth > DEEPEST:
            raise BadPickle(f"it is nested more than {DEEPEST} deep")
        origin = taken[0].origin if taken and name in _MAKES + _FILLS else ""
        if origin and name in _MAPPING + _LISTING:
            self.filled[origin] = "mapping" if name in _MAPPING else "listing"
        self.stack += [_Value(depth, origin)] * made

    def _taken(self, opcode: pickletools.OpcodeInfo) -> list[_Value]:
        before = opcode.stack_before
        taken: list[_Value] = []
        if pickletools.markobject in before:
            while (one := self.stack.pop()) is not _MARK:
                taken.insert(0, one)
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            taken.insert(0, self.stack.pop())
        return taken
