"""The settings of tokens and of the login."""

from pydantic import AliasChoices, Field, field_validator

from servey.core.settings.group import Names, SettingsGroup
from servey.core.settings.sources import token_schemes_in

JWT_LEEWAY = 30


class TokenSettings(SettingsGroup):
    """Tokens and the login."""

    jwt_secret_key: str | None = Field(
        None,
        validation_alias=AliasChoices("SERVEY_JWT_SECRET_KEY", "JWT_SECRET_KEY"),
        repr=False,
        description="the secret of HS256 tokens, at least 32 bytes in production",
    )
    cursor_key: str | None = Field(None, repr=False, description="signs cursors of pages; by default the JWT secret")
    jwt_public_key: str | None = Field(None, description="a PEM public key: RS256 for RSA, ES256 for P-256")
    jwks_url: str | None = Field(None, description="the URL of an issuer's public keys (JWKS): RS256, ES256")
    jwt_issuer: str | None = Field(None, description="the only accepted issuer (iss)")
    jwt_audience: str | None = Field(None, description="the required audience (aud)")
    jwt_require_exp: bool = Field(True, description="reject tokens without exp")
    token_schemes: Names = Field(("Bearer",), description="accepted schemes of the Authorization header, in any case")
    jwt_leeway: float = Field(JWT_LEEWAY, ge=0, description="allowed clock skew when token times are checked")
    login_username: str = Field(
        "root",
        validation_alias=AliasChoices("SERVEY_LOGIN_USERNAME", "DEBUG_AUTHENTICATOR_USERNAME"),
        description="the user name for /login",
    )
    login_password: str | None = Field(
        None,
        validation_alias=AliasChoices("SERVEY_LOGIN_PASSWORD", "SERVEY_DEBUG_AUTHENTICATOR_PASSWORD"),
        repr=False,
        description="the password for /login; without one, /login exists only in development, with a random password",
    )

    @field_validator("token_schemes")
    @classmethod
    def _schemes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return token_schemes_in(value)
