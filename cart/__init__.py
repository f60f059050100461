"""The shop: catalogue, carts, ledger, payment, and the one pipeline that wires a store together."""
