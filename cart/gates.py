"""What runs at a gate: it opens once for each grant, an entry stays shut when in doubt, an exit always opens.

The store orders a gate to open with a ``GateCommand``. Networks repeat commands, delay them and change their order, and
gates lose power; so the gate itself remembers which grants it has opened for, in a file that is written to the disk
before the bolt moves. Should power fail between the two, the gate has not opened and never will for that grant: the
shopper shows a new code. A door through which people leave must never depend on any of this, nor on the network: it
opens whenever somebody wants out. (Where power fails altogether, its lock has to let go by itself.)
"""

import json
import logging
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

from cart.events import check_aware

_log = logging.getLogger(__name__)

LONGEST_LIFE = timedelta(minutes=5)
"""No command lives longer, so what is older need not be remembered."""
LARGEST_SKEW = timedelta(seconds=30)
"""By so much the store's clock may be ahead of a gate's."""
MAX_MESSAGE_BYTES = 4096

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_GATE_ID = re.compile(_NAME)
_FEW_LINES = 1000
_WORD = {True: "opened", False: "stuck"}


def check_gate_id(gate_id: str) -> str:
    """Give a gate's name back if it is one: 1 to 64 letters, digits, ``_``, ``.`` or ``-``, fit for a topic.

    Raises:
        ValueError: It is not.
    """
    if not _GATE_ID.fullmatch(gate_id):
        raise ValueError(f"gate: expected a name of 1 to 64 letters, digits, _ . or -, got {gate_id!r:.80}")
    return gate_id


class GateKind(StrEnum):
    """Which way a gate leads."""

    ENTRY = "entry"
    EXIT = "exit"


class GateReason(StrEnum):
    """Why a gate did, or did not, open."""

    OPENED = "opened"
    REPEATED = "repeated"
    """It was ordered so before; nothing moved."""
    STALE = "stale"
    EARLY = "early"
    """It was given in the future: one of the two clocks is wrong."""
    REORDERED = "reordered"
    """A newer command was carried out before this one came."""
    OTHER_GATE = "other_gate"
    MALFORMED = "malformed"
    NO_MEMORY = "no_memory"
    """It cannot be written down, and so could happen twice."""
    STUCK = "stuck"
    """The bolt did not move."""
    IN_DOUBT = "in_doubt"
    """Power failed just when the bolt should have moved for it; nobody knows whether it did."""
    WAY_OUT = "way_out"
    """Somebody wants out."""
    NO_CODE = "no_code"
    """Somebody stands before an entry, without a command."""


@dataclass(frozen=True, slots=True)
class GateCommand:
    """An order to a gate to open once.

    Attributes:
        grant_id: Identity of the order; a gate opens once for it.
        gate_id: Which gate.
        issued_at: When it was given, timezone-aware.
        expires_at: From then on it is not to be carried out any more.
    """

    grant_id: UUID
    gate_id: str
    issued_at: datetime
    expires_at: datetime

    def __post_init__(self) -> None:
        check_gate_id(self.gate_id)
        check_aware("GateCommand.issued_at", self.issued_at)
        check_aware("GateCommand.expires_at", self.expires_at)
        life = self.expires_at - self.issued_at
        if not timedelta(0) < life <= LONGEST_LIFE:
            raise ValueError(f"GateCommand: expected a life of at most {LONGEST_LIFE}, got {life}")

    def to_json(self) -> str:
        """The command as JSON text."""
        return json.dumps(
            {
                "grant_id": str(self.grant_id),
                "gate_id": self.gate_id,
                "issued_at": self.issued_at.isoformat(),
                "expires_at": self.expires_at.isoformat(),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> "GateCommand":
        """Read a command.

        Raises:
            ValueError: It is none.
        """
        if len(text) > MAX_MESSAGE_BYTES:
            raise ValueError(f"gate command: expected at most {MAX_MESSAGE_BYTES} bytes, got {len(text)}")
        try:
            read = _CommandJson.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(f"gate command: {error.error_count()} fields are wrong") from error
        return cls(read.grant_id, read.gate_id, read.issued_at, read.expires_at)


class _CommandJson(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    grant_id: UUID
    gate_id: Annotated[str, StringConstraints(max_length=64)]
    issued_at: AwareDatetime
    expires_at: AwareDatetime


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """What a gate says of a command.

    Attributes:
        grant_id: The command's; None if none could be read.
        opened: Whether the gate opened for it, now or before.
        reason: Why.
        at: When it says so, by the gate's clock, timezone-aware.
    """

    grant_id: UUID | None
    opened: bool
    reason: GateReason
    at: datetime


class GateController:
    """The rules of one gate. Safe to share between threads.

    Args:
        gate_id: Its name.
        kind: Which way it leads.
        memory: File in which it remembers the grants it has opened for; only an entry gate needs one.
        move_bolt: Opens the gate, once, and returns when it is open; it shuts by itself after somebody has passed.
        now: The gate's clock, timezone-aware.
    """

    def __init__(
        self,
        gate_id: str,
        kind: GateKind,
        memory: Path,
        move_bolt: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self.gate_id = check_gate_id(gate_id)
        self.kind = kind
        self._memory = memory
        self._move_bolt = move_bolt
        self._now = now
        self._turn = threading.Lock()
        self._issued: dict[UUID, datetime] = {}
        self._opened: dict[UUID, bool] = {}
        self._newest: datetime | None = None
        self._lines = 0
        # What was ordered before this moment may have been carried out by a predecessor whose memory is lost.
        self._blind_until: datetime | None = None
        if kind is GateKind.ENTRY and not self._knows_its_past():
            self._blind_until = now()

    def obey(self, message: GateCommand | str | bytes) -> GateAnswer:
        """Carry out a command, if it is to be carried out.

        Args:
            message: A command, or one as JSON.

        Returns:
            What happened; it never raises.
        """
        if self.kind is GateKind.EXIT:
            return self._obey_as_exit(message)
        try:
            command = message if isinstance(message, GateCommand) else GateCommand.from_json(message)
        except ValueError as error:
            _log.warning("gate %s: not a command: %s", self.gate_id, error)
            return GateAnswer(None, False, GateReason.MALFORMED, self._clock())
        try:
            with self._turn:
                return self._obey_as_entry(command)
        except Exception:
            _log.exception("gate %s: stays shut", self.gate_id)
            return GateAnswer(command.grant_id, False, GateReason.STUCK, self._clock())

    def want_through(self) -> GateAnswer:
        """Somebody stands at the gate, or presses its button: an exit opens, an entry does not.

        It needs no network, no clock and no memory, and never raises.
        """
        if self.kind is GateKind.ENTRY:
            return GateAnswer(None, False, GateReason.NO_CODE, self._clock())
        return self._let_out(None)

    def _obey_as_exit(self, message: GateCommand | str | bytes) -> GateAnswer:
        try:
            command = message if isinstance(message, GateCommand) else GateCommand.from_json(message)
        except ValueError as error:
            _log.warning("gate %s: opens on what is not a command: %s", self.gate_id, error)
            return self._let_out(None)
        return self._let_out(command.grant_id)

    def _let_out(self, grant_id: UUID | None) -> GateAnswer:
        try:
            self._move_bolt()
        except Exception:
            _log.exception("gate %s: an exit did not open", self.gate_id)
            return GateAnswer(grant_id, False, GateReason.STUCK, self._clock())
        return GateAnswer(grant_id, True, GateReason.WAY_OUT, self._clock())

    def _obey_as_entry(self, command: GateCommand) -> GateAnswer:
        at = self._now()
        check_aware("now", at)

        def answer(opened: bool, reason: GateReason) -> GateAnswer:
            return GateAnswer(command.grant_id, opened, reason, at)

        if command.gate_id != self.gate_id:
            return answer(False, GateReason.OTHER_GATE)
        if command.grant_id in self._issued:
            opened = self._opened.get(command.grant_id)
            return answer(bool(opened), GateReason.IN_DOUBT if opened is None else GateReason.REPEATED)
        if at >= command.expires_at or (self._blind_until is not None and command.issued_at <= self._blind_until):
            return answer(False, GateReason.STALE)
        if command.issued_at > at + LARGEST_SKEW:
            # Taken for the newest, it would keep every later one out.
            return answer(False, GateReason.EARLY)
        if self._newest is not None and command.issued_at < self._newest:
            return answer(False, GateReason.REORDERED)
        try:
            if self._lines >= _FEW_LINES:
                self._rewrite(at)
            self._write(f"{command.grant_id} {command.issued_at.isoformat()}", lasting=True)
        except OSError as error:
            _log.error("gate %s: stays shut, its memory cannot be written: %s", self.gate_id, error)
            return answer(False, GateReason.NO_MEMORY)
        self._note(command.grant_id, command.issued_at)
        try:
            self._move_bolt()
        except Exception:
            # It may have moved all the same: this grant is spent.
            _log.exception("gate %s: the bolt did not move", self.gate_id)
            self._note_outcome(command.grant_id, False)
            return answer(False, GateReason.STUCK)
        self._note_outcome(command.grant_id, True)
        return answer(True, GateReason.OPENED)

    def _write(self, line: str, *, lasting: bool) -> None:
        with self._memory.open("ab") as stream:
            stream.write(f"{line}\n".encode("ascii"))
            stream.flush()
            if lasting:
                os.fsync(stream.fileno())
        self._lines += 1

    def _note(self, grant_id: UUID, issued_at: datetime) -> None:
        self._issued[grant_id] = issued_at
        self._newest = issued_at if self._newest is None else max(self._newest, issued_at)

    def _note_outcome(self, grant_id: UUID, opened: bool) -> None:
        self._opened[grant_id] = opened
        try:
            # It need not last: without this line the gate says later that it does not know.
            self._write(f"{grant_id} {_WORD[opened]}", lasting=False)
        except OSError as error:
            _log.error("gate %s: its memory cannot be written: %s", self.gate_id, error)

    def _knows_its_past(self) -> bool:
        try:
            return self._remember()
        except OSError as error:
            _log.error("gate %s: its memory cannot be read: %s", self.gate_id, error)
            return False

    def _remember(self) -> bool:
        """Read what was opened before; False if that is not known."""
        try:
            text = self._memory.read_bytes()
        except FileNotFoundError:
            return False
        *lines, torn = text.split(b"\n")
        self._lines = len(lines)
        sound = True
        for number, line in enumerate(lines):
            try:
                name, what = line.decode("ascii").split(" ")
                grant_id = UUID(name)
                if what in _WORD.values():
                    self._opened[grant_id] = what == _WORD[True]
                else:
                    moment = datetime.fromisoformat(what)
                    check_aware("issued_at", moment)
                    self._note(grant_id, moment)
            except ValueError:
                _log.error("gate %s: line %d of its memory cannot be read", self.gate_id, number + 1)
                sound = False
        if torn:
            # Power failed while it was being written, so the bolt had not moved yet; the next line must not join it.
            _log.warning("gate %s: its memory ends in the middle of a line", self.gate_id)
            self._rewrite(self._now())
        return sound and not torn and bool(self._issued)

    def _rewrite(self, at: datetime) -> None:
        """Forget what no living command can repeat."""
        self._issued = {key: issued for key, issued in self._issued.items() if issued > at - 2 * LONGEST_LIFE}
        self._opened = {key: opened for key, opened in self._opened.items() if key in self._issued}
        lines = [f"{key} {issued.isoformat()}\n" for key, issued in self._issued.items()]
        lines += [f"{key} {_WORD[opened]}\n" for key, opened in self._opened.items()]
        fresh = self._memory.with_name(f"{self._memory.name}.new")
        with fresh.open("wb") as stream:
            stream.write("".join(lines).encode("ascii"))
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self._memory)
        self._lines = len(lines)

    def _clock(self) -> datetime:
        try:
            at = self._now()
            check_aware("now", at)
        except Exception:
            _log.exception("gate %s: its clock fails", self.gate_id)
            return datetime.fromtimestamp(0, UTC)
        return at
