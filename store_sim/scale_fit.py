"""How like real load cells the simulated ones are: statistics of recorded plates, and what was fitted on them."""

from dataclasses import dataclass

from vision.arrays import FloatArray, check_shape


@dataclass(frozen=True, slots=True)
class ComparedCurve:
    """One plate's curve around the same deed in a real and in a simulated recording.

    Attributes:
        title: What is seen, for people.
        plate_id: ``gondola/shelf/plate``.
        real_s: Time of the real readings, shape (a,), seconds from the deed.
        real_g: Real readings, shape (a,), grams from the level before the deed.
        simulated_s: Time of the simulated readings, shape (b,), seconds from the deed.
        simulated_g: Simulated readings, shape (b,), grams from the level before the deed.
    """

    title: str
    plate_id: str
    real_s: FloatArray
    real_g: FloatArray
    simulated_s: FloatArray
    simulated_g: FloatArray

    def __post_init__(self) -> None:
        check_shape("ComparedCurve.real_s", self.real_s, ("a",))
        check_shape("ComparedCurve.real_g", self.real_g, (len(self.real_s),))
        check_shape("ComparedCurve.simulated_s", self.simulated_s, ("b",))
        check_shape("ComparedCurve.simulated_g", self.simulated_g, (len(self.simulated_s),))


@dataclass(frozen=True, slots=True)
class ComparedStatistic:
    """One number of a real and of a simulated recording.

    Attributes:
        name: What was measured, for people.
        unit: In what unit, for people; empty for a ratio.
        real: Of the real recording; nan if it shows none.
        simulated: Of the simulated one; nan if it shows none.
    """

    name: str
    unit: str
    real: float
    simulated: float


@dataclass(frozen=True, slots=True)
class PlateComparison:
    """Real and simulated plates side by side, for a report.

    Attributes:
        real_name: The real recording.
        simulated_name: The simulated one.
        curves: Curves of single plates.
        statistics: Numbers over all plates.
    """

    real_name: str
    simulated_name: str
    curves: tuple[ComparedCurve, ...]
    statistics: tuple[ComparedStatistic, ...]
