"""What speakers agreed to share, and what was learnt from it, on their own disk. Torch-free: the server imports it."""

from myna.adapt.store.database import StoreError
from myna.adapt.store.rounds import Pace, Rounds
from myna.adapt.store.speech import (
    AlreadyKept,
    Consent,
    Heard,
    Kept,
    Quotas,
    Source,
    SpeakerSummary,
    Store,
    check_speaker,
)
from myna.adapt.store.versions import InUse, Version, Versions

__all__ = [
    "AlreadyKept",
    "Consent",
    "Heard",
    "InUse",
    "Kept",
    "Pace",
    "Quotas",
    "Rounds",
    "Source",
    "SpeakerSummary",
    "Store",
    "StoreError",
    "Version",
    "Versions",
    "check_speaker",
]
