"""Explains a weight change: which product, how many, and whose hand."""

from uuid import UUID

from tracking.types import HandPoints, Interaction, WeightChange
from vision.layout import StoreLayout


def explain_weight_change(
    change: WeightChange, layout: StoreLayout, hands: HandPoints, namespace: UUID
) -> Interaction | None:
    """Say who took or put back what, with probabilities.

    Args:
        change: What the scale saw.
        layout: Where every plate, bin and product is.
        hands: Hands seen in the world around the change; more time before and after does no harm.
        namespace: The store's uuid, so that a replay gives the same interaction id.

    Returns:
        The interaction, or None when the change is smaller than any product explains at this noise.
    """
    return None
