"""help() and completion see the arguments of drivers and callbacks, which NetKet's metaclass hides."""

import inspect

import pytest

import netket_qsntk as qs


def classes() -> list[type]:
    found = [getattr(m, name) for m in (qs.driver, qs.callbacks) for name in m.__all__]
    return [thing for thing in found if inspect.isclass(thing)]


@pytest.mark.parametrize("thing", classes(), ids=lambda thing: thing.__name__)
def test_signature_is_that_of_the_constructor(thing: type) -> None:
    listed = inspect.signature(thing).parameters
    own = inspect.signature(thing.__init__).parameters
    assert "args" not in listed
    assert [n for n in own if n not in ("self", "options")] == list(listed)[
        : len(own) - 1 - ("options" in own)
    ]


def test_options_that_are_passed_on_are_listed() -> None:
    shared = {"n_train", "seed", "loss", "batch_size", "trainable", "evaluate_every"}
    for thing in (qs.driver.QSNTKDriver, qs.driver.LinearizedDriver, qs.driver.InfiniteWidthDriver):
        listed = inspect.signature(thing).parameters
        assert shared <= set(listed)
        assert not any(p.kind is p.VAR_KEYWORD for p in listed.values())
