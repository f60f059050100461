"""Training that can be broken off and gone on with: warm-up, cosine, averaged weights, a line of curve now and then."""

import json
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

Batch = TypeVar("Batch")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a network learns.

    Attributes:
        steps: Batches in all.
        rate: Highest learning rate of AdamW.
        warm_up: Steps until it is reached.
        last_rate: Share of it that is left at the end.
        decay: Weight decay.
        average: Share of the averaged weights that each step keeps.
        note_every: Steps between lines of the curve.
        keep_every: Steps between checkpoints.
    """

    steps: int
    rate: float = 2e-3
    warm_up: int = 300
    last_rate: float = 0.01
    decay: float = 0.02
    average: float = 0.9985
    note_every: int = 100
    keep_every: int = 500

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0.

        >>> schedule = Schedule(1000, rate=1.0, warm_up=10, last_rate=0.0)
        >>> schedule.rate_at(0), schedule.rate_at(9), round(schedule.rate_at(505), 2)
        (0.1, 1.0, 0.5)
        """
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        falling = 0.5 * (1 + float(torch.cos(torch.tensor(done * torch.pi))))
        return self.rate * (self.last_rate + (1 - self.last_rate) * falling)


def learn(
    network: nn.Module,
    batches: Callable[[int], Iterator[Batch]],
    losses: Callable[[nn.Module, Batch], dict[str, Tensor]],
    schedule: Schedule,
    folder: Path,
    progress: Progress | None = None,
) -> nn.Module:
    """Train a network, or go on where a checkpoint in the folder says that it was broken off.

    Args:
        network: Changed in place.
        batches: Gives batches from a step on.
        losses: Of a batch, by name, to be added up.
        schedule: How long.
        folder: For ``checkpoint.pt``, ``averaged.pt`` and ``curve.jsonl``.
        progress: Told of steps done, steps in all and the last line of the curve.

    Returns:
        The network with averaged weights, as a copy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": schedule.decay}, {"params": plain, "weight_decay": 0.0}], schedule.rate
    )
    averaged = deepcopy(network).eval()
    step = 0
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        step = int(state["step"])
    network.train()
    network.to(memory_format=torch.channels_last)
    sums: dict[str, float] = {}
    began = time.process_time()
    given = batches(step)
    while step < schedule.steps:
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(step)
        with torch.autocast("cpu", torch.bfloat16):
            each = losses(network, next(given))
        total = torch.stack(list(each.values())).sum()
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        step += 1
        _average(averaged, network, min(schedule.average, (1 + step) / (10 + step)))
        for name, value in each.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if step % schedule.note_every == 0 or step == schedule.steps:
            line = {"step": step, "cpu_s": round(time.process_time() - began, 1)}
            line |= {name: round(value / schedule.note_every, 4) for name, value in sums.items()}
            sums = {}
            text = json.dumps(line)
            with (folder / "curve.jsonl").open("a") as curve:
                curve.write(text + "\n")
            if progress is not None:
                progress(step, schedule.steps, text)
        if step % schedule.keep_every == 0 or step == schedule.steps:
            part = folder / "checkpoint.part"
            state = {"network": network.state_dict(), "averaged": averaged.state_dict()}
            torch.save(state | {"optimiser": optimiser.state_dict(), "step": step}, part)
            part.replace(checkpoint)
            torch.save(averaged.state_dict(), folder / "averaged.part")
            (folder / "averaged.part").replace(folder / "averaged.pt")
    return averaged


def _average(averaged: nn.Module, network: nn.Module, kept: float) -> None:
    with torch.no_grad():
        own = network.state_dict()
        for name, value in averaged.state_dict().items():
            if value.dtype.is_floating_point:
                value.mul_(kept).add_(own[name].detach(), alpha=1 - kept)
            else:
                value.copy_(own[name])
