"""The routes of the API, by what they are about."""

from cart.api.routes import (
    accounts,
    demo,
    doors,
    evidence,
    health,
    pictures,
    prices,
    receipts,
    reviews,
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
    demo.router,
)
"""Everything that ``cart.api.app.create_app`` puts together."""
