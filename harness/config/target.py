"""Builds the requests for the configured target. Suite and load share it."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
