"""Environments of runs, each content stored once: versions, device, precision, fingerprints.

All runs of a variant on the same machine have the same one.
"""

from __future__ import annotations

import hashlib
import json

from sqlite_utils import Database

from engine.store.columns import Payload

CREATE = """
    CREATE TABLE environments (
        id INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,     -- SHA-256 of the content
        content TEXT NOT NULL            -- versions, device, precision, fingerprints as JSON
    )
"""


def digest(content: bytes | None) -> bytes:
    """What tells contents apart."""
    return hashlib.sha256(content or b"").digest()


def environment_id(db: Database, environment: Payload) -> int:
    """The row with this content, made if there is none."""
    content = json.dumps(environment)
    key = digest(content.encode())
    db.execute(
        "INSERT INTO environments (digest, content) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (key, content),
    )
    return int(db.execute("SELECT id FROM environments WHERE digest = ?", (key,)).fetchone()[0])
