import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cart.gates import GateCommand, GateController, GateKind, GateReason
from tests.cart.people import Clock

GRANT, OTHER = UUID(int=1), UUID(int=2)


class Bolt:
    """Counts how often it moved; may be stuck."""

    def __init__(self) -> None:
        self.moved = 0
        self.stuck = False

    def __call__(self) -> None:
        if self.stuck:
            raise OSError("the motor does not answer")
        self.moved += 1


class Gate:
    """A gate with its bolt, clock and memory; can be switched off and on again."""

    def __init__(self, folder: Path, kind: GateKind = GateKind.ENTRY) -> None:
        self.memory, self.kind = folder / "grants", kind
        self.bolt, self.clock = Bolt(), Clock()
        self.switch_on()

    def switch_on(self) -> None:
        self.controller = GateController("front", self.kind, self.memory, self.bolt, self.clock)

    def command(self, grant_id: UUID = GRANT, age_s: float = -1.0, life_s: float = 10.0) -> GateCommand:
        """A command given so long ago; below 0, in the future."""
        issued_at = self.clock() - timedelta(seconds=age_s)
        return GateCommand(grant_id, "front", issued_at, issued_at + timedelta(seconds=life_s))


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    made = Gate(tmp_path)
    made.clock.wait(minutes=1)
    return made


def test_an_entry_opens_once_for_a_grant_however_often_it_is_ordered(gate: Gate) -> None:
    command = gate.command(age_s=1)

    answers = [gate.controller.obey(command) for _ in range(3)]

    assert [(answer.opened, answer.reason) for answer in answers] == [
        (True, GateReason.OPENED),
        (True, GateReason.REPEATED),
        (True, GateReason.REPEATED),
    ]
    assert gate.bolt.moved == 1


def test_64_threads_with_one_grant_open_an_entry_once(gate: Gate) -> None:
    command, barrier = gate.command(age_s=1), threading.Barrier(64)

    def obey(_: int) -> GateReason:
        barrier.wait()
        return gate.controller.obey(command).reason

    with ThreadPoolExecutor(64) as pool:
        reasons = list(pool.map(obey, range(64)))

    assert gate.bolt.moved == reasons.count(GateReason.OPENED) == 1


def test_an_entry_remembers_its_grants_when_it_was_switched_off(gate: Gate) -> None:
    command = gate.command(age_s=1)
    gate.controller.obey(command)

    gate.switch_on()

    assert gate.controller.obey(command).reason is GateReason.REPEATED
    assert gate.controller.obey(gate.command(OTHER, age_s=0.5)).opened
    assert gate.bolt.moved == 2


@pytest.mark.parametrize("spoil", ["lose", "empty", "tear", "garble"])
def test_an_entry_that_lost_its_memory_takes_only_what_is_ordered_from_then_on(gate: Gate, spoil: str) -> None:
    command = gate.command(age_s=1)
    gate.controller.obey(command)
    known = gate.memory.read_bytes()
    match spoil:
        case "lose":
            gate.memory.unlink()
        case "empty":
            gate.memory.write_bytes(b"")
        case "tear":
            gate.memory.write_bytes(known.partition(b"\n")[0][:-20])
        case "garble":
            gate.memory.write_bytes(b"\xff\x00 nonsense\n")

    gate.switch_on()

    assert gate.controller.obey(command).reason is GateReason.STALE
    gate.clock.wait(seconds=2)
    assert gate.controller.obey(gate.command(OTHER, age_s=1)).opened
    assert gate.bolt.moved == 2
    gate.switch_on()
    assert gate.controller.obey(gate.command(OTHER, age_s=1)).reason in {GateReason.REPEATED, GateReason.STALE}
    assert gate.bolt.moved == 2


def test_an_entry_without_a_readable_memory_stays_shut_for_what_came_before(tmp_path: Path) -> None:
    (tmp_path / "grants").mkdir()
    gate = Gate(tmp_path)
    gate.clock.wait(seconds=2)

    # It cannot be written either.
    assert gate.controller.obey(gate.command(age_s=1)).reason is GateReason.NO_MEMORY
    assert gate.controller.obey(gate.command(age_s=5)).reason is GateReason.STALE
    assert gate.bolt.moved == 0


def test_an_entry_ignores_stale_early_and_reordered_commands_and_those_of_other_gates(gate: Gate) -> None:
    obey: Callable[[GateCommand], object] = lambda command: gate.controller.obey(command).reason  # noqa: E731

    assert obey(gate.command(age_s=10)) is GateReason.STALE
    assert obey(gate.command(age_s=-31)) is GateReason.EARLY
    now = gate.clock()
    assert obey(GateCommand(GRANT, "back", now, now + timedelta(seconds=5))) is GateReason.OTHER_GATE
    assert obey(gate.command(OTHER, age_s=2)) is GateReason.OPENED
    assert obey(gate.command(GRANT, age_s=3)) is GateReason.REORDERED
    assert obey(gate.command(UUID(int=3), age_s=2)) is GateReason.OPENED
    assert gate.bolt.moved == 2


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[" * 5000,
        b'{"grant_id": 1}',
        json.dumps({"grant_id": str(GRANT), "gate_id": "front", "issued_at": "now", "expires_at": "later"}),
        json.dumps(
            {
                "grant_id": str(GRANT),
                "gate_id": "front",
                "issued_at": "2026-05-04T08:01:00",
                "expires_at": "2026-05-04T08:01:10",
            }
        ),
        json.dumps(
            {
                "grant_id": str(GRANT),
                "gate_id": "front",
                "issued_at": "2026-05-04T08:01:00+00:00",
                "expires_at": "2036-05-04T08:01:10+00:00",
            }
        ),
    ],
)
def test_an_entry_stays_shut_on_what_is_no_command(gate: Gate, message: str | bytes) -> None:
    assert gate.controller.obey(message).reason is GateReason.MALFORMED
    assert gate.bolt.moved == 0


def test_a_grant_is_spent_when_the_bolt_is_stuck(gate: Gate) -> None:
    gate.bolt.stuck = True
    assert gate.controller.obey(gate.command(age_s=1)).reason is GateReason.STUCK

    gate.bolt.stuck = False
    again = gate.controller.obey(gate.command(age_s=1))

    assert (again.opened, gate.bolt.moved) == (False, 0)


def test_an_entry_says_so_if_it_does_not_know_whether_it_opened(gate: Gate) -> None:
    command = gate.command(age_s=1)
    gate.controller.obey(command)
    # Power failed between the line that was written before the bolt moved and the one after.
    before, _, _ = gate.memory.read_bytes().partition(b"\n")
    gate.memory.write_bytes(before + b"\n")

    gate.switch_on()
    again = gate.controller.obey(command)

    assert (again.opened, again.reason, gate.bolt.moved) == (False, GateReason.IN_DOUBT, 1)


def test_an_entry_stays_shut_when_its_clock_fails(gate: Gate) -> None:
    command = gate.command(age_s=1)
    gate.clock.at = gate.clock.at.replace(tzinfo=None)

    assert not gate.controller.obey(command).opened
    assert gate.bolt.moved == 0


def test_an_entry_does_not_open_for_whoever_stands_there(gate: Gate) -> None:
    assert gate.controller.want_through().reason is GateReason.NO_CODE
    assert gate.bolt.moved == 0


def test_an_exit_opens_for_whoever_wants_out_and_on_any_command(tmp_path: Path) -> None:
    gate = Gate(tmp_path, GateKind.EXIT)

    assert gate.controller.want_through().opened
    assert gate.controller.obey(gate.command(age_s=1000)).opened
    assert gate.controller.obey(b"\xff").opened
    gate.clock.at = gate.clock.at.replace(tzinfo=None)
    assert gate.controller.want_through().opened
    assert gate.bolt.moved == 4


def test_an_exit_needs_no_memory_and_tries_again_when_its_bolt_is_stuck(tmp_path: Path) -> None:
    (tmp_path / "grants").mkdir()
    gate = Gate(tmp_path, GateKind.EXIT)

    gate.bolt.stuck = True
    assert gate.controller.want_through().reason is GateReason.STUCK
    gate.bolt.stuck = False
    assert gate.controller.want_through().opened


def test_a_gate_forgets_what_no_living_command_can_repeat(gate: Gate) -> None:
    for number in range(1, 502):
        gate.controller.obey(gate.command(UUID(int=number), age_s=1))
        gate.clock.wait(seconds=5)
    assert gate.bolt.moved == 501
    lines = gate.memory.read_bytes().count(b"\n")

    gate.switch_on()

    assert lines < 300
    assert gate.controller.obey(gate.command(UUID(int=501), age_s=6)).reason is GateReason.REPEATED
    assert gate.bolt.moved == 501


steps = st.lists(
    st.one_of(
        st.tuples(st.just("order"), st.integers(0, 5)),
        st.tuples(st.just("repeat"), st.integers(0, 5)),
        st.tuples(st.just("off and on"), st.just(0)),
        st.tuples(st.just("wait"), st.integers(0, 12)),
        st.tuples(st.just("lose memory"), st.just(0)),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(steps)
def test_no_grant_opens_an_entry_twice_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    gate = Gate(tmp_path_factory.mktemp("gate"))
    given_out: list[GateCommand] = []
    opened: list[UUID | None] = []
    for what, number in steps:
        gate.clock.wait(milliseconds=100)
        match what:
            case "order":
                given_out.append(gate.command(UUID(int=len(given_out) + 1), age_s=0))
                before = gate.bolt.moved
                gate.controller.obey(given_out[-1])
                opened += [given_out[-1].grant_id] * (gate.bolt.moved - before)
            case "repeat" if given_out:
                command = given_out[-1 - number % len(given_out)]
                before = gate.bolt.moved
                answer = gate.controller.obey(command.to_json())
                opened += [command.grant_id] * (gate.bolt.moved - before)
                assert answer.opened or gate.bolt.moved == before
                assert answer.reason is not GateReason.REPEATED or command.grant_id in opened
            case "off and on":
                gate.switch_on()
            case "wait":
                gate.clock.wait(seconds=number)
            case "lose memory":
                gate.memory.unlink(missing_ok=True)
                gate.switch_on()
    assert len(opened) == len(set(opened))


def test_a_command_survives_the_way_over_the_network() -> None:
    at = datetime(2026, 5, 4, 8, tzinfo=UTC)
    command = GateCommand(GRANT, "front-1", at, at + timedelta(seconds=10))

    assert GateCommand.from_json(command.to_json()) == command
    assert GateCommand.from_json(command.to_json().encode()) == command


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "front door", "x" * 65, "-front", "gäte"])
def test_a_gates_name_fits_a_topic(name: str) -> None:
    at = datetime(2026, 5, 4, 8, tzinfo=UTC)
    with pytest.raises(ValueError, match="gate: expected a name"):
        GateCommand(GRANT, name, at, at + timedelta(seconds=10))
