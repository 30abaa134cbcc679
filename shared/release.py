"""Which release of Plystra this code is."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

SERVICE_VERSION: Final = version("plystra-services")
