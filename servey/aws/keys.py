"""Sign tokens with a KMS key, and verify them locally with its public key.

Source: RFC 7515 section 3 (JWS); the KMS API reference (Sign, GetPublicKey).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import to_json

from servey.auth.keys import VerifyKey, public_key
from servey.auth.tokens import JwtAuthorizer, claims_of
from servey.aws.clients import Client
from servey.core.access import Authorization, AuthorizationError
from servey.core.errors import ConfigError, Overloaded
from servey.core.settings import Settings

logger: logging.Logger = logging.getLogger("servey")


class KmsKeys:
    """The public keys of the configured KMS keys, each fetched once per process. No other key is ever fetched.

    Shape: ``key_ids`` are ARNs or ids; the first key signs.
    """

    def __init__(self, key_ids: tuple[str, ...], client: Client) -> None:
        self._by_kid = {kid_of(key_id): key_id for key_id in key_ids}
        self._first = kid_of(key_ids[0])
        self._client = client
        self._known: dict[str, VerifyKey] = {}
        self._lock = asyncio.Lock()

    async def key_for(self, header: Mapping[str, Any]) -> VerifyKey:
        """Return the key that a token's ``kid`` names, or the first key.

        Errors: AuthorizationError for an unknown key, Overloaded while KMS does not answer.
        """
        kid = header.get("kid", self._first)
        if not isinstance(kid, str) or kid not in self._by_kid:
            raise AuthorizationError("the token names an unknown key")
        if kid in self._known:
            return self._known[kid]  # KMS may be away, or hang, for those who ask for another key
        async with self._lock:
            if kid not in self._known:
                try:
                    found = await self._client("get_public_key", KeyId=self._by_kid[kid])
                except Exception as error:
                    logger.warning("the key %s cannot be fetched from KMS: %s", kid, error)
                    raise Overloaded("The token cannot be verified at the moment; try again shortly") from error
                self._known[kid] = public_key(_pem(found["PublicKey"]))
        return self._known[kid]


class KmsAuthorizer(JwtAuthorizer):
    """Verifies tokens locally, and signs them with KMS."""

    def __init__(
        self, key_ids: tuple[str, ...], client: Client, *, clock: Callable[[], float] = time.time, **checks: Any
    ) -> None:
        super().__init__(KmsKeys(key_ids, client), clock=clock, **checks)
        self._key_id = key_ids[0]
        self._client = client

    async def sign_by_kms(self, authorization: Authorization, *, lifetime: float) -> str:
        """Return a token for this authorization that is valid for ``lifetime`` seconds."""
        header = {"alg": "RS256", "typ": "JWT", "kid": kid_of(self._key_id)}
        claims = claims_of(authorization, self._clock(), lifetime, issuer=self._issuer, audience=self._audience)
        signed = b".".join(map(_base64url, (to_json(header), to_json(claims))))
        answer = await self._client(
            "sign",
            KeyId=self._key_id,
            Message=hashlib.sha256(signed).digest(),
            MessageType="DIGEST",
            SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
        )
        return (signed + b"." + _base64url(answer["Signature"])).decode()


def authorizer_of(settings: Settings) -> KmsAuthorizer:
    """Return the authorizer for the keys in the settings. Errors: ConfigError."""
    key_ids = tuple(part.strip() for part in (settings.kms_key_id or "").split(",") if part.strip())
    if not key_ids:
        raise ConfigError("SERVEY_KMS_KEY_ID contains no key id; set it to the ARN of a KMS key")
    return KmsAuthorizer(
        key_ids,
        Client("kms"),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        require_exp=settings.jwt_require_exp,
        leeway=settings.jwt_leeway,
    )


def kid_of(key_id: str) -> str:
    """Return the ``kid`` of a key in tokens: its id, without the rest of the ARN."""
    return key_id.rpartition("/")[2]


def _base64url(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")


def _pem(der: bytes) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

    return load_der_public_key(der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
