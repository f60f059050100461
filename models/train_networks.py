"""Our two networks: who is in a picture, and where the joints of one person are and what the hands hold.

Both are plain stacks of 3x3 convolutions with batch normalisation and ReLU, which every runtime runs fast and which
lose little in eight bits. They take pictures as they come (uint8, BGR, height x width x 3) and scale them themselves.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.train_pictures import HEAT_STRIDE, JOINTS_WH, PEOPLE_STRIDES
from vision.detections import KEYPOINT_COUNT, LEFT_WRIST, RIGHT_WRIST

HAND_JOINTS = (LEFT_WRIST, RIGHT_WRIST)
_PIXEL_MEAN, _PIXEL_SPREAD = 114.0, 64.0  # grey of the padding, and about the spread of grey levels in pictures
_RARE = -4.0  # cells with somebody are about one in a hundred: the score begins there (Lin et al., RetinaNet, 2017)
_SIDE_UNIT = 2.0  # strides; sides of boxes are 1 to 8 of them


class Block(nn.Sequential):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inward: int, outward: int, side: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inward, outward, side, stride, side // 2, bias=False),
            nn.BatchNorm2d(outward, eps=1e-3, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two blocks through half as many channels, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(channels, channels // 2), Block(channels // 2, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map shape (b, c, h, w) to the same."""
        return x + self.blocks(x)


def _stage(inward: int, outward: int, residuals: int) -> nn.Sequential:
    return nn.Sequential(Block(inward, outward, stride=2), *[Residual(outward) for _ in range(residuals)])


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _pixels(images: Tensor) -> Tensor:
    """Turn uint8 pictures, shape (b, h, w, 3), into what convolutions take."""
    return (images.permute(0, 3, 1, 2).float() - _PIXEL_MEAN) / _PIXEL_SPREAD


class PeopleNetwork(nn.Module):
    """Finds people: for each cell of grids of 8, 16 and 32 px, how well its box fits somebody, and the box."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Block(3, 16, stride=2), Block(16, 24, stride=2), Residual(24))
        self.stage8, self.stage16, self.stage32 = _stage(24, 48, 2), _stage(48, 96, 3), _stage(96, 160, 2)
        self.side32, self.side16, self.side8 = Block(160, 64, 1), Block(96, 64, 1), Block(48, 48, 1)
        self.joined16, self.narrowed16, self.joined8 = Block(64, 64), Block(64, 48, 1), Block(48, 48)
        self.look = nn.ModuleList([Block(48, 64), Block(64, 96), Block(64, 96)])
        self.head = nn.ModuleList([nn.Conv2d(channels, 5, 1) for channels in (64, 96, 96)])
        for head in self.head:
            assert isinstance(head, nn.Conv2d)
            assert head.bias is not None
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
            with torch.no_grad():
                head.bias[4] = _RARE

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Look at pictures, shape (b, h, w, 3), sides multiples of 32.

        Returns:
            For each cell of all grids, one after the other, the raw score, shape (b, c), and the ways from its middle
            to the box's left, top, right and bottom in pixels, shape (b, c, 4).
        """
        at8 = self.stage8(self.stem(_pixels(images)))
        at16 = self.stage16(at8)
        up32 = self.side32(self.stage32(at16))
        up16 = self.joined16(self.side16(at16) + _doubled(up32))
        up8 = self.joined8(self.side8(at8) + _doubled(self.narrowed16(up16)))
        scores, sides = [], []
        for stride, x, look, head in zip(PEOPLE_STRIDES, (up8, up16, up32), self.look, self.head, strict=True):
            raw = head(look(x)).float().flatten(2)
            scores.append(raw[:, 4])
            sides.append(torch.exp(raw[:, :4].clamp(-5, 5)).transpose(1, 2) * (_SIDE_UNIT * stride))
        return torch.cat(scores, 1), torch.cat(sides, 1)


class PeopleExport(nn.Module):
    """``PeopleNetwork`` as detectors of the YOLO family write their output: (b, 5, cells), middle, size, score."""

    def __init__(self, network: PeopleNetwork, size_wh: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        middles = []
        for stride in PEOPLE_STRIDES:
            y, x = torch.meshgrid(torch.arange(size_wh[1] // stride), torch.arange(size_wh[0] // stride), indexing="ij")
            middles.append(torch.stack([x.flatten(), y.flatten()], 1).float().add(0.5).mul(stride))
        self.register_buffer("middles", torch.cat(middles))

    def forward(self, images: Tensor) -> Tensor:
        """Look at pictures, shape (b, h, w, 3) uint8."""
        score, sides = self.network(images)
        before, after = sides[..., :2], sides[..., 2:]
        middles: Tensor = self.middles
        boxes = torch.cat([middles + (after - before) / 2, before + after], 2).transpose(1, 2)
        return torch.cat([boxes, score.sigmoid()[:, None]], 1)


def people_loss(score: Tensor, sides: Tensor, kind: Tensor, true_sides: Tensor) -> tuple[Tensor, Tensor]:
    """Say how wrong the detector is.

    The score learns how well the cell's own box overlaps (quality focal loss of Li et al., Generalized Focal Loss,
    2020), the boxes by their generalised overlap (Rezatofighi et al., 2019).

    Args:
        score: Raw, shape (b, c).
        sides: Pixels, shape (b, c, 4).
        kind: As in ``PeopleBatch``, shape (b, c).
        true_sides: Pixels, shape (b, c, 4).

    Returns:
        Loss of the scores and of the boxes.
    """
    own = kind == 1
    count = own.sum().clamp(min=1)
    overlap, generalised = _side_overlaps(sides[own], true_sides[own])
    wanted = torch.zeros_like(score)
    wanted[own] = overlap.detach().clamp(0, 1)
    off = (score.sigmoid() - wanted).abs() ** 2
    each = F.binary_cross_entropy_with_logits(score, wanted, reduction="none") * off
    return each[kind >= 0].sum() / count, (1 - generalised).sum() / count


def _side_overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Overlap and generalised overlap of boxes around the same point, given by their ways to it, shape (n, 4)."""
    size_a, size_b = a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    shared = (low[:, :2] + low[:, 2:]).prod(1)
    union = size_a.prod(1) + size_b.prod(1) - shared
    around = (high[:, :2] + high[:, 2:]).prod(1)
    overlap = shared / union
    return overlap, overlap - (around - union) / around


class JointsNetwork(nn.Module):
    """Finds the 17 joints of one person, and what each hand holds, in a picture of that person alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Block(3, 16, stride=2), Block(16, 32, stride=2), Residual(32))
        self.stage8, self.stage16 = _stage(32, 64, 2), _stage(64, 128, 3)
        self.stage32 = _stage(128, 160, 1)
        self.side32, self.side16, self.side8, self.side4 = (
            Block(160, 128, 1),
            Block(128, 64, 1),
            Block(64, 64, 1),
            Block(32, 64, 1),
        )
        self.narrowed32 = Block(128, 64, 1)
        self.joined16, self.joined8, self.joined4 = Block(64, 64), Block(64, 64), Block(64, 64)
        self.heat = nn.Conv2d(64, KEYPOINT_COUNT, 1)
        nn.init.normal_(self.heat.weight, std=0.01)
        self.about = nn.Sequential(nn.Linear(128, 64), nn.ReLU(inplace=True))
        self.seen = nn.Parameter(torch.randn(KEYPOINT_COUNT, 65) * 0.05)
        self.hand = nn.Parameter(torch.randn(2, 65, 5) * 0.05)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Look at pictures, shape (b, 160, 128, 3).

        Returns:
            Raw likelihood of each joint to be in each cell, shape (b, 17, 40, 32); raw score of each to be seen, shape
            (b, 17); raw score of each hand to hold something, shape (b, 2); the box of what it holds, if it does, in
            pixels, corners, shape (b, 2, 4).
        """
        at4 = self.stem(_pixels(images))
        at8 = self.stage8(at4)
        at16 = self.stage16(at8)
        up32 = self.narrowed32(self.side32(self.stage32(at16)))
        up16 = self.joined16(self.side16(at16) + _doubled(up32))
        up8 = self.joined8(self.side8(at8) + _doubled(up16))
        up4 = self.joined4(self.side4(at4) + _doubled(up8))
        heat = self.heat(up4).float()
        chance = heat.flatten(2).softmax(2)
        # What is said of a joint is read from where the joint is.
        context = up4 + _doubled(_doubled(up16))
        fine = torch.cat([up4.float(), context.float()], 1).flatten(2)
        there = self.about((chance.detach() @ fine.transpose(1, 2)).float())
        there = torch.cat([there, torch.ones_like(there[..., :1])], 2)
        seen = (there * self.seen).sum(2)
        hand = torch.stack([there[:, joint] @ self.hand[row] for row, joint in enumerate(HAND_JOINTS)], 1)
        at = expected_place(chance[:, list(HAND_JOINTS)])
        middle = at + 16 * hand[..., 1:3]
        half = 8 * torch.exp(hand[..., 3:5].clamp(-3, 3))
        return heat, seen, hand[..., 0], torch.cat([middle - half, middle + half], 2)


def expected_place(chance: Tensor) -> Tensor:
    """Mean place of joints in pixels, shape (b, k, 2), of chances over cells, shape (b, k, rows * columns)."""
    columns, rows = JOINTS_WH[0] // HEAT_STRIDE, JOINTS_WH[1] // HEAT_STRIDE
    grid = chance.unflatten(2, (rows, columns))
    x = (torch.arange(columns, device=chance.device) + 0.5) * HEAT_STRIDE
    y = (torch.arange(rows, device=chance.device) + 0.5) * HEAT_STRIDE
    return torch.stack([(grid.sum(2) * x).sum(2), (grid.sum(3) * y).sum(2)], 2)


PEAK_CELLS = 2  # each way around the likeliest cell: two standard deviations of what is taught
HEAT_SPREAD = 0.9  # cells; standard deviation of where a joint may be said to be, about the width of a wrist
_HIDDEN_WEIGHT = 0.35  # where a hidden joint is, nobody can say exactly
_WRIST_WEIGHT, _ELBOW_WEIGHT = 2.5, 1.5


def joints_loss(
    found: tuple[Tensor, Tensor, Tensor, Tensor], keypoints: Tensor, holds: Tensor, held_xyxy: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Say how wrong the joints are: places, seen or not, holding or not, boxes of what is held.

    Args:
        found: What the network said.
        keypoints: As in ``JointsBatch``, shape (b, 17, 3).
        holds: Shape (b, 2).
        held_xyxy: Shape (b, 2, 4).
    """
    heat, seen, holding, box = found
    columns, rows = heat.shape[3], heat.shape[2]
    x = (torch.arange(columns) + 0.5) * HEAT_STRIDE
    y = (torch.arange(rows) + 0.5) * HEAT_STRIDE
    scale = 2 * (HEAT_SPREAD * HEAT_STRIDE) ** 2
    near_x = torch.exp(-((x - keypoints[..., :1]) ** 2) / scale)
    near_y = torch.exp(-((y - keypoints[..., 1:2]) ** 2) / scale)
    wanted = (near_y[..., :, None] * near_x[..., None, :]).flatten(2)
    wanted = wanted / wanted.sum(2, keepdim=True).clamp(min=1e-6)
    joint_weight = torch.ones(KEYPOINT_COUNT)
    joint_weight[[7, 8]] = _ELBOW_WEIGHT
    joint_weight[list(HAND_JOINTS)] = _WRIST_WEIGHT
    weight = joint_weight * ((keypoints[..., 2] == 2).float() + _HIDDEN_WEIGHT * (keypoints[..., 2] == 1).float())
    place = -(wanted * heat.flatten(2).log_softmax(2)).sum(2)
    place_loss = (place * weight).sum() / weight.sum().clamp(min=1)
    seen_each = F.binary_cross_entropy_with_logits(seen, (keypoints[..., 2] == 2).float(), reduction="none")
    seen_loss = (seen_each * joint_weight).mean()
    judged = holds >= 0
    holding_each = F.binary_cross_entropy_with_logits(holding, (holds == 1).float(), reduction="none")
    holding_loss = (holding_each * judged).sum() / judged.sum().clamp(min=1)
    own = holds == 1
    box_loss = F.smooth_l1_loss(box[own] / 8, held_xyxy[own] / 8, reduction="sum", beta=0.5) / (
        4 * own.sum().clamp(min=1)
    )
    return place_loss, seen_loss, holding_loss, box_loss


class JointsExport(nn.Module):
    """``JointsNetwork`` as ``vision.top_down`` reads it: one row of 61 numbers a person."""

    def __init__(self, network: JointsNetwork) -> None:
        super().__init__()
        self.network = network
        columns, rows = JOINTS_WH[0] // HEAT_STRIDE, JOINTS_WH[1] // HEAT_STRIDE
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        self.register_buffer("cells", torch.stack([x.flatten(), y.flatten()]).float() + 0.5)

    def forward(self, images: Tensor) -> Tensor:
        """Look at pictures, shape (b, 160, 128, 3) uint8.

        A joint is at the mean of the chances around the likeliest cell: elsewhere there may be another hand.
        """
        heat, seen, holding, box = self.network(images)
        cells: Tensor = self.cells
        chance = heat.flatten(2).softmax(2)
        peak = cells[:, chance.argmax(2)].permute(1, 2, 0)
        off = (cells[None, None] - peak[..., None]).abs()
        near = chance * (off.amax(2) < PEAK_CELLS + 0.5)
        mass = near.sum(2)
        at = (near[:, :, None] * cells).sum(3) / mass[..., None] * HEAT_STRIDE
        points = torch.cat([at, seen.sigmoid()[..., None]], 2).flatten(1)
        hands = torch.cat([holding.sigmoid()[..., None], box], 2).flatten(1)
        return torch.cat([points, hands], 1)
