"""What a token says about its owner."""

from __future__ import annotations

import base64
import binascii
import json

_ORGANIZATION_CLAIMS = (
    *("organizationId", "organization_id", "org_id", "orgId", "organization", "org", "tenant_id"),
)


def claimed_organization(token: str | None) -> tuple[str, str] | None:
    """The organization in a JSON Web Token (RFC 7519), and its origin as a note. The signature is not verified."""
    parts = (token or "").split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    for name in _ORGANIZATION_CLAIMS if isinstance(claims, dict) else ():
        if isinstance(claims.get(name), str) and claims[name]:
            return claims[name], f"from claim {name} of the token"
    return None
