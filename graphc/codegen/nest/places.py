"""`Places`: where the values of a section live. Lowering, the plan of memory and the frames all ask here.

A value has memory of its own in the section's arena, or *elsewhere* (the caller's, a state's, what the loop around
hands on), or it is a part of another value, or takes its place. Within one kernel an old value that is written over is
read through the pointer of the new one; that, `Builder.place` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphc.graph.node import Node
from graphc.graph.types import Size


@dataclass
class Places:
    """The places of one section's values.

    `parts` has those that are parts of others, or take their place, each with the other and the offset in elements.
    """

    elsewhere: set[Node] = field(default_factory=set)
    parts: dict[Node, tuple[Node, Size]] = field(default_factory=dict)

    def put(self, parts: Mapping[Node, tuple[Node, Size]]) -> None:
        """Note the places of values."""
        self.parts |= parts

    def of(self, x: Node) -> tuple[Node, Size]:
        """Return the value in whose memory another one lives, itself mostly, and the offset there in elements."""
        offset: Size = 0
        while x in self.parts:
            x, more = self.parts[x]
            offset = offset + more
        return x, offset

    def whole(self, x: Node) -> Node:
        """Return the value in whose memory another one lives."""
        return self.of(x)[0]

    def in_arena(self, x: Node) -> bool:
        """Tell whether a value has memory of its own in the section's arena."""
        return x not in self.elsewhere and x not in self.parts
