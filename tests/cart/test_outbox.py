import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cart.outbox import (
    LANES,
    LONG_PATIENCE,
    MONEY,
    Effect,
    GivenUpError,
    Handler,
    Message,
    NotYetError,
    Patience,
    Sweeper,
    SweeperThread,
    backlog,
    failed,
    finish,
    give_up,
    is_waiting,
    put,
    waiting,
)
from cart.repository import Database
from tests.cart.databases import KINDS, fresh, fresh_url

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG = timedelta(days=30)
# Long enough for a machine that is busy with other things; nothing waits that long if all is well.
PATIENT_S = 30.0


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with fresh(request.param, tmp_path) as opened:
        yield opened


def decide(database: Database, key: str, effect: Effect = Effect.MAIL, due_at: datetime | None = None) -> bool:
    with database.transaction() as repository:
        return put(repository, effect, key, {"about": key}, NOON, due_at)


def due(database: Database, at: datetime = NOON) -> list[str]:
    with database.reading() as repository:
        return [message.key for message in waiting(repository, at)]


class Post:
    """A receiver that writes down what it gets, and fails as it is told to."""

    def __init__(self, *failures: Exception | None) -> None:
        self.got: list[str] = []
        self._failures = list(failures)

    def __call__(self, message: Message) -> None:
        failure = self._failures.pop(0) if self._failures else None
        if failure is not None:
            raise failure
        self.got.append(message.key)


def everywhere(handler: Handler) -> dict[Effect, Handler]:
    return dict.fromkeys(Effect, handler)


def test_an_effect_is_carried_out_once_and_is_then_done(database: Database) -> None:
    post = Post()
    sweeper = Sweeper(database, everywhere(post))
    assert decide(database, "mail:1")
    assert (sweeper.sweep(NOON), sweeper.sweep(NOON + LONG), post.got) == (1, 0, ["mail:1"])
    with database.reading() as repository:
        assert (backlog(repository), failed(repository)) == ({}, ())


def test_the_same_key_again_is_the_same_effect(database: Database) -> None:
    post = Post()
    assert [decide(database, "mail:1"), decide(database, "mail:1")] == [True, False]
    Sweeper(database, everywhere(post)).sweep(NOON)
    assert not decide(database, "mail:1")
    Sweeper(database, everywhere(post)).sweep(NOON + LONG)
    assert post.got == ["mail:1"]


def test_what_a_failed_transaction_decided_never_happens(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as repository:
            put(repository, Effect.CHARGE, "charge:1", {}, NOON)
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="power"):
        fail()
    post = Post()
    assert (Sweeper(database, everywhere(post)).sweep(NOON + LONG), post.got) == (0, [])


_DIES = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from cart.outbox import Effect, Sweeper, put
from cart.repository import Database

url, effects, when, kind = sys.argv[1:]
noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
database = Database.open(url)
with database.transaction() as repository:
    put(repository, Effect(kind), "the one", {}, noon)
if when == "before the effect":
    os._exit(9)

def carry_out(message):
    with Path(effects).open("a") as file:
        file.write(message.key + "\\n")
    os._exit(9)

Sweeper(database, {Effect(kind): carry_out}).sweep(noon)
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("when", "times"), [("before the effect", 1), ("after the effect", 2)])
@pytest.mark.parametrize("effect", [Effect.CHARGE, Effect.MAIL])
def test_a_process_that_dies_loses_no_effect_and_its_repeat_has_the_same_key(
    tmp_path: Path, kind: str, when: str, times: int, effect: Effect
) -> None:
    effects = tmp_path / "effects"
    with fresh_url(kind, tmp_path) as url:
        ran = subprocess.run([sys.executable, "-c", _DIES, url, str(effects), when, effect.value], check=False)
        assert ran.returncode == 9

        def carry_out(message: Message) -> None:
            with effects.open("a") as file:
                file.write(f"{message.key}\n")

        with Database.open(url) as database:
            sweeper = Sweeper(database, {effect: carry_out})
            # Whoever died over a letter had claimed it for a minute; money is taken up at once.
            at = NOON if effect in MONEY else NOON + timedelta(minutes=2)
            assert (sweeper.sweep(at), sweeper.sweep(at + LONG)) == (1, 0)
    assert effects.read_text().splitlines() == ["the one"] * times


def test_two_sweepers_send_a_letter_once_between_them(database: Database) -> None:
    keys = [f"mail:{number}" for number in range(20)]
    for key in keys:
        decide(database, key)
    post = Post()
    together = threading.Barrier(2)

    def sweep() -> int:
        sweeper = Sweeper(database, everywhere(post))
        together.wait(PATIENT_S)
        return sweeper.sweep(NOON)

    with ThreadPoolExecutor(2) as pool:
        done = [future.result() for future in [pool.submit(sweep), pool.submit(sweep)]]
    assert sorted(post.got) == sorted(keys)
    assert sum(done) == len(keys)


def test_two_sweepers_may_both_ask_for_money_under_one_key_and_it_is_done_once(database: Database) -> None:
    decide(database, "charge:1", Effect.CHARGE)
    both_there = threading.Barrier(2)
    asked: list[str] = []

    def ask(message: Message) -> None:
        both_there.wait(PATIENT_S)
        asked.append(message.key)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: Sweeper(database, {Effect.CHARGE: ask}).sweep(NOON), range(2)))
    assert asked == ["charge:1", "charge:1"]
    assert due(database, NOON + LONG) == []


def test_a_claim_that_nobody_made_good_runs_out(database: Database) -> None:
    decide(database, "mail:1")

    def die(message: Message) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Sweeper(database, {Effect.MAIL: die}).sweep(NOON)
    post = Post()
    sweeper = Sweeper(database, everywhere(post))
    assert (sweeper.sweep(NOON + timedelta(seconds=59)), post.got) == (0, [])
    assert (sweeper.sweep(NOON + timedelta(seconds=60)), post.got) == (1, ["mail:1"])


def test_what_failed_waits_twice_as_long_each_time(database: Database) -> None:
    decide(database, "mail:1")
    post = Post(*[NotYetError("away")] * 4)
    sweeper = Sweeper(database, everywhere(post), first_wait_s=1, longest_wait_s=4, patience={})
    at, tries = NOON, []
    for second in range(20):
        before = len(post._failures)
        sweeper.sweep(at := NOON + timedelta(seconds=second))
        if len(post._failures) != before or post.got:
            tries.append(second)
        if post.got:
            break
    assert (tries, at) == ([0, 1, 3, 7, 11], NOON + timedelta(seconds=11))


@given(first=st.floats(0.01, 100), factor=st.floats(1, 1000), failures=st.integers(1, 10_000))
def test_waits_never_shrink_and_never_pass_the_longest(first: float, factor: float, failures: int) -> None:
    patience = Patience(first, first * factor)
    assert first <= patience.wait_s(failures) <= patience.wait_s(failures + 1) <= first * factor


def test_an_effect_is_given_up_after_so_many_failures_and_a_person_can_see_it(database: Database) -> None:
    decide(database, "mail:1")
    sweeper = Sweeper(database, everywhere(Post(*[NotYetError("away")] * 3)), attempts=3, patience={})
    for minute in range(4):
        sweeper.sweep(NOON + timedelta(minutes=minute))
    with database.reading() as repository:
        ((message, error),) = failed(repository)
    assert (message.key, message.attempts, error) == ("mail:1", 3, "NotYetError: away")
    assert due(database, NOON + LONG) == []


@pytest.mark.parametrize("effect", sorted(MONEY))
def test_money_is_never_given_up_for_failures(database: Database, effect: Effect) -> None:
    decide(database, "money:1", effect)
    post = Post(*[NotYetError("no answer")] * 50)
    sweeper = Sweeper(database, everywhere(post), attempts=1)
    for hour in range(51):
        sweeper.sweep(NOON + timedelta(hours=hour))
    assert post.got == ["money:1"]


def test_what_can_never_be_carried_out_is_given_up_at_once(database: Database) -> None:
    decide(database, "gate:1", Effect.GATE)
    post = Post(GivenUpError("too late to open"))
    sweeper = Sweeper(database, everywhere(post))
    assert (sweeper.sweep(NOON), sweeper.sweep(NOON + LONG), post.got) == (0, 0, [])
    with database.reading() as repository:
        assert [error for _, error in failed(repository)] == ["GivenUpError: too late to open"]


def test_waiting_for_something_else_is_no_failure(database: Database) -> None:
    decide(database, "mail:1")
    post = Post(*[NotYetError("first the charge", counts=False)] * 5)
    sweeper = Sweeper(database, everywhere(post), attempts=1, patience={})
    for second in range(6):
        sweeper.sweep(NOON + timedelta(seconds=second))
    assert post.got == ["mail:1"]


def test_a_receiver_that_asks_for_time_gets_it(database: Database) -> None:
    decide(database, "mail:1")
    post = Post(NotYetError("come back", wait_s=100.0))
    sweeper = Sweeper(database, everywhere(post), patience={})
    sweeper.sweep(NOON)
    assert due(database, NOON + timedelta(seconds=99)) == []
    assert due(database, NOON + timedelta(seconds=100)) == ["mail:1"]


def test_an_error_of_a_handler_is_a_failure_like_another(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    decide(database, "mail:1")
    decide(database, "mail:2")
    post = Post(ZeroDivisionError("oh"))
    assert Sweeper(database, everywhere(post)).sweep(NOON) == 1
    assert len(post.got) == 1
    assert "ZeroDivisionError" in caplog.text


def test_the_longest_due_comes_first_and_nothing_before_its_time(database: Database) -> None:
    for key, seconds in (("mail:late", 3), ("mail:now", 0), ("mail:soon", 1)):
        decide(database, key, due_at=NOON + timedelta(seconds=seconds))
    post = Post()
    sweeper = Sweeper(database, everywhere(post))
    sweeper.sweep(NOON + timedelta(seconds=2))
    assert post.got == ["mail:now", "mail:soon"]
    sweeper.sweep(NOON + timedelta(seconds=3))
    assert post.got[-1] == "mail:late"


def test_what_its_decider_does_at_once_is_not_done_again(database: Database) -> None:
    decide(database, "charge:1", Effect.CHARGE, due_at=NOON + timedelta(seconds=30))
    with database.transaction() as repository:
        assert is_waiting(repository, ["charge:0", "charge:1"])
        finish(repository, "charge:1", NOON)
        assert not is_waiting(repository, ["charge:1"])
        # Done is done: neither a second end nor a failure changes it.
        finish(repository, "charge:1", NOON + LONG)
        give_up(repository, "charge:1", NOON + LONG, "too late")
    post = Post()
    assert (Sweeper(database, everywhere(post)).sweep(NOON + LONG), post.got) == (0, [])


def test_a_handler_may_decide_on_further_effects(database: Database) -> None:
    post = Post()

    def fan_out(message: Message) -> None:
        if message.key == "webhook:1":
            decide(database, "webhook:1:a", Effect.WEBHOOK)
            decide(database, "webhook:1:b", Effect.WEBHOOK)
        post(message)

    decide(database, "webhook:1", Effect.WEBHOOK)
    sweeper = Sweeper(database, {Effect.WEBHOOK: fan_out})
    assert [sweeper.sweep(NOON), sweeper.sweep(NOON)] == [1, 2]
    assert sorted(post.got) == ["webhook:1", "webhook:1:a", "webhook:1:b"]


def test_effects_that_nobody_here_handles_wait_and_do_not_stand_in_the_way(database: Database) -> None:
    for number in range(120):
        decide(database, f"charge:{number}", Effect.CHARGE)
    decide(database, "refund:1", Effect.REFUND, due_at=NOON + timedelta(seconds=1))
    post = Post()
    Sweeper(database, {Effect.REFUND: post}).sweep(NOON + LONG)
    assert post.got == ["refund:1"]
    with database.reading() as repository:
        assert backlog(repository) == {Effect.CHARGE: 120}


def test_every_effect_has_its_lane_and_others_get_longer_patience() -> None:
    assert sorted(effect for lane in LANES for effect in lane) == sorted(Effect)
    assert not MONEY & LONG_PATIENCE.keys()


def test_whatever_happens_each_effect_is_carried_out_and_no_oftener_than_somebody_died_over_it() -> None:
    class DiedError(BaseException):
        pass

    with Database.in_memory() as database:
        numbers = itertools.count()

        @settings(deadline=None, max_examples=60)
        @given(
            effects=st.lists(st.sampled_from([*Effect]), min_size=1, max_size=6),
            accidents=st.lists(st.sampled_from(["fine", "fails", "dies before", "dies after"]), max_size=20),
        )
        def check(effects: list[Effect], accidents: list[str]) -> None:
            left = list(accidents)
            done: dict[str, int] = {}
            died_after: dict[str, int] = {}

            def carry_out(message: Message) -> None:
                accident = left.pop(0) if left else "fine"
                if accident == "fails":
                    raise NotYetError("away")
                if accident == "dies before":
                    raise DiedError
                done[message.key] = done.get(message.key, 0) + 1
                if accident == "dies after":
                    died_after[message.key] = died_after.get(message.key, 0) + 1
                    raise DiedError

            keys = [f"{effect}:{next(numbers)}" for effect in effects]
            for key, effect in zip(keys, effects, strict=True):
                decide(database, key, effect)
            for hour in range(len(accidents) + 1):
                # Each time a new process, as far as the outbox can tell.
                with suppress(DiedError):
                    Sweeper(database, everywhere(carry_out), attempts=1000).sweep(NOON + timedelta(hours=8 * hour))
            assert due(database, NOON + 100 * LONG) == []
            assert done == {key: 1 + died_after.get(key, 0) for key in keys}

        check()


def now_is(at: datetime) -> Callable[[], datetime]:
    return lambda: at


def test_the_thread_sweeps_until_it_is_stopped(database: Database) -> None:
    done = threading.Event()
    decide(database, "mail:1")
    thread = SweeperThread(Sweeper(database, everywhere(lambda message: done.set())), now_is(NOON), every_s=0.01)
    with thread:
        assert done.wait(PATIENT_S)
    assert thread.stop(PATIENT_S)


def test_the_thread_outlives_errors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    errors = iter([OSError("the database is away"), OSError("still")])
    done = threading.Event()

    def now() -> datetime:
        error = next(errors, None)
        if error is not None:
            raise error
        return NOON

    with fresh("sqlite", tmp_path) as database:
        decide(database, "gate:1", Effect.GATE)
        thread = SweeperThread(Sweeper(database, everywhere(lambda message: done.set())), now, every_s=0.01)
        with thread:
            assert done.wait(PATIENT_S)
        assert thread.stop(PATIENT_S)
    assert "the database is away" in caplog.text


def test_a_receiver_that_never_answers_holds_up_neither_money_nor_the_end(database: Database) -> None:
    hanging, charged, let_go = threading.Event(), threading.Event(), threading.Event()

    def hang(message: Message) -> None:
        hanging.set()
        let_go.wait(PATIENT_S)

    decide(database, "webhook:1", Effect.WEBHOOK)
    decide(database, "charge:1", Effect.CHARGE)
    handlers: dict[Effect, Handler] = {Effect.WEBHOOK: hang, Effect.CHARGE: lambda message: charged.set()}
    thread = SweeperThread(Sweeper(database, handlers), now_is(NOON), every_s=0.01)
    thread.start()
    assert hanging.wait(PATIENT_S)
    assert charged.wait(PATIENT_S)
    assert not thread.stop(timeout_s=0.05)
    let_go.set()
    assert thread.stop(PATIENT_S)


def test_a_stopped_sweeper_leaves_the_rest_for_the_next_one(database: Database) -> None:
    for number in range(5):
        decide(database, f"charge:{number}", Effect.CHARGE)
    post = Post()
    Sweeper(database, everywhere(post)).sweep(NOON, stopped=lambda: len(post.got) == 2)
    assert len(post.got) == 2
    assert len(due(database)) == 3


@pytest.mark.parametrize(("first", "longest", "attempts"), [(0.0, 1.0, 1), (2.0, 1.0, 1), (1.0, 1.0, 0)])
def test_a_sweeper_without_patience_is_refused(first: float, longest: float, attempts: int) -> None:
    with Database.in_memory() as database, pytest.raises(ValueError, match="Patience"):
        Sweeper(database, {}, first, longest, attempts)


def test_a_thread_without_a_pause_is_refused() -> None:
    with Database.in_memory() as database, pytest.raises(ValueError, match="every_s"):
        SweeperThread(Sweeper(database, {}), now_is(NOON), every_s=0)
