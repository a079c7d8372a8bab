"""Attributes that other libraries' objects may lack."""

from netket.utils.types import PyTree


def held(thing: object, name: str) -> PyTree:
    """The attribute, or None where the object has none: private names differ from class to class."""
    return getattr(thing, name, None)
