"""`python -m bench.slow_disk 1 bench.commits`: the same measurement on a disk whose syncs take 1 ms longer.

What a commit costs is the disk's business, and disks differ by a hundred: where a sync takes 0.1 ms, as on a local
drive with a cache of its own, sharing it gains little; where it takes 1 to 5 ms, as on most network storage, a lot.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from bench.load import BUILD, compiler

SOURCE = Path(__file__).with_name("slow_sync.c")


def main() -> int:
    made = argparse.ArgumentParser("python -m bench.slow_disk", description=(__doc__ or "").partition("\n")[0])
    made.add_argument("sync_ms", type=float, help="how much longer each sync takes")
    made.add_argument("module", help="what is run on it: bench, or bench.commits")
    made.add_argument("arguments", nargs=argparse.REMAINDER, help="what that is given")
    options = made.parse_args()
    if compiler() is None:
        made.error("the slow disk is written in C: install a C compiler (cc)")
    BUILD.mkdir(exist_ok=True)
    library = BUILD / "slow_sync.so"
    subprocess.run([str(compiler()), "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), "SLOW_SYNC_US": str(round(options.sync_ms * 1000))}
    command = [sys.executable, "-m", options.module, *options.arguments]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
