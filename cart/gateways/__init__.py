"""Payment gateways: a fake one that runs as its own process and fails as told, its client, and Stripe."""
