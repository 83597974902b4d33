"""Pickles walked opcode by opcode, before any unpickler builds what they say.

An unpickler does as it is told: it makes room for as many notes as an index says, and tuples
within tuples without end, which overflow the stack of C once they are hashed or freed. So both
are bounded here, by following how deep each value on its stack is.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from typing import IO, Any

DEEPEST = 100
"""Containers within containers; checkpoints of training programs have about ten."""

_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_FILLS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
_MARK = -1


class BadPickle(ValueError):
    """A pickle that no honest program writes."""


def walk(stream: IO[bytes], most_memos: int) -> Iterator[tuple[str, Any]]:
    """The opcodes of one pickle with their arguments, to its end.

    Args:
        stream: stands behind the pickle afterwards.
        most_memos: the largest index under which a value may be noted.

    Raises:
        BadPickle: it is nested too deeply, or notes values under larger indices.
        Exception: whatever ``pickletools`` raises for bytes that are no pickle.
    """
    depths = _Depths(most_memos)
    for opcode, argument, _ in pickletools.genops(stream):
        yield opcode.name, argument
        depths.follow(opcode, argument)


class _Depths:
    """The stack and the notes of an unpickler, with depths in place of values."""

    def __init__(self, most_memos: int) -> None:
        self.most = most_memos
        self.stack: list[int] = []
        self.memo: dict[int, int] = {}

    def follow(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        name = opcode.name
        if name in _PUTS or name == "MEMOIZE":
            key = len(self.memo) if name == "MEMOIZE" else int(argument)
            if not 0 <= key <= self.most:
                raise BadPickle(f"it notes a value under the number {key:,}")
            self.memo[key] = self.stack[-1]
        elif name in _GETS:
            self.stack.append(self.memo.get(int(argument), 0))
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        elif name == "MARK":
            self.stack.append(_MARK)
        else:
            self._build(opcode, name)

    def _build(self, opcode: pickletools.OpcodeInfo, name: str) -> None:
        taken = self._taken(opcode)
        made = len(opcode.stack_after)
        if made:
            depth = max(taken, default=0) + (1 if taken else 0)
            if name in _FILLS and taken:  # the container is as deep as it was, or as what it gets
                depth = max(taken[0], max(taken[1:], default=0) + 1)
            if depth > DEEPEST:
                raise BadPickle(f"it is nested more than {DEEPEST} deep")
            self.stack += [depth] * made

    def _taken(self, opcode: pickletools.OpcodeInfo) -> list[int]:
        before = opcode.stack_before
        taken: list[int] = []
        if pickletools.markobject in before:
            while (one := self.stack.pop()) != _MARK:
                taken.insert(0, one)
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            taken.insert(0, self.stack.pop())
        return taken
