"""The books of the fake gateway: payments, refunds, used keys and events in a SQLite file that survives being killed.

They are kept apart from the shop's database on purpose: this is what the other side believes, and an audit compares the
two. Every method is one transaction.
"""

import json
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

_SCHEMA = """
CREATE TABLE IF NOT EXISTS payments (
    number INTEGER PRIMARY KEY, reference TEXT NOT NULL UNIQUE, idempotency_key TEXT NOT NULL,
    shopper_id TEXT NOT NULL, amount_minor INTEGER NOT NULL CHECK (amount_minor > 0), currency TEXT NOT NULL,
    state TEXT NOT NULL, captured_minor INTEGER NOT NULL DEFAULT 0, refunded_minor INTEGER NOT NULL DEFAULT 0,
    CHECK (captured_minor BETWEEN 0 AND amount_minor), CHECK (refunded_minor BETWEEN 0 AND captured_minor));
CREATE INDEX IF NOT EXISTS payments_by_key ON payments (idempotency_key);
CREATE TABLE IF NOT EXISTS refunds (
    number INTEGER PRIMARY KEY, payment_number INTEGER NOT NULL REFERENCES payments, idempotency_key TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0));
CREATE INDEX IF NOT EXISTS refunds_by_key ON refunds (idempotency_key);
CREATE TABLE IF NOT EXISTS keys (
    idempotency_key TEXT PRIMARY KEY, asked TEXT NOT NULL, payment_number INTEGER REFERENCES payments,
    failed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS ordered_faults (number INTEGER PRIMARY KEY, call TEXT NOT NULL, fault TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS happened (fault TEXT PRIMARY KEY, times INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, payment_number INTEGER NOT NULL REFERENCES payments,
    body TEXT NOT NULL, sent INTEGER NOT NULL DEFAULT 0);
"""


class GatewayFault(StrEnum):
    """What the fake gateway can be told to do wrong."""

    LOST_REQUEST = "lost_request"
    """The call is not carried out and never answered."""
    LOST_REPLY = "lost_reply"
    """The call is carried out and never answered."""
    DECLINE = "decline"
    """A definite no; a declined capture lets the hold go."""
    ERROR_BEFORE = "error_before"
    """A 500 without anything done, kept under the call's key and replayed until the key is forgotten."""
    ERROR_AFTER = "error_after"
    """A 500 after the call was carried out, kept and replayed in the same way."""
    GARBAGE = "garbage"
    """The call is carried out, and answered with what cannot be read."""


class Call(StrEnum):
    """The calls that can be made to fail."""

    AUTHORISE = "authorise"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"
    LOOK_UP = "look_up"


class RefusedError(Exception):
    """The gateway says no; ``status`` is the HTTP status it says it with."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title = status, title


class StoredFailureError(Exception):
    """Under this key a failure is kept, and is answered again until the key is forgotten."""


@dataclass(frozen=True, slots=True)
class JournalPayment:
    """A payment as the gateway has it.

    Attributes:
        reference: The gateway's name for it.
        idempotency_key: The key it was made under.
        shopper_id: Whose account.
        amount_minor: What was held, minor unit.
        currency: ISO 4217 code.
        state: ``authorised``, ``captured``, ``voided`` or ``declined``.
        captured_minor: What was taken, 0 to ``amount_minor``.
        refunded_minor: What of it was given back.
    """

    reference: str
    idempotency_key: str
    shopper_id: str
    amount_minor: int
    currency: str
    state: str
    captured_minor: int
    refunded_minor: int


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """Something that happened to a payment, to be told by a webhook.

    Attributes:
        number: Its place in the order of happening, from 1.
        kind: Such as ``payment.captured``.
        body: What is sent, JSON.
        sent: How often it was delivered.
    """

    number: int
    kind: str
    body: str
    sent: int

    @property
    def event_id(self) -> str:
        """Its name, the same on each delivery."""
        return f"evt_{self.number}"


_COLUMNS = (
    "reference, idempotency_key, shopper_id, amount_minor, currency, state, captured_minor, refunded_minor"  # as above
)


class Journal:
    """The fake gateway's books. Safe to use from several threads; one process at a time writes.

    Args:
        path: The file; made if there is none. ``:memory:`` keeps nothing.

    >>> journal = Journal(":memory:")
    >>> payment = journal.authorise("hold:1", "ada", 500, "EUR")
    >>> journal.capture(payment.reference, 199).captured_minor, journal.captured_minor("EUR")
    (199, 199)
    """

    def __init__(self, path: Path | str) -> None:
        self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._turn = threading.RLock()
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._sql.execute(f"PRAGMA {pragma}")
        self._sql.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._sql.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield self._sql
            except BaseException:
                self._sql.execute("ROLLBACK")
                raise
            self._sql.execute("COMMIT")

    def authorise(
        self, key: str, shopper_id: str, amount_minor: int, currency: str, *, declined: bool = False
    ) -> JournalPayment:
        """Hold an amount; the same key again gives the same payment as it stands now.

        Raises:
            RefusedError: 422 if the key was used for something else, 402 if the account does not pay.
            StoredFailureError: A failure is kept under this key.
        """
        asked = json.dumps(["authorise", shopper_id, amount_minor, currency])
        with self._writing() as sql:
            number = self._known(sql, key, asked)
            if number is None:
                state = "declined" if declined else "authorised"
                number = self._new_payment(sql, key, shopper_id, amount_minor, currency, state)
                self._remember(sql, key, asked, number)
                self._tell(sql, number, f"payment.{state}")
            payment = self._payment(sql, number)
        # Only now: a declined payment stays in the books too.
        if payment.state == "declined":
            raise RefusedError(402, "Payment declined", f"{key}: the account does not pay")
        return payment

    def capture(self, reference: str, amount_minor: int | None = None, *, declined: bool = False) -> JournalPayment:
        """Take a held amount or a part of it, and let the rest go; the same again changes nothing.

        Raises:
            RefusedError: 404 if there is no such payment; 402 if the hold is gone; 409 if another amount was taken; 422
                if the amount is not positive or more than is held.
        """
        with self._writing() as sql:
            number, payment = self._find(sql, reference)
            amount = payment.amount_minor if amount_minor is None else amount_minor
            if not 0 < amount <= payment.amount_minor:
                raise RefusedError(422, "Wrong amount", f"expected 1 to {payment.amount_minor}, got {amount}")
            if payment.state == "authorised":
                state, taken = ("voided", 0) if declined else ("captured", amount)
                sql.execute(
                    "UPDATE payments SET state = ?, captured_minor = ? WHERE number = ?", (state, taken, number)
                )
                self._tell(sql, number, f"payment.{state}")
                payment = self._payment(sql, number)
        if payment.state != "captured":
            raise RefusedError(
                402, "Payment declined", f"{reference}: there is no hold, the payment is {payment.state}"
            )
        if payment.captured_minor != amount:
            raise RefusedError(409, "Captured before", f"{reference}: {payment.captured_minor} was taken, not {amount}")
        return payment

    def void(self, reference: str, *, declined: bool = False) -> JournalPayment:
        """Let a hold go; the same again changes nothing.

        Raises:
            RefusedError: 404 if there is no such payment; 402 if it was captured or the call is declined.
        """
        with self._writing() as sql:
            number, payment = self._find(sql, reference)
            if payment.state == "captured" or declined:
                raise RefusedError(402, "Payment declined", f"{reference}: cannot be voided, it is {payment.state}")
            if payment.state == "authorised":
                sql.execute("UPDATE payments SET state = 'voided' WHERE number = ?", (number,))
                self._tell(sql, number, "payment.voided")
            return self._payment(sql, number)

    def refund(self, reference: str, amount_minor: int, key: str, *, declined: bool = False) -> JournalPayment:
        """Give something back; the same key again gives nothing more.

        Raises:
            RefusedError: 404 if there is no such payment; 402 if it is more than is left of what was taken, or the call
                is declined; 422 if the amount is not positive or the key was used for something else.
            StoredFailureError: A failure is kept under this key.
        """
        asked = json.dumps(["refund", reference, amount_minor])
        with self._writing() as sql:
            number, payment = self._find(sql, reference)
            if amount_minor <= 0:
                raise RefusedError(422, "Wrong amount", f"expected a positive number, got {amount_minor}")
            if self._known(sql, key, asked) is None:
                left = payment.captured_minor - payment.refunded_minor
                if declined or amount_minor > left:
                    raise RefusedError(402, "Refund declined", f"{reference}: {left} is left to give back")
                self._add_refund(sql, number, key, amount_minor)
                self._remember(sql, key, asked, number)
            return self._payment(sql, number)

    def keep_failure(self, key: str, asked: str) -> None:
        """Keep a failure under a key, to be answered again; nothing happens if the key is known."""
        with self._writing() as sql:
            sql.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, NULL, 1)", (key, asked))

    def fail_key(self, key: str) -> None:
        """Answer with a failure from now on what was carried out under a key."""
        with self._writing() as sql:
            sql.execute("UPDATE keys SET failed = 1 WHERE idempotency_key = ?", (key,))

    def check_key(self, key: str) -> None:
        """See whether a failure is kept under a key.

        Raises:
            StoredFailureError: One is.
        """
        with self._turn:
            row = self._sql.execute("SELECT failed FROM keys WHERE idempotency_key = ?", (key,)).fetchone()
        if row is not None and row[0]:
            raise StoredFailureError(key)

    def look_up(self, key: str) -> tuple[JournalPayment, ...]:
        """Every payment made under a key, oldest first; more than one if the key was forgotten in between."""
        return self._payments("WHERE idempotency_key = ? ORDER BY number", key)

    def look_up_refund(self, key: str) -> int | None:
        """What was given back under a key; None if nothing was."""
        with self._turn:
            row = self._sql.execute(
                "SELECT sum(amount_minor) FROM refunds WHERE idempotency_key = ?", (key,)
            ).fetchone()
        return None if row[0] is None else int(row[0])

    def payments(self) -> tuple[JournalPayment, ...]:
        """Every payment ever asked for, oldest first."""
        return self._payments("ORDER BY number")

    def captured_minor(self, currency: str) -> int:
        """Everything taken in a currency, without what was given back."""
        with self._turn:
            row = self._sql.execute(
                "SELECT coalesce(sum(captured_minor), 0) FROM payments WHERE currency = ?", (currency,)
            ).fetchone()
        return int(row[0])

    def prune_keys(self) -> int:
        """Forget every idempotency key, as gateways do after a day; payments can still be looked up.

        Returns:
            How many were forgotten.
        """
        with self._writing() as sql:
            return sql.execute("DELETE FROM keys").rowcount

    def order_fault(self, call: Call, fault: GatewayFault, times: int = 1) -> None:
        """Have the next calls of a kind go wrong, before chance is asked."""
        with self._writing() as sql:
            sql.executemany("INSERT INTO ordered_faults (call, fault) VALUES (?, ?)", [(call, fault)] * times)

    def next_ordered_fault(self, call: Call) -> GatewayFault | None:
        """Take the next fault that was ordered for a kind of call."""
        with self._turn:
            row = self._sql.execute(
                "SELECT number, fault FROM ordered_faults WHERE call = ? ORDER BY number LIMIT 1", (call,)
            ).fetchone()
            if row is None:
                return None
            self._sql.execute("DELETE FROM ordered_faults WHERE number = ?", (row[0],))
        return GatewayFault(row[1])

    def count_fault(self, fault: GatewayFault) -> None:
        """Note that a fault was played."""
        with self._writing() as sql:
            sql.execute(
                "INSERT INTO happened VALUES (?, 1) ON CONFLICT (fault) DO UPDATE SET times = times + 1", (fault,)
            )

    def faults(self) -> dict[GatewayFault, int]:
        """How often each fault was played."""
        with self._turn:
            rows = self._sql.execute("SELECT fault, times FROM happened").fetchall()
        return {GatewayFault(fault): times for fault, times in rows}

    def events(self, *, unsent: bool = False) -> tuple[JournalEvent, ...]:
        """What happened, in order; only what was not yet delivered, if so asked."""
        where = "WHERE sent = 0 " if unsent else ""
        with self._turn:
            rows = self._sql.execute(f"SELECT number, kind, body, sent FROM events {where}ORDER BY number").fetchall()
        return tuple(JournalEvent(*row) for row in rows)

    def mark_sent(self, event: JournalEvent) -> None:
        """Note that an event was delivered once more."""
        with self._writing() as sql:
            sql.execute("UPDATE events SET sent = sent + 1 WHERE number = ?", (event.number,))

    def _payments(self, clause: str, *values: object) -> tuple[JournalPayment, ...]:
        with self._turn:
            rows = self._sql.execute(f"SELECT {_COLUMNS} FROM payments {clause}", values).fetchall()
        return tuple(JournalPayment(*row) for row in rows)

    def _known(self, sql: sqlite3.Connection, key: str, asked: str) -> int | None:
        row = sql.execute("SELECT asked, payment_number, failed FROM keys WHERE idempotency_key = ?", (key,)).fetchone()
        if row is None:
            return None
        if row[0] != asked:
            raise RefusedError(422, "Idempotency key reused", f"{key} was used for another request")
        if row[2]:
            raise StoredFailureError(key)
        return int(row[1])

    def _remember(self, sql: sqlite3.Connection, key: str, asked: str, number: int) -> None:
        sql.execute("INSERT INTO keys VALUES (?, ?, ?, 0)", (key, asked, number))

    def _new_payment(
        self, sql: sqlite3.Connection, key: str, shopper_id: str, amount_minor: int, currency: str, state: str
    ) -> int:
        number = int(sql.execute("SELECT coalesce(max(number), 0) + 1 FROM payments").fetchone()[0])
        sql.execute(
            "INSERT INTO payments VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0)",
            (number, f"fake-{number}", key, shopper_id, amount_minor, currency, state),
        )
        return number

    def _add_refund(self, sql: sqlite3.Connection, number: int, key: str, amount_minor: int) -> None:
        sql.execute(
            "INSERT INTO refunds (payment_number, idempotency_key, amount_minor) VALUES (?, ?, ?)",
            (number, key, amount_minor),
        )
        sql.execute("UPDATE payments SET refunded_minor = refunded_minor + ? WHERE number = ?", (amount_minor, number))
        self._tell(sql, number, "payment.refunded")

    def _find(self, sql: sqlite3.Connection, reference: str) -> tuple[int, JournalPayment]:
        row = sql.execute("SELECT number FROM payments WHERE reference = ?", (reference,)).fetchone()
        if row is None:
            raise RefusedError(404, "Not found", f"{reference}: no such payment")
        return int(row[0]), self._payment(sql, int(row[0]))

    def _payment(self, sql: sqlite3.Connection, number: int) -> JournalPayment:
        return JournalPayment(*sql.execute(f"SELECT {_COLUMNS} FROM payments WHERE number = ?", (number,)).fetchone())

    def _tell(self, sql: sqlite3.Connection, number: int, kind: str) -> None:
        payment = self._payment(sql, number)
        body: dict[str, Any] = {
            "type": kind,
            "data": {"reference": payment.reference, "idempotency_key": payment.idempotency_key},
        }
        sql.execute(
            "INSERT INTO events (kind, payment_number, body) VALUES (?, ?, ?)", (kind, number, json.dumps(body))
        )


def delivery_order(
    events: tuple[JournalEvent, ...], chance: random.Random, *, doubled: float, shuffled: bool
) -> list[JournalEvent]:
    """The order in which events are delivered: some twice, and in any order, if so told.

    Args:
        events: What is to be delivered.
        chance: Where the disorder comes from.
        doubled: Share of events that are delivered twice, 0 to 1.
        shuffled: Whether to shuffle.
    """
    order = [event for event in events for _ in range(1 + (chance.random() < doubled))]
    if shuffled:
        chance.shuffle(order)
    return order
