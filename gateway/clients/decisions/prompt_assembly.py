"""Prompts that come in parts (`schemas/prompt_parts.py`), put together: what is held of them, and what is refused.

The whole is judged as if it had come in one frame. Every part names the bytes of the whole: too large is said at the
first part, and the last one is known by its reaching them.

Invariants: parts are held as the UTF-8 bytes they are, never more than `bytes_max` per connection (all its prompts
together) and `PartsRoom.bytes_max` per process; each byte is counted in the room, and in what the process holds for
clients, until it is released: once the prompt is published, at a refusal, at the end of the connection. A part in its
place is never refused for what came before; one that is not (missing, out of order, changed) ends its prompt with one
error, and the rest of that prompt's parts, which are on their way already, are passed over without another one. Parts
without the rest are dropped after PARTS_S of silence.

Time is what `tick` is told; a prompt's silence begins at the first tick after its newest part, so taking a part needs
no clock. Why not parts as records on Kafka: see docs/decisions/0033. Cost: each byte is
copied twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gateway.sockets.decisions.client_outbox import HeldBytes
from schemas.client_messages import Part

__all__ = ["PARTS_S", "MissingParts", "PartKept", "PartsRefused", "PartsRoom", "PartsWhole", "PromptParts"]

PARTS_S: Final = 10.0
"""Silence after which parts without the rest are dropped."""
PROMPTS_MAX: Final = 4
"""Prompts of one connection that may be on their way in parts at once."""
RETRY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class PartKept:
    """More parts are to come, or this one belongs to a prompt that was refused."""


@dataclass(frozen=True, slots=True)
class PartsWhole:
    """The JSON text of the prompt; its bytes stay counted until they are released."""

    text: bytes


@dataclass(frozen=True, slots=True)
class PartsRefused:
    """The prompt is not taken: why, and which field of the part says so."""

    code: str
    message: str
    field: str
    temporary: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class MissingParts:
    """The rest of a prompt did not come."""

    session: str
    prompt_id: str
    received: int
    expected: int


PartVerdict: TypeAlias = PartKept | PartsWhole | PartsRefused
PromptKey: TypeAlias = tuple[str, str]
"""Session and prompt id."""
KEPT: Final = PartKept()


class PartsRoom:
    """The bytes of parts that a process holds, and how many it may. They count among those held for clients."""

    __slots__ = ("bytes_max", "held", "total")

    def __init__(self, bytes_max: int, held: HeldBytes) -> None:
        self.bytes_max = bytes_max
        self.held = held
        self.total = 0

    def reserve(self, size: int) -> bool:
        """Count so many more bytes; False: there is no room for them."""
        if self.total + size > self.bytes_max or self.held.is_full():
            return False
        self.total += size
        self.held.total += size
        return True

    def release(self, size: int) -> None:
        """They are held no more."""
        self.total -= size
        self.held.total -= size


@dataclass(slots=True)
class Assembly:
    """The parts of one prompt so far."""

    expected: int
    parts: int = 0
    text: bytearray = field(default_factory=bytearray)
    silent_since_s: float | None = None


class PromptParts:
    """What one connection has sent of prompts that are not whole yet. Made when its first part comes."""

    __slots__ = ("_assemblies", "_refused", "bytes_max", "held_bytes", "room")

    def __init__(self, bytes_max: int, room: PartsRoom) -> None:
        self.bytes_max = bytes_max
        """JSON text of one prompt, and of all parts of this connection together."""
        self.room = room
        self._assemblies: dict[PromptKey, Assembly] = {}
        self.held_bytes = 0
        """Bytes that this connection has counted in the room."""
        self._refused: PromptKey | None = None
        """The newest prompt that was refused: the rest of its parts is passed over."""

    def take(self, part: Part) -> PartVerdict:
        """Put a part to the others of its prompt."""
        key = (part.session, part.prompt_id)
        if part.index == 0:
            self.drop(key)
            self._refused = None if self._refused == key else self._refused
        elif self._refused == key:
            return KEPT
        try:
            piece = part.text.encode()
        except UnicodeEncodeError:
            message = "text holds half a character; cut between characters"
            return self.refuse(key, PartsRefused("invalid_field", message, "text"))
        assembly = self._assemblies.get(key) or Assembly(part.bytes)
        refused = self.misplaced(part, assembly) or self.oversized(part, assembly, len(piece))
        if refused is not None:
            return self.refuse(key, refused)
        self._assemblies[key] = assembly
        self.held_bytes += len(piece)
        assembly.parts += 1
        assembly.text += piece
        assembly.silent_since_s = None
        if len(assembly.text) < assembly.expected:
            return KEPT
        del self._assemblies[key]
        return PartsWhole(bytes(assembly.text))

    def misplaced(self, part: Part, assembly: Assembly) -> PartsRefused | None:
        """Whether the part does not follow those that came before it. Nothing of it is counted yet."""
        if part.bytes != assembly.expected:
            message = f"bytes was {assembly.expected} in the parts before; say the same in all parts of a prompt"
            return PartsRefused("parts_changed", message, "bytes")
        if part.index != assembly.parts:
            message = f"index is {part.index} where {assembly.parts} was due; send the parts in order, from 0"
            return PartsRefused("part_missing", message, "index")
        return None

    def oversized(self, part: Part, assembly: Assembly, size: int) -> PartsRefused | None:
        """Whether the part, or the prompt, is more than may be held; None: its bytes are counted in the room."""
        if part.bytes > self.bytes_max:
            message = f"the prompt has {part.bytes} bytes as JSON; send at most {self.bytes_max}"
            return PartsRefused("prompt_too_large", message, "bytes")
        if not size or len(assembly.text) + size > assembly.expected:
            message = f"the parts say {len(assembly.text) + size} bytes where bytes is {assembly.expected}; make it so"
            return PartsRefused("parts_changed", message, "text")
        crowded = part.index == 0 and len(self._assemblies) >= PROMPTS_MAX
        if crowded or self.assembling_bytes + size > self.bytes_max:
            message = "other prompts of this connection are on their way in parts; finish them first"
            return PartsRefused("busy", message, "text", temporary=True, retry_after_s=RETRY_S)
        if not self.room.reserve(size):
            message = "too many long prompts are on their way; send it again shortly"
            return PartsRefused("busy", message, "text", temporary=True, retry_after_s=RETRY_S)
        return None

    @property
    def assembling_bytes(self) -> int:
        """Bytes of prompts that are not whole yet."""
        return sum(len(assembly.text) for assembly in self._assemblies.values())

    def refuse(self, key: PromptKey, refused: PartsRefused) -> PartsRefused:
        self.drop(key)
        self._refused = key
        return refused

    def drop(self, key: PromptKey) -> None:
        assembly = self._assemblies.pop(key, None)
        if assembly is not None:
            self.release(len(assembly.text))

    def release(self, size: int) -> None:
        """Bytes of a whole prompt are held no more; of a connection that has been forgotten, they were given back."""
        size = min(size, self.held_bytes)
        self.held_bytes -= size
        self.room.release(size)

    def tick(self, now_s: float) -> list[MissingParts]:
        """The prompts whose rest has not come in time; they are dropped."""
        missing: list[MissingParts] = []
        for key, assembly in list(self._assemblies.items()):
            if assembly.silent_since_s is None:
                assembly.silent_since_s = now_s
            elif now_s - assembly.silent_since_s > PARTS_S:
                missing.append(MissingParts(*key, len(assembly.text), assembly.expected))
                self.drop(key)
                self._refused = key
        return missing

    def forget(self) -> None:
        """The connection has ended: nothing of it is held any more."""
        self._assemblies.clear()
        self.release(self.held_bytes)
