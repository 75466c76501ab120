"""Which RPC methods chainwatch asks a node, read off its own code: what a whitelist has to allow.

A call is written `rpc.call("getmempoolinfo", …)`, or as one of the helpers of `BitcoinNode`. Reading the code
finds also what is asked only sometimes, such as the header of a new block.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType

from chainwatch.exposition.collector import Registration
from chainwatch.families.bitcoin import node
from chainwatch.families.bitcoin.node import BitcoinNode

_FAMILY = node.__name__.rpartition(".")[0]
# Whoever may ask which debug categories are on may also switch them. Where it is refused, the log's lines tell.
_NOT_NEEDED = frozenset({"logging"})


def methods_of(registrations: Iterable[Registration[BitcoinNode]]) -> list[str]:
    """Return the methods that these collectors ask, and those asked whatever collectors are on; in order."""
    found = set(_always())
    for registration in registrations:
        found |= asked_by(import_module(registration.build.__module__))
    return sorted(found - _NOT_NEEDED)


def whitelist(user: str, registrations: Iterable[Registration[BitcoinNode]]) -> str:
    """Return the line of the node's configuration that allows a user just these methods."""
    return f"rpcwhitelist={user}:{','.join(methods_of(registrations))}"


@cache
def asked_by(module: ModuleType) -> frozenset[str]:
    """Return the methods that one module's code asks."""
    helpers = _helpers() if module is not node else {}
    return frozenset(_asked(ast.parse(inspect.getsource(module)), helpers))


@cache
def _always() -> frozenset[str]:
    """What the tracker and the log follower ask, whatever collectors are on."""
    names = []
    for package in (f"{_FAMILY}.tracker", f"{_FAMILY}.log"):
        names += [f"{package}.{module.name}" for module in pkgutil.iter_modules(import_module(package).__path__)]
    return frozenset().union(*(asked_by(import_module(name)) for name in names))


@cache
def _helpers() -> Mapping[str, frozenset[str]]:
    """The methods of `BitcoinNode` that ask something."""
    tree = ast.parse(inspect.getsource(node))
    functions = (part for part in ast.walk(tree) if isinstance(part, ast.AsyncFunctionDef))
    return {function.name: frozenset(_asked(function, {})) for function in functions}


def _asked(tree: ast.AST, helpers: Mapping[str, frozenset[str]]) -> Iterator[str]:
    loops = {
        part.target.id: part.iter
        for part in ast.walk(tree)
        if isinstance(part, ast.For | ast.comprehension) and isinstance(part.target, ast.Name)
    }
    for part in ast.walk(tree):
        if not (isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute)):
            continue
        if part.func.attr in helpers:
            yield from helpers[part.func.attr]
        elif part.func.attr == "call" and part.args:
            method = part.args[0]
            yield from _literals(loops.get(method.id, method) if isinstance(method, ast.Name) else method)


def _literals(argument: ast.expr) -> Iterator[str]:
    """The method's name, or each of those that the code chooses from."""
    for part in ast.walk(argument):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
