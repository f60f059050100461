"""What is believed of hands, masses and pictures before a weight change is seen, and which parts can be left out."""

from collections.abc import Collection
from dataclasses import dataclass, replace

STAYS = (
    (-1.2, -0.7, 0.8),
    (-0.7, -0.3, 0.5),
    (-0.3, 0.0, 0.3),
    (0.0, 0.3, 1.0),
    (0.3, 0.7, -0.4),
    (0.7, 1.2, -0.3),
)
"""Stretches of time around a step, seconds, and how much it says that a hand was at the plates then.

Who makes a step had a hand there before, has it there while it happens, and takes it away; whoever stays on has made no
step yet. Powers of the share of the stretch: a conditional logit of 391 steps of 30 random shops at which several had
hands nearby, rounded. Fitted on half of the shops, its log loss was 0.013 there and 0.045 on the other half, where
one window around the step had 0.055; the right person got 0.95 or more at 96 % of the steps of either half.
"""
USUAL_STAY = 3.2
"""What the powers come to at least for a hand that makes a step and is seen at it."""


@dataclass(frozen=True, slots=True)
class AttributionSettings:
    """What is believed before a change is seen, and how masses and hands err.

    Attributes:
        near_prior: Weight of a product whose bin ends at the changed plates, against 1 for the bin on them.
        near_m: Distance over which that weight falls by e: a pack's width, which goods stray across a bin's edge.
        stray_pick: Weight of all products together for a pick anywhere: few misplaced goods stand about.
        stray_put_back: The same for a put-back: many put things back wherever they stand.
        unseen_take: Share of put-backs of what nobody was seen taking, against 1 for what the person holds.
        handed_over: Weight of what somebody else holds against 1 for what the person holds.
        again: Weight of taking away the very thing that was put there before, against 1 for what belongs there.
        left_there: Weight of all that was put there of a product at once, against 1 for what belongs there, when it is
            not taken as it came.
        something_else: Weight of an object that is not in the catalogue, or of two different ones at once.
        wrong_mass: Share of published masses that are wrong.
        another_unit: Probability that a grip holds one unit more.
        most_units: Largest quantity in one grip.
        mass_spread: Standard deviation of a pack's mass, share of the published one: about a third of what the OIML
            (R 87) tolerates for single packs.
        odd_share: Share of packs whose mass lies farther off.
        odd_spread: Their standard deviation, share of the published mass.
        scale_g: Error of a load cell that a change of place on the plate makes, grams.
        lightest_g: Nothing sold weighs less; a published mass below it is wrong.
        heaviest_g: Nothing that a hand takes from a shelf weighs more.
        least_share: A pick that weighs less than this share of the lightest product there is none.
        noise_sigmas: A change within so many standard deviations of 0 or short of the lightest product is none.
        hand_m: Standard deviation of the hand of an outside tracker's body ...
        camera_hand_m: ... and of one that cameras place.
        stray_hand: Share of hands placed by cameras that are none: the model took a hand that the body hides for one
            that it sees. Measured with our own models in the demo's shop, as is ...
        stray_hand_m: ... how far those are off.
        along_m: Standard deviation along the shelf of a hand from the product that it takes: a wrist is no grip. Over
            229 steps of 12 random shops it was 7 cm from the middle of a bin, whose width is a part of that.
        astray: Share of hands, of an outside tracker, whose place says nothing of which bin they are in.
        at_step_s: What counts for it is where a hand is at a step, give or take this standard deviation.
        one_grip: Weight of somebody who made another change of the same shelf at this moment, against 1 for a hand in
            the bin: one grip may take two things, and the other hand may be unseen ...
        one_grip_s: ... give or take this standard deviation ...
        one_grip_m: ... of plates no farther apart than this.
        main_share: A plate that bears less than this share of what the most changed one does only follows it.
        late_s: A hand that is not seen at a step counts where it is seen give or take this standard deviation.
        near_enough: A hand that never came nearer than this, as a share of one in the bin, is the less likely.
        unseen: Not having been seen is as good as having been there for this share of the time ...
        elsewhere: ... and having been elsewhere all the time as this share.
        at_once_s: Two changes nearer in time than this may be those of one person's two hands ...
        again_s: ... and farther apart than this those of one hand; between the two ...
        both: ... that weighs so much against 1 for two people.
        contact_s: The step's own time is known to so much.
        one_camera: Weight of a hand on a line of sight through the place, which may be before or behind it, against 1
            for a hand in the bin.
        unseen_hand: Weight of somebody who stands at the bin and whose hands are not seen meanwhile, against 1 for a
            hand in the bin; half of it for one unseen hand. A hand that is seen in the bin outweighs it, one that is
            seen two hands' breadths off does not.
        stand_m: Those who take something stand up to this far from it, from their feet to the middle of the plates ...
        stand_spread_m: ... and farther away the less likely, as the tail of a normal distribution with this deviation.
        nobody: Weight of somebody unseen against 1 for a hand in the bin.
        least_probability: Candidates below it are left to "not known".
        shifted: Weight of a hand that only moved goods a little on their plates, against 1 for the product there.
        shift_g: Typical weight that this seems to add or take, as plates weigh differently along their depth.
        two_at_once: Share of changes of neighbouring plates with different products that are of two things at once.
        two_people: Share of changes by several units of one product that two people made who both had a hand there.
        opposite_plates: Share of changes of one thing after which a plate beside it seems to change the other way.
        least_exchange_g: Where one plate gains what its neighbour loses, less than this is goods that slid.
        pushed: Share of changes in which goods were pushed from one plate onto the next.
        handled_again: Share of short-lived levels after which something else was handled, not only touched.
        press_g: Typical pressure of a hand at goods: half of all that a real visit shows lie within it.
        recalls: Whether what was taken and put back before counts.
        weighs_stay: Whether a hand's whole stay counts, or only where it was at the step.
        sees_hands: Whether it counts where hands are, or only where people stand.
        picture_from_s: What somebody takes is seen in their hand from so long after the step (before it, for what is
            put back) ...
        picture_until_s: ... to so long.
        stray_picture: Share of pictures of held things that show something else.
        pictured_from: Products that explain the weight less well than this, as a share of the best one, are not looked
            for in pictures.
    """

    near_prior: float = 0.008
    near_m: float = 0.05
    stray_pick: float = 0.003
    stray_put_back: float = 0.15
    unseen_take: float = 0.02
    handed_over: float = 0.03
    again: float = 0.3
    left_there: float = 0.1
    something_else: float = 0.01
    wrong_mass: float = 0.01
    another_unit: float = 0.15
    most_units: int = 8
    mass_spread: float = 0.01
    odd_share: float = 0.1
    odd_spread: float = 0.05
    scale_g: float = 1.0
    lightest_g: float = 5.0
    heaviest_g: float = 8000.0
    least_share: float = 0.5
    noise_sigmas: float = 3.0
    hand_m: float = 0.1
    camera_hand_m: float = 0.1
    stray_hand: float = 0.15
    stray_hand_m: float = 0.35
    along_m: float = 0.07
    astray: float = 0.1
    at_step_s: float = 0.25
    one_grip: float = 0.02
    one_grip_s: float = 0.35
    one_grip_m: float = 0.7
    main_share: float = 0.2
    late_s: float = 0.4
    near_enough: float = 0.3
    unseen: float = 0.3
    elsewhere: float = 0.02
    at_once_s: float = 0.15
    again_s: float = 0.9
    both: float = 0.1
    contact_s: float = 0.4
    one_camera: float = 0.4
    unseen_hand: float = 0.15
    stand_m: float = 0.7
    stand_spread_m: float = 0.2
    nobody: float = 0.002
    least_probability: float = 0.002
    shifted: float = 0.1
    shift_g: float = 5.0
    two_at_once: float = 0.05
    two_people: float = 0.7
    opposite_plates: float = 0.01
    least_exchange_g: float = 40.0
    pushed: float = 0.01
    handled_again: float = 0.2
    press_g: float = 100.0
    recalls: bool = True
    weighs_stay: bool = True
    sees_hands: bool = True
    picture_from_s: float = 0.1
    picture_until_s: float = 1.5
    stray_picture: float = 0.3
    pictured_from: float = 0.001


ABLATIONS = {
    "stock": "what was put back where, and who holds what",
    "splitting": "that one change may be several things or moments",
    "joint": "that several people act at once, and hardly anybody twice within a second",
    "stay": "a hand's whole stay around a step",
    "hands": "where hands are: only where people stand is left",
    "pictures": "what hands hold, by its picture",
}
"""Parts of the account that can be left out, to measure what each brings."""


def ablated(settings: AttributionSettings, parts: Collection[str]) -> AttributionSettings:
    """Leave out parts of the account.

    Raises:
        ValueError: There is no such part.
    """
    strange = sorted(set(parts) - set(ABLATIONS))
    if strange:
        raise ValueError(f"expected some of {', '.join(ABLATIONS)}, got {', '.join(strange)}")
    if "stock" in parts:
        settings = replace(settings, recalls=False)
    if "splitting" in parts:
        settings = replace(settings, two_at_once=0.0, handled_again=1e-9)
    if "joint" in parts:
        settings = replace(settings, both=1.0, two_people=0.0)
    if "stay" in parts:
        settings = replace(settings, weighs_stay=False)
    if "hands" in parts:
        settings = replace(settings, sees_hands=False)
    if "pictures" in parts:
        settings = replace(settings, stray_picture=1.0)
    return settings
