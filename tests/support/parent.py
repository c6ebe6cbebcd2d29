"""A parent that supervises two sleeping children, for tests that kill it: `python parent.py FOLDER wrapped|reaper`."""

import os
import sys
from pathlib import Path

from cli.local.supervisor import Supervisor


def main() -> None:
    folder, wrapped = Path(sys.argv[1]), sys.argv[2] == "wrapped"
    with Supervisor(folder, wrapped=wrapped) as supervisor:
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        children = [supervisor.start(name, sleep, os.environ) for name in ("one", "two")]
        print(*(child.process.pid for child in children), flush=True)
        supervisor.watch()


if __name__ == "__main__":
    main()
