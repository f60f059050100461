"""Evidence: what the store saw of each interaction, kept for whoever has to judge it, and thrown away in time.

A piece of evidence belongs to one visit. Its facts are an ``InteractionFacts``; a picture or a clip may come with them.

>>> facts = InteractionFacts(
...     "pick", "g1/s2/b3", "gondola 1, shelf 2", datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 12, 0, 2,
...     tzinfo=UTC), ("cam-1",), (EvidenceCandidate("ada", "042", 1, 0.9), EvidenceCandidate("ada", "042", 2, 0.06)),
...     WeightCurve((0.0, 0.5, 1.0), (0.0, -12.0, -41.0)))
>>> InteractionFacts.from_json(facts.as_json()) == facts
True
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID, uuid5

from sqlalchemy import delete, func, select, update

from cart.errors import EvidenceNotFound
from cart.events import check_aware
from cart.repository import Database, Repository
from cart.sessions import Session
from cart.tables import AccountRow, EvidenceRow

LARGEST_FACTS = 64 * 1024
LARGEST_MEDIA = 8 * 1024 * 1024
MOST_PIECES = 500
MEDIA_TYPES = frozenset({"image/jpeg", "image/png", "image/webp", "video/mp4", "video/webm"})
_MOST_CANDIDATES = 50
_LONGEST_CURVE = 1000
_LONGEST_NAME = 200


class EvidenceKind(StrEnum):
    """What a piece of evidence is."""

    INTERACTION = "interaction"
    """What the sensors say of something taken or put back; nothing but facts."""
    PICTURE = "picture"
    CLIP = "clip"
    """What one camera saw around an interaction; for whoever has to judge it."""
    HAND = "hand"
    """One picture of an interaction, blurred but for the surroundings of the hand: the only kind that shoppers see."""


@dataclass(frozen=True, slots=True)
class EvidenceCandidate:
    """One explanation of an interaction.

    Attributes:
        shopper: Who, by the name the store has for them; an account's id for who has an account.
        sku: What; None where that is not known.
        quantity: How many units, at least 1.
        probability: 0 to 1; over an interaction's candidates at most 1, the rest is "nobody, or not known".
    """

    shopper: str
    sku: str | None
    quantity: int
    probability: float

    def __post_init__(self) -> None:
        if self.quantity < 1 or not 0 <= self.probability <= 1:
            raise ValueError(
                f"EvidenceCandidate: expected at least 1 unit and a probability of 0 to 1, got {self.quantity} and"
                f" {self.probability}"
            )


@dataclass(frozen=True, slots=True)
class WeightCurve:
    """Readings of the plates behind an interaction, for drawing.

    Attributes:
        times_s: Seconds since the interaction began, rising; below 0 before it.
        grams: The sum of the plates there, the level before being 0.
    """

    times_s: tuple[float, ...]
    grams: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.times_s) != len(self.grams) or not self.times_s:
            raise ValueError(
                f"WeightCurve: expected as many times as grams, got {len(self.times_s)}, {len(self.grams)}"
            )
        if not all(map(math.isfinite, (*self.times_s, *self.grams))):
            raise ValueError("WeightCurve: expected finite numbers")

    def thinned(self, most: int = _LONGEST_CURVE) -> "WeightCurve":
        """The same curve with at most so many points, evenly chosen, its ends among them."""
        count = len(self.times_s)
        if count <= most:
            return self
        chosen = [round(place * (count - 1) / (most - 1)) for place in range(most)]
        return WeightCurve(tuple(self.times_s[i] for i in chosen), tuple(self.grams[i] for i in chosen))


@dataclass(frozen=True, slots=True)
class InteractionFacts:
    """What the store knows of one interaction.

    Attributes:
        kind: ``pick`` or ``put_back``.
        bin_id: Where.
        place: The same for people, such as ``gondola 1, shelf 2``.
        started_at: When the hand came, timezone-aware.
        ended_at: When it left.
        cameras: Which cameras saw it.
        candidates: Who took what, likeliest first.
        weight: What the plates read; None where no scale spoke.
        camera_id: Which camera took the picture or clip, whose beginning and end are then ``started_at`` and
            ``ended_at``; None for the interaction itself.
    """

    kind: str
    bin_id: str
    place: str
    started_at: datetime
    ended_at: datetime
    cameras: tuple[str, ...] = ()
    candidates: tuple[EvidenceCandidate, ...] = ()
    weight: WeightCurve | None = None
    camera_id: str | None = None

    def __post_init__(self) -> None:
        check_aware("InteractionFacts.started_at", self.started_at)
        check_aware("InteractionFacts.ended_at", self.ended_at)
        if self.kind not in ("pick", "put_back"):
            raise ValueError(f"InteractionFacts.kind: expected pick or put_back, got {self.kind!r}")
        if self.ended_at < self.started_at:
            raise ValueError("InteractionFacts.ended_at: expected a time after started_at")
        if len(self.candidates) > _MOST_CANDIDATES:
            raise ValueError(f"InteractionFacts.candidates: expected at most {_MOST_CANDIDATES}")
        if any(len(name) > _LONGEST_NAME for name in (self.bin_id, self.place, *self.cameras, self.camera_id or "")):
            raise ValueError(f"InteractionFacts: expected names of at most {_LONGEST_NAME} characters")
        if sum(candidate.probability for candidate in self.candidates) > 1 + 1e-6:
            raise ValueError("InteractionFacts.candidates: probabilities sum to more than 1")

    def as_json(self) -> dict[str, Any]:
        """The facts as they are kept, and as an interface shows them."""
        return {
            "interaction_kind": self.kind,
            "bin_id": self.bin_id,
            "place": self.place,
            "started_at": self.started_at.astimezone(UTC).isoformat(),
            "ended_at": self.ended_at.astimezone(UTC).isoformat(),
            "cameras": list(self.cameras),
            "candidates": [
                {"shopper": each.shopper, "sku": each.sku, "quantity": each.quantity, "probability": each.probability}
                for each in self.candidates
            ],
            "weight": None
            if self.weight is None
            else {"times_s": list(self.weight.times_s), "grams": list(self.weight.grams)},
            **({} if self.camera_id is None else {"camera_id": self.camera_id}),
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """Read facts.

        Raises:
            ValueError: They have another shape.
        """
        try:
            weight = facts.get("weight")
            return cls(
                facts["interaction_kind"],
                facts["bin_id"],
                facts["place"],
                datetime.fromisoformat(facts["started_at"]),
                datetime.fromisoformat(facts["ended_at"]),
                tuple(facts.get("cameras", ())),
                tuple(
                    EvidenceCandidate(each["shopper"], each["sku"], each["quantity"], each["probability"])
                    for each in facts.get("candidates", ())
                ),
                None if weight is None else WeightCurve(tuple(weight["times_s"]), tuple(weight["grams"])),
                facts.get("camera_id"),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"facts: expected those of an interaction: {error!r}") from error


@dataclass(frozen=True, slots=True)
class EvidencePiece:
    """One piece of evidence, without its picture or clip.

    Attributes:
        evidence_id: Derived from its content.
        session_id: The visit.
        interaction_id: The interaction it shows.
        kind: What it is.
        facts: What is known of the interaction.
        media_type: Of its picture or clip; None without one.
        media_bytes: How large that is; 0 without one.
        captured_at: When it was added, timezone-aware.
        expires_at: From when on it is gone.
    """

    evidence_id: UUID
    session_id: UUID
    interaction_id: UUID
    kind: EvidenceKind
    facts: InteractionFacts
    media_type: str | None
    media_bytes: int
    captured_at: datetime
    expires_at: datetime


class Evidence:
    """Where evidence is kept.

    Args:
        database: The shop's.
        now: The time, timezone-aware.
        keep: How long a piece is kept.
    """

    def __init__(self, database: Database, now: Callable[[], datetime], keep: timedelta = timedelta(days=30)) -> None:
        if keep <= timedelta(0):
            raise ValueError(f"keep: expected more than no time, got {keep}")
        self._database = database
        self._now = now
        self._keep = keep

    def add(
        self,
        session_id: UUID,
        interaction_id: UUID,
        kind: EvidenceKind | str,
        facts: InteractionFacts | Mapping[str, Any],
        media: bytes | None = None,
        media_type: str | None = None,
    ) -> UUID:
        """Keep a piece of evidence; the same one again changes nothing.

        Args:
            session_id: The visit it is about.
            interaction_id: The interaction it shows.
            kind: What it is.
            facts: What is known of the interaction. A curve that is too long is thinned.
            media: A picture or a clip, at most ``LARGEST_MEDIA`` bytes.
            media_type: What that is, one of ``MEDIA_TYPES``.

        Returns:
            The piece's id.

        Raises:
            ValueError: It is too large, of an unknown type, its facts have another shape, or the visit has
                ``MOST_PIECES`` already, half as many for pictures and clips; or those come after their shopper was
                forgotten.
            SessionNotFound: There is no such visit.
        """
        kind = EvidenceKind(kind)
        if not isinstance(facts, InteractionFacts):
            facts = InteractionFacts.from_json(facts)
        entry = facts.as_json()
        if facts.weight is not None:
            thin = facts.weight.thinned()
            entry["weight"] = {"times_s": list(thin.times_s), "grams": list(thin.grams)}
        text = json.dumps(entry, sort_keys=True)
        if len(text) > LARGEST_FACTS:
            raise ValueError(f"facts: expected at most {LARGEST_FACTS} bytes, got {len(text)}")
        if (media is None) != (media_type is None) or (media is None) != (kind is EvidenceKind.INTERACTION):
            raise ValueError("media: expected them, and their type, with a picture or a clip, and with nothing else")
        if media is not None and not 0 < len(media) <= LARGEST_MEDIA:
            raise ValueError(f"media: expected 1 to {LARGEST_MEDIA} bytes, got {len(media)}")
        if media_type is not None and media_type not in MEDIA_TYPES:
            raise ValueError(f"media_type: expected one of {', '.join(sorted(MEDIA_TYPES))}, got {media_type!r}")
        digest = hashlib.sha256(text.encode() + b"\0" + (media or b"")).hexdigest()
        evidence_id = uuid5(interaction_id, f"{session_id}:{kind}:{digest}")
        at = self._now()
        with self._database.transaction() as repository:
            session = repository.session(session_id)
            if media is not None and _is_forgotten(repository, session):
                raise ValueError(f"visit {session_id}: its shopper was forgotten")
            if repository.sql.get(EvidenceRow, evidence_id) is not None:
                return evidence_id
            count = repository.sql.scalar(select(func.count()).where(EvidenceRow.session_id == session_id))
            # Pictures leave room for facts, without which nobody can judge anything.
            most = MOST_PIECES if media is None else MOST_PIECES // 2
            if (count or 0) >= most:
                raise ValueError(f"visit {session_id} has {most} pieces of evidence already")
            repository.sql.add(
                EvidenceRow(
                    evidence_id=evidence_id,
                    session_id=session_id,
                    interaction_id=interaction_id,
                    kind=kind.value,
                    facts=entry,
                    media_type=media_type,
                    media=media,
                    captured_at=at,
                    expires_at=at + self._keep,
                )
            )
        return evidence_id

    def of(self, session_id: UUID) -> tuple[EvidencePiece, ...]:
        """What there is about a visit, in the order in which it happened."""
        with self._database.reading() as repository:
            return pieces_of(repository, session_id, self._now())

    def media(self, evidence_id: UUID) -> tuple[str, bytes]:
        """The picture or clip of a piece, and its media type.

        Raises:
            EvidenceNotFound: There is no such piece, it has neither, or its time is over.
        """
        with self._database.reading() as repository:
            row = repository.sql.get(EvidenceRow, evidence_id)
            if row is None or row.media is None or row.media_type is None or row.expires_at <= self._now():
                raise EvidenceNotFound(f"there is no picture or clip {evidence_id}")
            return row.media_type, row.media

    def expire(self) -> int:
        """Throw away what is over its time.

        Returns:
            How many pieces.
        """
        with self._database.transaction() as repository:
            gone = repository.sql.scalars(
                delete(EvidenceRow).where(EvidenceRow.expires_at <= self._now()).returning(EvidenceRow.evidence_id)
            )
            return len(gone.all())


def pieces_of(repository: Repository, session_id: UUID, at: datetime) -> tuple[EvidencePiece, ...]:
    """What there is about a visit at a time, in the order in which it happened, without pictures and clips."""
    rows = repository.sql.execute(
        select(
            EvidenceRow.evidence_id,
            EvidenceRow.interaction_id,
            EvidenceRow.kind,
            EvidenceRow.facts,
            EvidenceRow.media_type,
            func.length(EvidenceRow.media),
            EvidenceRow.captured_at,
            EvidenceRow.expires_at,
        ).where(EvidenceRow.session_id == session_id, EvidenceRow.expires_at > at)
    )
    pieces = [
        EvidencePiece(
            evidence_id,
            session_id,
            interaction_id,
            EvidenceKind(kind),
            InteractionFacts.from_json(facts),
            media_type,
            media_bytes or 0,
            captured_at,
            expires_at,
        )
        for evidence_id, interaction_id, kind, facts, media_type, media_bytes, captured_at, expires_at in rows
    ]
    return tuple(sorted(pieces, key=lambda piece: (piece.facts.started_at, piece.interaction_id, piece.kind)))


def keep_until(repository: Repository, session_id: UUID, until: datetime) -> None:
    """Keep a visit's evidence at least until then, as while somebody has to judge a question about it."""
    repository.sql.execute(
        update(EvidenceRow)
        .where(EvidenceRow.session_id == session_id, EvidenceRow.expires_at < until)
        .values(expires_at=until)
    )


def _is_forgotten(repository: Repository, session: Session) -> bool:
    """Whether whoever came on a visit was erased. Erasing and this take turns."""
    try:
        account_id = UUID(session.shopper_id.rpartition(":")[2])
    except ValueError:
        return False
    row = repository.sql.get(AccountRow, account_id, with_for_update=True, populate_existing=True)
    return row is not None and row.erased_at is not None
