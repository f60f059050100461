"""The few questions that a visit under review leaves open, put so that a person can answer each with one choice.

>>> ada = [Possibility("ada", "042", 1, 0.55), Possibility("ada", "042", 2, 0.4)]
>>> question = question_about("ada", "Taken from shelf 3", ada, {"042": "Oat bar"})
>>> question.text
'Taken from shelf 3: 1 or 2 x Oat bar?'
>>> [(answer.text, answer.probability) for answer in question.answers]
[('1 x Oat bar', 0.55), ('2 x Oat bar', 0.4), ('nothing', 0.05)]
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WORTH_ASKING = 0.05
"""What is less likely than that, given everything, is not among the answers by name."""
MOST_ANSWERS = 5
UNKNOWN = "something that is not known"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a question.

    Attributes:
        text: For the reviewer.
        sku: What goes into this visit's cart if it is the right one, or comes out of it; None for nothing, and for what
            a person has to name.
        quantity: Units, below zero for what came back; 0 without a product.
        probability: How likely the store finds it, 0 to 1.
    """

    text: str
    sku: str | None
    quantity: int
    probability: float

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("Answer.text: expected text, got nothing")
        if (self.sku is None) != (self.quantity == 0):
            raise ValueError(f"Answer: quantity {self.quantity} does not fit product {self.sku}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"Answer.probability: expected 0 to 1, got {self.probability}")


@dataclass(frozen=True, slots=True)
class Question:
    """One open question about a visit.

    Attributes:
        text: One sentence.
        answers: What it may be, likeliest first; the last one is "nothing" where that is possible.
    """

    text: str
    answers: tuple[Answer, ...]

    def __post_init__(self) -> None:
        if not self.text.endswith("?"):
            raise ValueError(f"Question.text: expected a question, got {self.text!r}")
        if len(self.answers) < 2:
            raise ValueError(f"Question.answers: expected at least two, got {len(self.answers)}")
        total = sum(answer.probability for answer in self.answers)
        if total > 1 + 1e-6:
            raise ValueError(f"Question.answers: probabilities sum to {total:.3f}, more than 1")


@dataclass(frozen=True, slots=True)
class Possibility:
    """One explanation of something that happened.

    Attributes:
        shopper: Who did it.
        sku: With what; None where that is not known.
        quantity: How many, at least 1.
        probability: 0 to 1; over all of them at most 1.
    """

    shopper: str
    sku: str | None
    quantity: int
    probability: float


def question_about(
    shopper: str,
    happened: str,
    possibilities: Sequence[Possibility],
    names: Mapping[str, str],
    *,
    came_back: bool = False,
) -> Question:
    """Ask what a shopper took or put back.

    Args:
        shopper: Whose visit it is about.
        happened: What is known, such as "Taken from gondola 1, shelf 3".
        possibilities: Every explanation, also those by others.
        names: What products are called, by SKU.
        came_back: Whether it was put back, so that it comes out of the cart.

    Raises:
        ValueError: No explanation is by that shopper.
    """
    sign = -1 if came_back else 1
    own: dict[tuple[str | None, int], float] = {}
    others: dict[str, float] = {}
    for each in possibilities:
        if each.shopper == shopper:
            what = each.sku, each.quantity
            own[what] = own.get(what, 0.0) + each.probability
        else:
            others[each.shopper] = others.get(each.shopper, 0.0) + each.probability
    if not own:
        raise ValueError(f"expected an explanation by {shopper}, got {', '.join(others) or 'none'}")
    share = sum(own.values())
    (sku, most), _ = max(own.items(), key=lambda entry: (entry[1], -entry[0][1]))
    for each in possibilities:
        # Where somebody else has taken fewer of the same, the rest is this shopper's.
        if each.shopper != shopper and each.sku == sku and sku is not None and each.quantity < most:
            rest = sku, most - each.quantity
            own[rest] = own.get(rest, 0.0) + each.probability
    ranked = sorted(own.items(), key=lambda entry: (-entry[1], entry[0][0] or "", entry[0][1]))
    told = [entry for entry in ranked if entry[1] >= WORTH_ASKING][: MOST_ANSWERS - 1] or ranked[:1]
    answers = [
        Answer(UNKNOWN, None, 0, min(1.0, probability))
        if sku is None
        else Answer(f"{quantity} x {names.get(sku, sku)}", sku, sign * quantity, min(1.0, probability))
        for (sku, quantity), probability in told
    ]
    nothing = max(0.0, 1.0 - sum(answer.probability for answer in answers))
    answers.append(Answer("nothing", None, 0, round(nothing, 12)))
    rivals = [who for who, p in sorted(others.items(), key=lambda entry: (-entry[1], entry[0])) if p >= WORTH_ASKING]
    text = f"{happened}: {_what(answers[:-1])}"
    if rivals:
        text += f", by {' or by '.join([shopper, *rivals])}"
    elif share < 1 - WORTH_ASKING and len(told) == 1:
        text += f", by {shopper} or by nobody who is known"
    return Question(f"{text}?", tuple(answers))


def still_has(
    shopper: str, sku: str, quantity: int, names: Mapping[str, str], where: str, came_back: float
) -> Question:
    """Ask whether something that a shopper has is what somebody else put on a shelf.

    Args:
        shopper: Whose cart it is in.
        sku: What.
        quantity: How many.
        names: What products are called, by SKU.
        where: Where something was put.
        came_back: Probability that it is theirs.
    """
    what = f"{quantity} x {names.get(sku, sku)}"
    there = Answer(f"{what} came back", sku, -quantity, came_back)
    kept = Answer(f"{shopper} has it", None, 0, 1 - came_back)
    answers = sorted((there, kept), key=lambda answer: -answer.probability)
    return Question(f"Does {shopper} have {what}, or was it put on {where}?", tuple(answers))


def _what(answers: Sequence[Answer]) -> str:
    """Name what comes into question: ``1 or 2 x Oat bar``, ``1 x Oat bar or 1 x Nut bar``."""
    skus = {answer.sku for answer in answers}
    if len(answers) > 1 and len(skus) == 1 and None not in skus:
        name = answers[0].text.partition(" x ")[2]
        counts = sorted({abs(answer.quantity) for answer in answers})
        return f"{' or '.join(str(count) for count in counts)} x {name}"
    return " or ".join(answer.text for answer in answers)
