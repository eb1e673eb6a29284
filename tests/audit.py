"""Whether a package that we need has a known vulnerability, as `pip-audit` is told by the package index.

    python -m tests.audit

asks about all that is installed beside this Python. The exit status is 1 where there is one. Where the index does
not answer, or does not know the packages, that is said and is no failure: no network, no verdict.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

LONGEST = 120.0
"""Seconds that the index may take."""

OURS = "iridium-vm"
"""What no index knows."""


class Verdict(NamedTuple):
    """What came of it.

    Attributes:
        status: of the exit.
        text: for people.
    """

    status: int
    text: str


def judge(said: str, complaint: str) -> Verdict:
    """What `pip-audit --format json` means.

    Args:
        said: its standard output.
        complaint: its standard error.
    """
    try:
        packages = json.loads(said)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (complaint.strip().splitlines() or ["it says nothing"])[-1]
        return Verdict(0, f"NOT AUDITED: the vulnerability service does not answer: {last[:200]}")
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in {flaw['fix_versions'] or 'none'}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    asked = [package for package in packages if package["name"] != OURS]
    skipped = [package["name"] for package in asked if "skip_reason" in package]
    lines = []
    if skipped and len(skipped) == len(asked):
        lines.append(f"NOT AUDITED: the vulnerability service knows none of {len(asked)} packages")
    else:
        lines.append(f"{len(asked) - len(skipped)} packages audited, {len(found)} known vulnerabilities")
        lines += [f"NOT AUDITED: {', '.join(skipped)}"] if skipped else []
    return Verdict(1 if found else 0, "\n".join([*lines, *found]))


def main() -> int:
    """Ask, and say what came; the exit status."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--local"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        print(f"NOT AUDITED: the vulnerability service does not answer in {LONGEST:g} s")
        return 0
    verdict = judge(done.stdout, done.stderr)
    print(verdict.text)
    return verdict.status


if __name__ == "__main__":
    sys.exit(main())
