"""The CometBFT story: one's own validator falls silent and comes back, then the whole chain does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from tests.demo.stage import Narrator, Stage, stage
from tests.lab import CometbftNet, CometbftNode, Exporter, wait_until

OURS = "ours"
HALT_SECONDS = 10  # at least, so that a person can look at it


@contextlib.contextmanager
def cometbft(folder: Path, narrator: Narrator) -> Iterator[None]:
    """Start everything, tell the story, and leave it running for the caller."""
    narrator.say(
        "starting a chain of four validators, a full node with an exporter beside it, Prometheus, Alertmanager"
    )
    with (
        CometbftNet(folder / "net") as net,
        Exporter(folder / "exporter", net.full, settings=_our_settings(folder, net)) as watch,
        stage(
            folder,
            {"cometbft": [watch.address]},
            narrator,
            logs={
                "cometbft": [
                    {"chain": net.chain_id, "instance": watch.address, "__path__": str(net.full.log_file)},
                ]
            },
        ) as on_stage,
    ):
        for name, url in (
            ("who votes, live", watch.url + "/consensus"),
            ("the exporter", watch.url + "/"),
            ("Prometheus", on_stage.prometheus.url + "/alerts"),
            ("Alertmanager", on_stage.alertmanager.url + "/"),
        ):
            narrator.say(f"open in a browser: {url}  ({name})")
        _blocks_arrive(on_stage, net)
        _our_validator_falls_silent(on_stage, net.validators[3])
        _chain_halts(on_stage, net, net.validators[1:3])
        yield


def _our_settings(folder: Path, net: CometbftNet) -> dict[str, str | bool | None]:
    """The fourth validator is ours; the others have names."""
    names = folder / "validators.yml"
    names.write_text(yaml.safe_dump({node.address: node.name for node in net.validators}))
    return {"validators.own": f"{net.validators[3].address}={OURS}", "validators.file": str(names)}


def _blocks_arrive(on_stage: Stage, net: CometbftNet) -> None:
    on_stage.prometheus.wait_for("cometbft_validators_missing == 0", timeout=60)
    # The first blocks after the start of a net are no measure; alerts that compare need some that are.
    on_stage.prometheus.wait_for('cometbft_heights_settled_total{how="watched"} >= 10', timeout=60)
    height = net.tx("story=told")
    on_stage.narrator.say(f"a block comes each second and all four sign; block {height} has our transaction")


def _our_validator_falls_silent(on_stage: Stage, ours: CometbftNode) -> None:
    narrator = on_stage.narrator
    narrator.say("our validator is frozen: the others go on without it, and lose a round at its every turn to propose")
    began = time.time()
    ours.freeze()
    took = on_stage.expect("CometbftValidatorMissing", "firing", since=began, validator=ours.address)
    narrator.say(f"the page for our validator came {took:.1f} s after it froze")
    narrator.say("it is thawed")
    began = time.time()
    ours.thaw()
    took = on_stage.expect("CometbftValidatorMissing", "resolved", since=began, validator=ours.address)
    narrator.say(f"the resolved notice came {took:.1f} s after that")


def _chain_halts(on_stage: Stage, net: CometbftNet, victims: Sequence[CometbftNode]) -> None:
    narrator = on_stage.narrator
    narrator.say(
        f"two others are frozen ({' and '.join(node.name for node in victims)}): half of the power is not enough"
    )
    began = time.time()
    for node in victims:
        node.freeze()
    took = on_stage.expect("CometbftChainHalted", "firing", since=began)
    narrator.say(f"the page for the halt came {took:.1f} s after they froze; /consensus shows who is missing")
    wait_until(lambda: time.time() > began + HALT_SECONDS, "the halt to last", timeout=HALT_SECONDS + 5)
    height = net.height
    narrator.say("they are thawed")
    began = time.time()
    for node in victims:
        node.thaw()
    net.wait_height(height + 1)
    narrator.say(f"block {height + 1} came {time.time() - began:.1f} s after that")
    took = on_stage.expect("CometbftChainHalted", "resolved", since=began)
    narrator.say(f"the resolved notice came {took:.1f} s after they thawed")
