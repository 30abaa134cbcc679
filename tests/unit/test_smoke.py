"""docs/operating.md tells every step of `plystractl smoke`, in its order."""

from __future__ import annotations

import re
from pathlib import Path

from shared.ctl.smoke.steps import steps

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## After an upgrade: smoke\n")[2].partition("\n## ")[0]


def test_the_page_lists_every_step():
    told = [
        name for cell in re.findall(r"^\| (`.+?) \| ", SECTION, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    ]
    assert sorted(told) == sorted(step.name for step in steps(seeded=True))
