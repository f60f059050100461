"""A software authenticator for the tests: makes passkeys and answers challenges as a phone does (WebAuthn level 2)."""

import hashlib
import json
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, encode_cbor

USER_PRESENT, USER_VERIFIED, ATTESTED = 0x01, 0x04, 0x40
_ES256, _EC2, _P256 = -7, 2, 1  # RFC 9053: the algorithm, the kind of key, the curve


@dataclass
class Authenticator:
    """Holds one passkey on the curve P-256.

    Attributes:
        origin: The page that the browser says it is on.
        counter: How often it has signed; it stays 0 where a passkey is synchronised between devices.
        counts: Whether it counts.
        flags: What it says of the person in front of it.
    """

    origin: str = "https://shop.example"
    counter: int = 0
    counts: bool = True
    flags: int = USER_PRESENT | USER_VERIFIED
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    user_handle: bytes = b""

    def register(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``navigator.credentials.create``, with attestation ``none``."""
        self.user_handle = base64url_to_bytes(options["user"]["id"])
        client_data = self._client_data("webauthn.create", options["challenge"])
        numbers = self.key.public_key().public_numbers()
        public_key = {1: _EC2, 3: _ES256, -1: _P256, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        attested = b"\0" * 16 + struct.pack(">H", len(self.credential_id)) + self.credential_id
        attested += encode_cbor(public_key)
        authenticator_data = self._authenticator_data(options["rp"]["id"], ATTESTED) + attested
        attestation = encode_cbor({"fmt": "none", "attStmt": {}, "authData": authenticator_data})
        return self._credential(
            {
                "clientDataJSON": bytes_to_base64url(client_data),
                "attestationObject": bytes_to_base64url(attestation),
            }
        )

    def sign(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``navigator.credentials.get``."""
        if self.counts:
            self.counter += 1
        client_data = self._client_data("webauthn.get", options["challenge"])
        authenticator_data = self._authenticator_data(options["rpId"], 0)
        signature = self.key.sign(authenticator_data + hashlib.sha256(client_data).digest(), ec.ECDSA(SHA256()))
        return self._credential(
            {
                "clientDataJSON": bytes_to_base64url(client_data),
                "authenticatorData": bytes_to_base64url(authenticator_data),
                "signature": bytes_to_base64url(signature),
                "userHandle": bytes_to_base64url(self.user_handle),
            }
        )

    def copied(self) -> "Authenticator":
        """A thief's copy of the key, with the counter where it is now."""
        return Authenticator(
            self.origin, self.counter, self.counts, self.flags, self.key, self.credential_id, self.user_handle
        )

    def _client_data(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}).encode()

    def _authenticator_data(self, rp_id: str, further_flags: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + struct.pack(">BI", self.flags | further_flags, self.counter)

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        name = bytes_to_base64url(self.credential_id)
        return {
            "id": name,
            "rawId": name,
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
            "authenticatorAttachment": "platform",
        }
