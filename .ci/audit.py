"""Checks what is installed in this environment: licences that do not go with MIT, and known vulnerabilities."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

UNWANTED = "GPL;AGPL;SSPL;Proprietary"
ANSWER_S = 300
BIN = Path(sys.executable).parent


def check_licences() -> bool:
    """Whether every licence goes with ours; prints a summary."""
    command = [BIN / "pip-licenses", f"--python={sys.executable}", "--from=mixed", "--partial-match", "--summary", f"--fail-on={UNWANTED}"]
    return subprocess.run(command, check=False, timeout=ANSWER_S).returncode == 0


def check_vulnerabilities() -> bool:
    """Whether no vulnerability is known; where the advisory service is out of reach, says so and is content."""
    command = [BIN / "pip-audit", f"--path={sysconfig.get_path('purelib')}", "--format=json", "--progress-spinner=off", "--timeout=10"]
    found = subprocess.run(command, check=False, timeout=ANSWER_S, capture_output=True, text=True)
    try:
        packages = json.loads(found.stdout)["dependencies"]
    except (ValueError, KeyError):
        packages = []
    looked_up = [one for one in packages if "vulns" in one]
    for one in looked_up:
        for vulnerability in one["vulns"]:
            fixed = ", ".join(vulnerability["fix_versions"]) or "nothing yet"
            print(f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in {fixed}")
    if not looked_up:
        print("vulnerabilities: not checked, the advisory service is out of reach")
        return True
    print(f"vulnerabilities: {len(looked_up)} packages checked, {len(packages) - len(looked_up)} unknown to the service")
    return not any(one["vulns"] for one in looked_up)


if __name__ == "__main__":
    sys.exit(not all([check_licences(), check_vulnerabilities()]))
