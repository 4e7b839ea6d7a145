"""The page's channel client, told its stories by Node.js in virtual time; and its size."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

STORIES: Final = Path(__file__).with_name("roost_client.mjs")
CLIENT: Final = Path(__file__).parents[2] / "src" / "roost" / "web" / "static" / "roost.js"
CLIENT_BYTES_MAX: Final = 8 * 1024


def test_client_follows_the_protocol_through_losses_and_refusals(tmp_path: Path) -> None:
    module = tmp_path / "roost.mjs"  # older versions of Node.js tell a module by its name only
    module.write_bytes(CLIENT.read_bytes())
    node = shutil.which("node")
    assert node is not None, "Node.js is not installed; on Debian: apt-get install -y nodejs"
    done = subprocess.run(
        [node, "--test", str(STORIES)],
        env={**os.environ, "ROOST_CLIENT": module.as_uri()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_client_stays_small() -> None:
    assert len(gzip.compress(CLIENT.read_bytes(), mtime=0)) <= CLIENT_BYTES_MAX
