# SPDX-License-Identifier: Apache-2.0
"""Signed answers to proposals: private keys of operators, and the public ones that the gate knows (extra `web`).

No secret crosses the graph, and a signature is worth nothing elsewhere: it is of one answer to one proposal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from spatial_vlm_ros.errors import DependencyError, FileError, InputError, RejectedError
from spatial_vlm_ros.files.reading import read_lines
from spatial_vlm_ros.manipulation.approval.proposal import Decision, check_operator

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
except ImportError as error:
    raise DependencyError("cryptography", "pip install cryptography") from error

Operators = Mapping[str, Sequence[Ed25519PublicKey]]
"""Public keys by the operator's name."""
_FORM = "spatial_vlm_ros approval 1"
_ENROL = "enrol the operator with spatial-vlm enrol, which prints a line for the gate's operators_file"


def signed_form(proposal: Any, approve: bool, operator: str, reason: str = "") -> bytes:
    """Bytes that an operator signs to answer a message spatial_vlm_interfaces/Proposal (docs/approval.md)."""
    stamp, valid = (str(at.sec * 10**9 + at.nanosec) for at in (proposal.scene_stamp, proposal.valid_for))
    asked = (proposal.goal_id, stamp, proposal.plan_hash, proposal.nonce, valid, proposal.instruction, proposal.motion)
    said = ("approve" if approve else "reject", operator, reason)
    return _netstrings(_FORM, *asked, _netstrings(*proposal.steps), *said)


def new_key(operator: str) -> tuple[str, str]:
    """A new private key (PEM), and the operator's line for the gate's operators_file."""
    check_operator(operator)
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH)
    pem = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    return pem.decode(), f"{operator} {public.decode()}"


def signed_answer(proposal: Any, operator: str, pem: str, approve: bool = True, reason: str = "") -> dict[str, Any]:
    """Fields of a request of `approve` that answers a Proposal; raises InputError if `pem` is not an Ed25519 key."""
    key: Any = None
    with suppress(ValueError, TypeError):
        key = forms.load_pem_private_key(pem.encode(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError("private key", "other data", "an Ed25519 key as PEM without a password", _ENROL)
    named = {name: getattr(proposal, name) for name in ("goal_id", "scene_stamp", "plan_hash")}
    signature = list(key.sign(signed_form(proposal, approve, operator, reason)))
    return {**named, "approve": approve, "decided_by": operator, "reason": reason, "signature": signature}


def read_operators(path: Path) -> Operators:
    """Read lines such as "ann ssh-ed25519 AAAA…"; no file = nobody. Raises FileError, also if others may change it."""
    if not path.exists():
        return {}
    if path.stat().st_mode & 0o022:
        raise FileError(path, "users other than its owner may change it", f"run chmod go-w {path}")
    found: dict[str, list[Ed25519PublicKey]] = {}
    for number, line in read_lines(path, _ENROL):
        name, _, public = line.partition(b" ssh-ed25519 ")
        try:
            check_operator(name.decode())
            key: Any = forms.load_ssh_public_key(b"ssh-ed25519 " + public)
        except (InputError, ValueError) as error:
            reason = f"it is not a name and an Ed25519 public key: {error}"
            raise FileError(path, reason, _ENROL, f"line {number}") from error
        found.setdefault(name.decode(), []).append(key)
    return found


def check_signed(decision: Decision, proposal: Any, operators: Operators) -> None:
    """Raise RejectedError unless a known operator has signed this decision on a message Proposal."""
    about, operator = f"goal {decision.goal_id}", decision.operator
    if operator not in operators:
        raise RejectedError(about, f"{operator!r} is not one of the gate's {len(operators)} operators", _ENROL)
    signed = signed_form(proposal, decision.approve, operator, decision.reason)
    for key in operators[operator]:
        with suppress(InvalidSignature):
            return key.verify(decision.signature, signed)
    why = f"it is not signed by {operator!r} for this answer to this proposal"
    raise RejectedError(about, why, f"sign what the gate published; if the key is lost, {_ENROL}")


def _netstrings(*parts: str | bytes) -> bytes:
    coded = (part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass") for part in parts)
    return b"".join(b"%d:%s," % (len(part), part) for part in coded)
