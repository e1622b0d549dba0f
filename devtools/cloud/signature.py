"""Checks ACS3-HMAC-SHA256 signatures, computed anew from what arrived and never by the SDK's own code."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from devtools.cloud.errors import ApiError

ALGORITHM = "ACS3-HMAC-SHA256"
MAX_AGE_MS = 15 * 60 * 1000
MUST_BE_SIGNED = frozenset({"host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce"})

_AUTHORIZATION = re.compile(r"(\S+) Credential=([^,]+),SignedHeaders=([^,]+),Signature=([0-9a-f]+)")


@dataclass(frozen=True, kw_only=True)
class Wire:
    """One request as it arrived; header names are in lower case, the query is decoded."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """What the Authorization header claims."""

    key_id: str
    signed_headers: tuple[str, ...]
    signature: str


def verify(wire: Wire, *, key_id: str, secret: str, now_ms: int) -> str:
    """Return the nonce of a request that `key_id` signed with `secret`; ApiError with the gateway's code otherwise."""
    claim = _parse_authorization(wire.headers.get("authorization"))
    if claim.key_id != key_id:
        raise ApiError(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
    _check_date(wire.headers.get("x-acs-date", ""), now_ms)
    _check_coverage(wire.headers, claim.signed_headers)
    digest = hashlib.sha256(wire.body).hexdigest()
    if wire.headers.get("x-acs-content-sha256") != digest:
        raise _mismatch("x-acs-content-sha256 is not the hash of the body")
    if not hmac.compare_digest(claim.signature, _sign(wire, claim.signed_headers, digest, secret)):
        raise _mismatch("the signature we calculated is another one")
    return wire.headers["x-acs-signature-nonce"]


def _parse_authorization(header: str | None) -> Authorization:
    found = _AUTHORIZATION.fullmatch(header or "")
    if found is None or found[1] != ALGORITHM:
        raise ApiError(400, "IncompleteSignature", "The request signature does not conform to Aliyun standards.")
    return Authorization(key_id=found[2], signed_headers=tuple(found[3].split(";")), signature=found[4])


def _check_date(text: str, now_ms: int) -> None:
    try:
        sent = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise ApiError(400, "InvalidTimeStamp.Format", "Specified time stamp or date value is malformed.") from error
    if abs(sent.timestamp() * 1000 - now_ms) > MAX_AGE_MS:
        raise ApiError(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")


def _check_coverage(headers: Mapping[str, str], signed: tuple[str, ...]) -> None:
    """Refuse a signature that leaves out what an attacker would change."""
    needed = MUST_BE_SIGNED | {name for name in headers if name.startswith("x-acs-")}
    uncovered = (needed - set(signed)) | (set(signed) - set(headers))
    if uncovered or list(signed) != sorted(signed):
        raise ApiError(400, "IncompleteSignature", f"Signed headers are incomplete or unsorted: {sorted(uncovered)}.")


def _sign(wire: Wire, signed: tuple[str, ...], digest: str, secret: str) -> str:
    canonical = "\n".join(
        (
            wire.method,
            wire.path,
            _canonical_query(wire.query),
            "".join(f"{name}:{wire.headers[name].strip()}\n" for name in signed),
            ";".join(signed),
            digest,
        )
    )
    text = f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def _canonical_query(query: Iterable[tuple[str, str]]) -> str:
    return "&".join(f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in sorted(query))


def _mismatch(reason: str) -> ApiError:
    return ApiError(400, "SignatureDoesNotMatch", f"Specified signature is not matched with our calculation: {reason}.")
