"""What is installed, beside what is pinned: versions.py REQUIREMENTS

Prints one JSON line: `versions` for the report, `differs` with the pinned packages that are missing or of another version.
"""

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def installed(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


lines = [line.strip() for line in Path(sys.argv[1]).read_text().splitlines()]
pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
differs = [package for package, wanted in pinned.items() if (installed(package) or "").split("+")[0] != wanted]
versions = ""
if not differs:
    import torch  # its own word says which build it is

    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}, diffusers {version('diffusers')}"
print(json.dumps({"versions": versions, "differs": differs}))
