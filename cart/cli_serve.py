"""The command ``tillfree serve``: runs a store, or the demo's simulated one, until it is told to end."""

import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cart.live_store import Came, FloorEvent, Handled, Left
from cart.money import format_amount
from cart.terminal import ERR, OUT, UsageError, one_line_errors, settings_of_environment

DEMO_FOLDER = Path("tillfree-demo")
USUAL_DATABASE = "sqlite:///tillfree.db"


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for one that is free.")] = 8000,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help=f"Where everything is kept: sqlite:///shop.db, postgresql+psycopg://…; else {USUAL_DATABASE}, or "
            f"{DEMO_FOLDER}/shop.db for the demo.",
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="A camera (NAME=rtsp://…, /dev/video0), a video file, a recording folder, or: simulator. May be given "
            "several times. Nothing: scales and gates alone.",
        ),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="A simulated store that trades, with shoppers of its own and of yours.")
    ] = False,
    site: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Gondolas, plates, planogram and products of the store.")
    ] = None,
    layout: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A layout that adds cameras, drawn bins, zones, doors.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE", help="A model to see with. Else the project's own.")
    ] = None,
    detect_every: Annotated[
        int, typer.Option(min=1, max=30, metavar="N", help="Run the models on every N-th frame.")
    ] = 2,
    speed: Annotated[
        float, typer.Option(min=0.1, max=1000, help="How many times real time a recording or the simulator runs.")
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the simulator; else another one each time.")] = None,
    regulars: Annotated[
        bool, typer.Option("--regulars/--no-regulars", help="Whether the demo has shoppers of its own.")
    ] = True,
) -> None:
    """Run a store: what its sensors say goes in, the API comes out; charges, receipts and gates between."""
    # What the server needs takes a second to import.
    from cart.serve import ServeOptions, StoreServer

    with one_line_errors():
        began_s = time.perf_counter()
        sources = tuple(source or ())
        if "simulator" in sources:
            if len(sources) > 1:
                raise UsageError("--source simulator: expected no other source beside it")
            demo, sources = True, ()
        if demo and (sources or site or layout or weights):
            raise UsageError("--demo: expected no --source, --site, --layout or --weights; it brings its own store")
        folder = DEMO_FOLDER if demo else Path()
        if demo and database is None:
            folder.mkdir(mode=0o700, exist_ok=True)
            database = f"sqlite:///{folder / 'shop.db'}"
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        server = StoreServer(
            ServeOptions(
                database or USUAL_DATABASE,
                folder,
                host,
                port,
                sources,
                demo,
                site,
                layout,
                tuple(weights or ()),
                detect_every,
                speed,
                time.time_ns() % 2**31 if seed is None else seed,
                regulars,
            ),
            settings_of_environment(),
            _Narrator(),
        )

        def say_that_it_runs() -> None:
            taken_s = time.perf_counter() - began_s
            what = "A simulated store trades" if demo else "The store is open"
            OUT.print(f"{what} at {server.url} ({taken_s:.1f} s to open); Ctrl-C closes it", markup=False)
            if server.owner is not None:
                OUT.print(
                    f"Owner: {server.owner.email}, password (shown this once): {server.owner.password}", markup=False
                )
            if server.closed_anew:
                OUT.print(f"{server.closed_anew} visits of before wait for a person to look at them", markup=False)
            OUT.print(PAGES_TO_OPEN.replace("ADDRESS", server.url.replace("127.0.0.1", "localhost")), markup=False)
            if demo:
                OUT.print(TO_TRY.replace("ADDRESS", server.url), markup=False)

        ended = server.run(say_that_it_runs)
        if server.demo is not None:
            tally = server.demo.tally
            OUT.print(
                f"Closed. {tally.right} visits ended with exactly what was carried out, {tally.wrong} with something "
                f"else, {tally.reviewed} wait for a person, {tally.others} had no account.",
                markup=False,
            )
        if not ended:
            ERR.print("note: some of it did not end in time", markup=False)


PAGES_TO_OPEN = """
  ADDRESS/          the shopper's app
  ADDRESS/gate      what a gate shows, and scans with
  ADDRESS/staff     the console of those who work on the floor
  ADDRESS/office    figures, prices, layout, people
  ADDRESS/engineer  recordings, instant by instant
"""
"""The pages of a store; ``ADDRESS`` stands for where it runs."""

TO_TRY = r"""
Go shopping: open the app and the gate side by side, or, in another terminal:

  A=ADDRESS/v1 J='content-type: application/json' ME='{"email":"you@example.com","password":"correct horse battery"'
  field() { sed -nE "s/.*\"$1\":\"([^\"]*)\".*/\1/p"; }
  curl -s $A/accounts -H "$J" -d "$ME,\"name\":\"You\"}"
  T="authorization: Bearer $(curl -s $A/tokens -H "$J" -d "$ME}" | field token)"
  CODE=$(curl -s -X POST $A/entry-codes -H "$T" | field code)
  S=$(curl -s $A/gates/entrance/scans -H "$J" -d "{\"code\":\"$CODE\"}" | field session_id)
  curl -s -X POST $A/demo/sessions/$S/shop -H "$T"
  curl -sN $A/sessions/$S/cart/events -H "$T"
  curl -s $A/receipts -H "$T"
"""
"""What a newcomer can type, line by line, to go shopping in the demo; ``ADDRESS`` stands for where it runs."""


class _Narrator:
    """Prints one line for everything that happens, with the first letters of a visit's id and nobody's name."""

    def __call__(self, event: FloorEvent) -> None:
        line = _line(event)
        if line:
            OUT.print(f"{datetime.now(UTC):%H:%M:%S}  {line}", markup=False)


def _line(event: FloorEvent) -> str:
    """One line for people; empty for what is not worth one."""
    if isinstance(event, Came):
        visit = _visit(event.session.session_id)
        return f"{visit} came in" if event.known else f"{visit} came in without a code: staff are told"
    if isinstance(event, Handled):
        if event.session_id is None:
            return ""
        verb = "took" if event.taken else "put back"
        sure = min(event.probability, 0.99)  # never "100 %"
        return f"{_visit(event.session_id)} {verb} {event.quantity} x {event.name} at {event.place} ({sure:.0%} sure)"
    return _left(event)


def _left(event: Left) -> str:
    session = event.session
    amount = (
        "" if event.total_minor is None else f" {format_amount(event.total_minor, event.currency)} {event.currency}"
    )
    line = f"{_visit(session.session_id)} left: {session.status.replace('_', ' ')}{amount}"
    if event.receipt_number is not None:
        line += f", receipt {event.receipt_number}"
    return f"{line} ({event.reasons[0]})" if event.reasons else line


def _visit(session_id: object) -> str:
    return f"visit {str(session_id)[:8]}"
