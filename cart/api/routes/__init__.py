"""The routes of the API, by what they are about."""

from cart.api.routes import (
    accounts,
    cameras,
    demo,
    devices,
    doors,
    evidence,
    floor,
    health,
    layout,
    pictures,
    prices,
    receipts,
    replays,
    reviews,
    statistics,
    store,
    tokens,
    visits,
)

ROUTERS = (
    health.router,
    accounts.router,
    tokens.router,
    doors.router,
    visits.router,
    receipts.router,
    evidence.router,
    reviews.router,
    prices.router,
    pictures.router,
    store.router,
    floor.router,
    cameras.router,
    devices.router,
    layout.router,
    statistics.router,
    replays.router,
    demo.router,
)
"""Everything that ``cart.api.app.create_app`` puts together."""
