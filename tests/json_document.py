"""What ``tillfree replay --json`` promises about its document, whatever was replayed."""

import json
import math
from pathlib import Path
from typing import Any

Entry = dict[str, Any]

RECEIPT = {"shopper": str, "status": str, "currency": str, "total_minor": (int, None), "lines": list}
LINE = {"barcode": str, "name": str, "quantity": int, "amount_minor": (int, None)}
INTERACTION = {
    "kind": str,
    "t_s": float,
    "start_s": float,
    "end_s": float,
    "bin": str,
    "gondola": (int, None),
    "shelf": (int, None),
    "plates": (list, None),
    "barcode": (str, None),
    "quantity": int,
    "candidates": list,
}
CANDIDATE = {"shopper": str, "barcode": (str, None), "quantity": int, "probability": float}
VISIT = {"shopper": str, "entered_s": float, "left_s": float}
HAND = {"shopper": str, "bin": str, "start_s": float, "end_s": float}
DOCUMENT = {
    "receipts": list,
    "interactions": list,
    "visits": list,
    "hands": list,
    "frames": int,
    "wall_s": float,
    "media_s": float,
}


def read_document(path: Path) -> Entry:
    """Read a document and check everything that holds for each."""
    text = path.read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=_refuse)
    check_document(document)
    assert isinstance(document, dict)
    return document


def check_document(document: Entry) -> None:
    """Fail unless every key is there with its type, and the rows agree with each other."""
    _check(document, DOCUMENT, extra={"notices"})
    assert document["frames"] >= 0
    assert document["wall_s"] >= 0
    assert document["media_s"] >= 0
    for receipt in document["receipts"]:
        _check(receipt, RECEIPT, extra={"reasons", "questions"})
        assert receipt["status"] in ("charged", "needs_review", "empty", "no_account")
        assert len(receipt["currency"]) == 3
        for line in receipt["lines"]:
            _check(line, LINE)
        amounts = [line["amount_minor"] for line in receipt["lines"]]
        if receipt["status"] in ("charged", "empty"):
            assert receipt["total_minor"] == sum(amounts)
            assert all(line["quantity"] > 0 for line in receipt["lines"])
        if None in amounts:
            assert receipt["total_minor"] is None
        if receipt["status"] == "empty":
            assert receipt["lines"] == []
    for row in document["interactions"]:
        _check_interaction(row)
    shoppers = {visit["shopper"] for visit in document["visits"]}
    for visit in document["visits"]:
        _check(visit, VISIT)
        assert visit["entered_s"] <= visit["left_s"] <= document["media_s"] + 1
    assert sorted(v["shopper"] for v in document["visits"]) == sorted(r["shopper"] for r in document["receipts"])
    for hand in document["hands"]:
        _check(hand, HAND)
        assert hand["start_s"] <= hand["end_s"]
        assert hand["shopper"] in shoppers
    for rows, key in (("interactions", "t_s"), ("visits", "entered_s"), ("hands", "start_s")):
        times = [row[key] for row in document[rows]]
        assert times == sorted(times)


def _check_interaction(row: Entry) -> None:
    _check(row, INTERACTION)
    assert row["kind"] in ("pick", "put_back")
    assert row["start_s"] <= row["t_s"] <= row["end_s"]
    assert row["end_s"] - row["start_s"] <= 4.0
    assert row["quantity"] >= 1
    assert row["plates"] != []
    assert all(type(number) is int for number in row["plates"] or [])
    for candidate in row["candidates"]:
        _check(candidate, CANDIDATE)
        assert 0 <= candidate["probability"] <= 1
        assert candidate["quantity"] >= 1
    chances = [candidate["probability"] for candidate in row["candidates"]]
    assert chances == sorted(chances, reverse=True)
    assert sum(chances) <= 1.001


def _check(row: Entry, kinds: dict[str, Any], extra: frozenset[str] | set[str] = frozenset()) -> None:
    assert set(kinds) <= set(row) <= set(kinds) | extra, sorted(row)
    for key, kind in kinds.items():
        value, allowed = row[key], kind if isinstance(kind, tuple) else (kind,)
        if value is None:
            assert None in allowed, f"{key} is null"
            continue
        wanted = tuple(k for k in allowed if k is not None)
        if wanted == (float,):
            assert type(value) in (int, float), f"{key}: {value!r}"
            assert math.isfinite(value)
        else:
            assert type(value) in wanted, f"{key}: {value!r}"


def _refuse(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")
