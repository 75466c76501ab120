"""The scene: two chains to which things happen, for the boards' tests and for people who draw boards.

    with Scene(tmp) as scene, scene.playing() as players:
        ...

`python -m tests.scene --for 5000 --addresses FILE` runs it for so many seconds and writes where its servers are.
"""

from tests.scene.stage import Scene

__all__ = ["Scene"]
