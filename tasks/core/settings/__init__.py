"""Every setting of a run: one frozen tree of groups."""

from __future__ import annotations

from tasks.core.settings.deep import Deep
from tasks.core.settings.engine import Engine
from tasks.core.settings.publish import Publish
from tasks.core.settings.ranking import Ranking
from tasks.core.settings.select import Select
from tasks.core.settings.speech import Speech
from tasks.core.settings.tree import Audit, Estimate, Fast, Limits, Settings, Windows

__all__ = [
    "Audit",
    "Deep",
    "Engine",
    "Estimate",
    "Fast",
    "Limits",
    "Publish",
    "Ranking",
    "Select",
    "Settings",
    "Speech",
    "Windows",
]
