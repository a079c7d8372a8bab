"""Constructors' signatures for help() and completion: the metaclass of NetKet's pytrees hides them."""

import inspect
from inspect import Parameter, Signature

__all__ = ["ConstructorSignature"]


class ConstructorSignature:
    """A class attribute ``__signature__``: the signature of the constructor of whichever class is asked.

    Args:
        passed_on: Whether ``**options`` go to the next constructor among the bases: its options are then listed, too.

    Example:
        >>> import inspect
        >>> class Base:
        ...     __signature__ = ConstructorSignature(passed_on=True)
        ...     def __init__(self, a, *, seed=0): ...
        >>> class Child(Base):
        ...     def __init__(self, a, *, width=1, **options): ...
        >>> str(inspect.signature(Child))
        '(a, *, width=1, seed=0)'
    """

    def __init__(self, *, passed_on: bool = False) -> None:
        self.passed_on = passed_on

    def __get__(self, instance: object | None, owner: type) -> Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        listed: dict[str, Parameter] = {}
        for base in owner.__mro__:
            if "__init__" not in vars(base):
                continue
            inherited = bool(listed)
            _, *own = inspect.signature(vars(base)["__init__"]).parameters.values()
            rest = [p for p in own if p.kind is Parameter.VAR_KEYWORD]
            for p in own:
                if p not in rest and p.name not in listed:
                    listed[p.name] = p.replace(kind=Parameter.KEYWORD_ONLY) if inherited else p
            if not (rest and self.passed_on):
                listed |= {p.name: p for p in rest}
                break
        return Signature(list(listed.values()))
