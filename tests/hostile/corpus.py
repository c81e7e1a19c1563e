"""All hostile behaviours."""

from __future__ import annotations

from . import bodies, chunks, codings, endings, events, heads, json_data, mixtures, oddities, timing, tls
from .behaviour import Behaviour

MODULES = (heads, bodies, chunks, codings, events, json_data, timing, tls, endings, oddities, mixtures)
CORPUS: dict[str, Behaviour] = {
    behaviour.name: behaviour for module in MODULES for behaviour in module.BEHAVIOURS
}
