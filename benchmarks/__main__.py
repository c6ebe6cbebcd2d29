"""`./dev bench [NAME …]`: runs the named benchmarks, or all; each result is one JSON object a line on stdout, progress
goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from cli import output

BENCHMARKS: Mapping[str, str] = {
    "counting": "benchmarks.counting",
    "written": "benchmarks.written",
    "commits": "benchmarks.commits",
    "worker": "benchmarks.worker",
    "latency": "benchmarks.latency",
    "importing": "benchmarks.importing",
    "recovery": "benchmarks.recovery",
    "takeover": "benchmarks.takeover",
    "memory": "benchmarks.memory",
    "growth": "benchmarks.growth",
    "reading": "benchmarks.reading",
    "rows": "benchmarks.rows",
    "blocks": "benchmarks.blocks",
    "tenants": "benchmarks.tenants",
    "listeners": "benchmarks.listeners",
    "page": "benchmarks.page",
    "peers": "benchmarks.peers.run",
}
"""Name -> module with `run() -> Iterable[dict]`."""


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        results: Iterable[dict[str, Any]] = importlib.import_module(BENCHMARKS[name]).run()
        for result in results:
            print(json.dumps({"benchmark": name, **result}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(output.run(lambda: main(sys.argv[1:])))
