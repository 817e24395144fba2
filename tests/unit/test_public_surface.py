"""What is public, and the program that uses all of it (`tests/typing/public_surface.py`)."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import hpc
from hpc import errors

PROGRAM = Path(__file__).resolve().parents[1] / "typing" / "public_surface.py"


CLASSES = (hpc.Client, hpc.Graph, hpc.Job, hpc.Executor, hpc.LocalCluster)


def names_used() -> set[str]:
    """Every name and attribute that the program mentions."""
    nodes = list(ast.walk(ast.parse(PROGRAM.read_text("utf-8"))))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_every_public_name_can_be_had_and_is_used_by_the_typing_program() -> None:
    """Else a change of its signature would reach users before it reaches us."""
    assert all(getattr(hpc, name) is not None for name in hpc.__all__)
    assert set(hpc.__all__) <= names_used()
    assert set(hpc.__all__) <= set(dir(hpc))  # TAB at a prompt offers them


def test_every_public_method_is_used_by_the_typing_program() -> None:
    """A class is public with all that it offers."""
    offered = {
        name
        for kind in CLASSES
        for name in vars(kind)
        if not name.startswith("_") and inspect.isfunction(getattr(kind, name))
    }
    assert offered <= names_used()


def test_every_error_is_used_by_the_typing_program() -> None:
    """Whoever calls hpc catches these by name."""
    raised = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.HpcError)
    }
    assert raised <= names_used()


def test_public_names_have_docstrings() -> None:
    """`help(hpc.Client)` is the manual that everyone has at hand."""
    for kind in CLASSES:
        public = [name for name in vars(kind) if not name.startswith("_")]
        assert kind.__doc__
        assert not [name for name in public if not inspect.getdoc(getattr(kind, name))]
