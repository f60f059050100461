"""What was taken and put back so far, as attribution asks for it: who holds what, and what lies where."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias
from uuid import UUID

import numpy as np

from tracking.types import Evidence, Interaction
from vision.arrays import FloatArray, IntArray, check_shape
from vision.shelf import Handling

SAME_THING = 0.5
"""From this probability on a pick is taken to have taken away the very thing that was put there."""

_Key: TypeAlias = tuple[int, str | None]  # who, and which product


@dataclass(frozen=True, slots=True)
class Held:
    """What people took, as far as it has not come back; one row for each candidate of a pick.

    Attributes:
        identity_id: Who may have taken it, shape (r,).
        sku: What; None where it is not known; length r.
        quantity: Units, shape (r,).
        probability: That it was this, and is still held, shape (r,).
        unit_g: What a unit weighed then, shape (r,), grams; nan where no scale spoke.
        unit_sigma_g: Standard deviation of that, shape (r,), grams.
    """

    identity_id: IntArray
    sku: tuple[str | None, ...]
    quantity: IntArray
    probability: FloatArray
    unit_g: FloatArray
    unit_sigma_g: FloatArray

    def __post_init__(self) -> None:
        rows = len(self.sku)
        for name in ("identity_id", "quantity", "probability", "unit_g", "unit_sigma_g"):
            check_shape(f"Held.{name}", getattr(self, name), (rows,))

    def __len__(self) -> int:
        return len(self.sku)


class Past:
    """Interactions in the order they were told, kept so that what is asked of them takes no walk through all.

    Args:
        interactions: What happened so far.
    """

    def __init__(self, interactions: Iterable[Interaction] = ()) -> None:
        self._interactions: list[Interaction] = []
        self._start_anew()
        for interaction in interactions:
            self.add(interaction)

    def _start_anew(self) -> None:
        self._ids: set[UUID] = set()
        self._at_plate: defaultdict[str, list[int]] = defaultdict(list)
        self._taken: defaultdict[_Key, float] = defaultdict(float)
        self._left: defaultdict[_Key, float] = defaultdict(float)
        # One entry for each candidate of a pick: who and what, then quantity, probability, mass of a unit, its error.
        self._picked: list[_Key] = []
        self._picks: list[tuple[int, float, float, float]] = []

    def __len__(self) -> int:
        return len(self._interactions)

    def __contains__(self, interaction_id: object) -> bool:
        return interaction_id in self._ids

    @property
    def interactions(self) -> tuple[Interaction, ...]:
        """All that is remembered."""
        return tuple(self._interactions)

    def add(self, interaction: Interaction) -> None:
        """Remember an interaction."""
        for plate_id in interaction.plate_ids:
            self._at_plate[plate_id].append(len(self._interactions))
        self._interactions.append(_without_curves(interaction))
        self._ids.add(interaction.interaction_id)
        is_pick = interaction.kind is Handling.PICK
        weight = interaction.evidence.weight
        for candidate in interaction.candidates:
            key = candidate.identity_id, candidate.sku
            units = candidate.quantity * candidate.probability
            if is_pick:
                self._taken[key] += units
                self._left[key] += units
                unit_g = np.nan if weight is None else abs(weight.delta_g) / candidate.quantity
                sigma_g = np.nan if weight is None else weight.sigma_g / candidate.quantity
                self._picked.append(key)
                self._picks.append((candidate.quantity, candidate.probability, unit_g, sigma_g))
            else:
                self._left[key] -= units

    def forget(self, oldest_ns: int) -> None:
        """Forget what happened before an instant of the store clock."""
        if all(interaction.time_ns >= oldest_ns for interaction in self._interactions):
            return
        kept = [interaction for interaction in self._interactions if interaction.time_ns >= oldest_ns]
        self._interactions = []
        self._start_anew()
        for interaction in kept:
            self.add(interaction)

    def at_plates(self, plate_ids: Iterable[str]) -> list[Interaction]:
        """What happened on any of these plates, in the order it was told."""
        found = {row for plate_id in plate_ids for row in self._at_plate.get(plate_id, ())}
        return [self._interactions[row] for row in sorted(found)]

    def lying(self, plate_ids: Iterable[str]) -> list[Interaction]:
        """What was put on any of these plates and has probably not been taken since, oldest first, as weighed then."""
        lying: list[Interaction] = []
        for interaction in self.at_plates(plate_ids):
            if interaction.kind is Handling.PUT_BACK:
                lying.append(interaction)
            elif interaction.again is not None and interaction.again[1] >= SAME_THING:
                lying = [each for each in lying if each.interaction_id != interaction.again[0]]
        return [each for each in lying if each.evidence.weight is not None]

    def held(self) -> Held:
        """What people took and may still hold."""
        share = {key: min(1.0, max(0.0, left) / max(self._taken[key], 1e-9)) for key, left in self._left.items()}
        left = np.array([share[key] for key in self._picked])
        picks = np.array(self._picks, float).reshape(-1, 4)
        rows = np.flatnonzero(left * picks[:, 1] > 0) if len(left) else np.zeros(0, np.int64)
        quantity, probability, unit_g, sigma_g = picks[rows].T
        keys = [self._picked[row] for row in rows.tolist()]
        return Held(
            np.array([identity_id for identity_id, _ in keys], np.int64),
            tuple(sku for _, sku in keys),
            quantity.astype(np.int64),
            probability * left[rows] if len(rows) else probability,
            unit_g,
            sigma_g,
        )


def _without_curves(interaction: Interaction) -> Interaction:
    """What is asked of an interaction later; curve, hands and pictures behind it are a hundred times that."""
    weight = interaction.evidence.weight
    if weight is not None:
        weight = replace(weight, curve_ns=np.zeros(0, np.int64), curve_g=np.zeros(0), parts=(), by_plate=())
    return replace(interaction, evidence=Evidence(weight=weight))
