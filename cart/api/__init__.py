"""The store's HTTP interface, under ``/v1``."""
