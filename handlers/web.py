"""Example: fetch a page and store its hash."""

from __future__ import annotations

import hashlib
import urllib.request
from http import HTTPStatus
from urllib.error import HTTPError

from taskqueue import Context, Discard, task

BYTES_MAX = 10 * 1024 * 1024
CHUNK_BYTES = 65_536


@task(timeout="30s", retry_on=(OSError,))
def fetch_hash(ctx: Context, url: str) -> dict[str, object]:
    """Status, size and SHA-256 of what stands at ``url``. A page that is gone (4xx) is not tried again."""
    if not url.startswith(("http://", "https://")):
        raise Discard(f"{url!r} is no http URL")
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            size, digest = 0, hashlib.sha256()
            while chunk := answer.read(CHUNK_BYTES):
                ctx.check_cancelled()
                size += len(chunk)
                if size > BYTES_MAX:
                    raise Discard(f"more than {BYTES_MAX} bytes")
                digest.update(chunk)
            return {"url": url, "status": answer.status, "bytes": size, "sha256": digest.hexdigest()}
    except HTTPError as error:
        if error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Discard(f"{url} answers {error.code}") from None
        raise
