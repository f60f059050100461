"""Two simulations from one seed are equal, in other processes too; from another seed they are not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from store_sim.scenarios import library
from tests.store_sim.copies import BEGINNING, OtherProcess, other_process, played

CASES = (
    "ALL-SIMPLE-CHIP-1",
    "TEAM-8-1",
    "TEAM-PEI-1",
    "TEAM-PEI-JD-1",
    "cps-test-01",
    "cps-test-10",
    "cps-test-11",
    "cps-test-12",
    "cps-test-19",
    "cps-test-2",
    "cps-test-20",
    "cps-test-21",
    "cps-test-22",
    "cps-test-24",
    "cps-test-4",
    "cps-test-5",
    "cps-test-6",
    "cps-test-7",
    "cps-test-8",
    "cps-test-9",
)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[OtherProcess]:
    """Another process that plays what it is asked to."""
    with other_process() as other:
        yield other


@pytest.mark.parametrize("path", library(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_scenario_of_the_library_plays_the_same_again(path: Path, elsewhere: OtherProcess) -> None:
    assert_plays_the_same_again(path, None, elsewhere)


@pytest.mark.parametrize("name", CASES)
def test_a_real_visit_plays_the_same_again(name: str, shared: Path, elsewhere: OtherProcess) -> None:
    nanostore = shared / "nanostore"
    assert_plays_the_same_again(nanostore / "cases" / f"{name}.json", nanostore / "site", elsewhere)


def test_no_real_visit_is_forgotten(shared: Path) -> None:
    assert {path.stem for path in (shared / "nanostore" / "cases").glob("*.json")} == set(CASES)


def assert_plays_the_same_again(path: Path, site: Path | None, elsewhere: OtherProcess) -> None:
    elsewhere.ask(path, site, 7)
    here = played(path, site, 7)
    assert elsewhere.answer() == here
    assert played(path, site, 8, BEGINNING)[0] != here[0]
