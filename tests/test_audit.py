"""What `pip-audit` says, and what it means: a silent service is no verdict, a vulnerability is a failure."""

from __future__ import annotations

import json

import pytest

from tests.audit import judge

FINE = {"name": "twisted", "version": "1.0", "vulns": []}
OURS = {"name": "iridium-vm", "skip_reason": "not found"}
UNKNOWN = {"name": "click", "skip_reason": "not found"}
FLAWED = {
    "name": "msgspec",
    "version": "0.1",
    "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["0.2"], "aliases": [], "description": "bad"}],
}


def said(*packages: object) -> str:
    """What the tool prints of packages."""
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_vulnerability_fails() -> None:
    """One is enough, whatever else could not be asked."""
    verdict = judge(said(FINE, OURS, UNKNOWN, FLAWED), "Found 1 known vulnerability in 1 package")
    assert verdict.status == 1
    assert "msgspec 0.1: PYSEC-2026-1, fixed in ['0.2']" in verdict.text
    assert "NOT AUDITED: click" in verdict.text


def test_no_vulnerability() -> None:
    """Our own package is on no index, and that is not worth a word."""
    assert judge(said(FINE, OURS), "") == (0, "1 packages audited, 0 known vulnerabilities")


@pytest.mark.parametrize(
    ("output", "complaint", "words"),
    [
        ("", "Traceback\nConnectionError: no such host\n", "does not answer: ConnectionError: no such host"),
        ("", "", "it says nothing"),
        ("[]", "", "does not answer"),
        (said(OURS, UNKNOWN), "", "knows none of 1 packages"),
    ],
)
def test_a_service_that_does_not_tell(output: str, complaint: str, words: str) -> None:
    """It is said that nothing was audited, which `pip-audit` itself calls no known vulnerabilities."""
    verdict = judge(output, complaint)
    assert verdict.status == 0
    assert verdict.text.startswith("NOT AUDITED")
    assert words in verdict.text
