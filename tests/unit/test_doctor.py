"""docs/operating.md tells every check of the doctor, and what it tells is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from shared.ctl.doctor.checks import CHECKS

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("\n## Doctor\n")[2].partition("\n## ")[0]
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([\w ]+) \| (.+) \|$", re.MULTILINE)
OF = {("",): "both together", ("authz", "audit"): "each", ("authz",): "authz", ("audit",): "audit"}


def test_the_page_lists_every_check_in_its_order_with_what_it_proves():
    services: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for check in CHECKS:
        key = (check.name, check.group, check.proves)
        services[key] = (*services.get(key, ()), check.service)
    wanted = [(name, group, OF[of], proves) for (name, group, proves), of in services.items()]
    assert ROW.findall(SECTION) == wanted


def test_no_two_checks_have_one_title():
    titles = [check.title for check in CHECKS]
    assert len(titles) == len(set(titles))
