"""A floor changes over to another layout while it works: when nobody is inside, or at once; nobody pays for half."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cart.errors import LayoutChanged, LayoutRefused
from cart.layouts import APPLIED, Layouts
from cart.live_store import Floor, Left
from cart.sessions import Session, SessionStatus
from cart.tables import AuditRow
from store_sim.demo_shop import demo_layout
from store_sim.live import LiveStore, Wish
from tests.cart.databases import KINDS, fresh
from tests.cart.test_live_store import NOON, OATS, Store, walk_in
from vision.layout import StoreLayout

SECOND = 1_000_000_000
NEW = replace(demo_layout(), name="another")


@dataclass
class Changing:
    """A store whose layout is changed, and how often it was said that the new one counts."""

    store: Store
    floor: Floor
    live: LiveStore
    counts: int = 0

    def shopper(self) -> Session:
        """Somebody whom the gate has let in, and who comes."""
        session = self.store.admitted()
        self.live.come_in(str(session.session_id), [Wish(OATS)])
        return session

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until_ns = self.live.now_ns + round(seconds * SECOND)
        while self.live.now_ns < until_ns:
            for tick in self.live.ticks():
                self.floor.step(tick)

    def run_until_inside(self) -> None:
        """Let time pass until somebody has come in and been seen."""
        while not self.store.told:
            self.run(0.2)

    def change(self, *, at_once: bool, layout: StoreLayout = NEW) -> None:
        """Ask for the new layout."""
        self.floor.change_layout(layout, at_once=at_once, done=self._count)

    def _count(self) -> None:
        self.counts += 1

    def status(self, session: Session) -> SessionStatus:
        """How a visit stands."""
        return self.store.checkout.session(session.session_id).status


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> Changing:
    monkeypatch.setattr("cart.live_store.RETRY_S", 0.0)
    monkeypatch.setattr("cart.live_store.ASKS_AGAIN_S", 0.0)
    store = Store()
    return Changing(store, store.floor(), LiveStore(demo_layout(), 1))


def test_with_nobody_inside_it_changes_over_at_the_next_tick(changing: Changing) -> None:
    changing.run(1.0)
    changing.change(at_once=False)
    assert changing.counts == 0
    changing.run(1.0)
    assert changing.counts == 1
    session = changing.shopper()
    walk_in(changing.live, changing.floor)
    assert changing.status(session) is SessionStatus.CHARGED


def test_it_waits_until_the_last_one_is_charged(changing: Changing) -> None:
    session = changing.shopper()
    changing.run_until_inside()
    changing.change(at_once=False)
    changing.run(1.0)
    assert changing.counts == 0
    walk_in(changing.live, changing.floor)
    assert (changing.counts, changing.status(session)) == (1, SessionStatus.CHARGED)


def test_it_waits_for_whoever_was_let_in_and_is_not_seen_yet(changing: Changing) -> None:
    changing.run(1.0)
    session = changing.shopper()
    changing.change(at_once=False)
    changing.run(0.4)
    assert changing.counts == 0
    walk_in(changing.live, changing.floor)
    assert (changing.counts, changing.status(session)) == (1, SessionStatus.CHARGED)


def test_at_once_a_person_looks_at_whoever_is_inside_for_that_reason_alone(changing: Changing) -> None:
    session = changing.shopper()
    changing.run_until_inside()
    changing.change(at_once=True)
    changing.run(0.4)
    assert (changing.counts, changing.status(session)) == (1, SessionStatus.NEEDS_REVIEW)
    (left,) = [event for event in changing.store.told if isinstance(event, Left)]
    assert len(left.reasons) == 1
    assert "layout was changed" in left.reasons[0]


def test_what_fails_while_visits_end_loses_neither_the_layout_nor_them(
    changing: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = changing.shopper()
    changing.run_until_inside()

    def fails(**_: Any) -> Any:
        raise RuntimeError("a sensor's last words make no sense")

    monkeypatch.setattr(changing.floor._pipeline, "finish", fails)
    changing.change(at_once=True)
    changing.run(0.4)
    assert (changing.counts, changing.status(session)) == (1, SessionStatus.NEEDS_REVIEW)


def test_what_fails_when_it_counts_is_tried_again(changing: Changing) -> None:
    failing = iter([OSError("the disk is full"), OSError("the disk is full")])

    def done() -> None:
        for error in failing:
            raise error
        changing.counts += 1

    changing.run(0.4)
    changing.floor.change_layout(NEW, at_once=True, done=done)
    changing.run(1.0)
    assert changing.counts == 1


def test_of_two_that_wait_the_newer_one_counts(changing: Changing) -> None:
    changing.shopper()
    changing.run_until_inside()
    changing.change(at_once=False)
    newer: list[str] = []
    changing.floor.change_layout(replace(NEW, name="newer"), at_once=False, done=lambda: newer.append("newer"))
    walk_in(changing.live, changing.floor)
    assert (changing.counts, newer) == (0, ["newer"])


def test_one_that_the_pipeline_refuses_leaves_the_one_before(
    changing: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(layout: StoreLayout) -> Any:
        raise ValueError(f"layout {layout.name}: no plate stands on the floor")

    monkeypatch.setattr(changing.floor, "_pipeline_for", refuses)
    layouts = Layouts(changing.store.database, demo_layout(), lambda: changing.store.at, "EUR")
    layouts.serve(changing.floor)
    saved = layouts.save({"format": "tillfree-layout/1", "name": "x"}, "", None, after=0)
    with pytest.raises(LayoutRefused, match="no plate"):
        layouts.apply(saved.version, None, at_once=True)
    session = changing.shopper()
    walk_in(changing.live, changing.floor)
    assert (layouts.active_version, changing.status(session)) == (0, SessionStatus.CHARGED)


def test_a_layout_in_another_currency_is_refused(changing: Changing) -> None:
    layouts = Layouts(changing.store.database, demo_layout(), lambda: changing.store.at, "GBP")
    layouts.serve(changing.floor)
    saved = layouts.save(layouts.version(0).document, "", None, after=0)
    with pytest.raises(LayoutRefused, match="GBP"):
        layouts.apply(saved.version, None, at_once=True)


def test_a_version_counts_only_once_it_is_written_down(changing: Changing, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = Layouts(changing.store.database, demo_layout(), lambda: changing.store.at, "EUR")
    layouts.serve(changing.floor)
    saved = layouts.save(layouts.version(0).document, "", None, after=0)
    asked = []

    def fails_once(*_: Any) -> None:
        asked.append(layouts.active_version)
        if len(asked) == 1:
            raise OSError("the disk is full")

    monkeypatch.setattr("cart.layouts.load_catalogue", fails_once)
    layouts.apply(saved.version, None, at_once=True)
    changing.run(1.0)
    assert (asked, layouts.active_version) == ([0, 0], 1)
    with changing.store.database.reading() as repository:
        assert len(repository.sql.scalars(select(AuditRow).where(AuditRow.action == APPLIED)).all()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_of_those_who_draw_over_one_version_at_once_one_is_kept(kind: str, tmp_path: Path) -> None:
    with fresh(kind, tmp_path) as database:
        layouts = Layouts(database, demo_layout(), lambda: NOON, "EUR")
        document = layouts.version(0).document

        def save(number: int) -> bool:
            try:
                layouts.save(document, str(number), None, after=0)
            except LayoutChanged:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(save, range(8))) == 1
        assert [version.version for version in layouts.versions(None, 10)] == [1, 0]
