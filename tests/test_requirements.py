"""The lock file holds what pyproject.toml asks for, and nothing that a bare machine could not run."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).resolve().parent.parent


def locked_versions(lock: str) -> dict[str, list[Version]]:
    """Versions that a lock file pins, by canonical name; several where they differ by Python version."""
    versions: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.MULTILINE):
        versions.setdefault(canonicalize_name(name), []).append(Version(version))
    return versions


def unmet(requirements: list[str], versions: Mapping[str, list[Version]]) -> list[str]:
    """The requirements that a set of pinned versions does not meet."""
    wanted = [Requirement(requirement) for requirement in requirements]
    return [
        str(requirement)
        for requirement in wanted
        if not versions.get(canonicalize_name(requirement.name))
        or not all(requirement.specifier.contains(v) for v in versions[canonicalize_name(requirement.name)])
    ]


def test_the_lock_meets_what_the_project_asks_for() -> None:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
    asked = [
        *settings["project"]["dependencies"],
        *settings["project"]["optional-dependencies"]["dev"],
        *settings["build-system"]["requires"],
    ]
    stale = unmet(asked, locked_versions((PROJECT / "requirements.lock").read_text("utf-8")))
    assert not stale, f"run make lock: {stale}"


def test_every_pin_in_the_lock_has_a_hash() -> None:
    lock = (PROJECT / "requirements.lock").read_text("utf-8")
    pins = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert len(pins) == sum(map(len, locked_versions(lock).values()))
    assert all("--hash=sha256:" in pin for pin in pins)


def test_the_base_needs_no_torch_and_no_screen() -> None:
    names = set(locked_versions((PROJECT / "requirements.lock").read_text("utf-8")))
    assert "opencv-python-headless" in names
    assert not names & {"torch", "torchvision", "ultralytics", "opencv-python", "opencv-contrib-python"}


@pytest.mark.parametrize("requirement", ["numpy>=3", "Absent", "pyyaml<6"])
def test_a_stale_lock_is_found(requirement: str) -> None:
    versions = locked_versions("numpy==2.4.6 \\\n    --hash=sha256:0\npyyaml==6.0.3 ; sys_platform == 'linux' \\\n")
    assert unmet([requirement, "numpy>=2", "PyYAML"], versions) == [requirement]
