"""Methods from outside: a user's file or an installed package brings attacks, compressions, data.

Nothing of a file runs before a person trusts it, and trust ends where the file changes. What a
method is called and which parameters it has is asked once, in a process of its own, and kept;
so the window knows it without its code. Free of torch.
"""

from __future__ import annotations

from engine.extensions.activation import State, activate, renew
from engine.extensions.loading import implementation, validated
from engine.extensions.methods import AttackMethod, CompressionMethod, DatasetMethod, Method
from engine.extensions.trust import (
    add,
    is_trusted,
    makes_networks,
    network_files,
    remove,
    trust_network,
    unconfirmed,
)

__all__ = [
    "AttackMethod",
    "CompressionMethod",
    "DatasetMethod",
    "Method",
    "State",
    "activate",
    "add",
    "implementation",
    "is_trusted",
    "makes_networks",
    "network_files",
    "remove",
    "renew",
    "trust_network",
    "unconfirmed",
    "validated",
]
