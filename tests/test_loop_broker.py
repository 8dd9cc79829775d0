"""SIGKILL of the broker, of its controller, or of both and the boxes, while calls of a search are under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from broker_cases import CALL_POINTS, dies, lost, misbooked
from crash_cases import Place, lineage, places, sitting

from eureka_agent.runs.crashpoints import POINTS

Places = Callable[[str], Place]


@pytest.fixture(scope="module")
def place() -> Iterator[Places]:
    with places() as maker:
        yield maker


@pytest.fixture(scope="module")
def uninterrupted(place: Places) -> str:
    """The lineage that every other run must reach; nobody is asked, for the answers are the same."""
    whole = place("whole")
    sitting(whole)
    return lineage(whole)


@pytest.mark.parametrize("keyed", [False, True], ids=["without-a-key", "with-a-key"])
def test_a_broker_that_dies_over_an_answer_costs_that_answer_and_no_other(
    keyed: bool, uninterrupted: str, place: Places
) -> None:
    """It takes the key along: without one, the sitting goes on with another broker; else it ends, and is resumed."""
    here = place(f"answered-{keyed}")
    assert dies("broker.answered", 1, "broker", keyed, here, uninterrupted) == []
    paid = here.lines("paid")
    assert lost(here) & set(paid)
    assert len(paid) == 7 + len(lost(here) & set(paid))


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("broker", "sent.renamed"),
        ("broker", "call.received.after"),
        ("controller", "call.sent.after"),
        ("all", "broker.answered"),
        ("all", "outcome.renamed"),
        ("all", "call.sent.after"),
        ("all", "call.received.inside"),
    ],
)
def test_who_dies_around_a_call_the_search_ends_the_same(
    what: str, name: str, uninterrupted: str, place: Places
) -> None:
    """`make crash` tries every crash point of the broker, and every one of the controller around a call."""
    assert dies(name, 1, what, False, place(f"{what}-{name}"), uninterrupted, surely=True) == []


@pytest.mark.parametrize("what", ["broker", "all"])
def test_an_answer_that_the_provider_keeps_is_not_lost_with_its_broker(
    what: str, uninterrupted: str, place: Places
) -> None:
    here = place(f"kept-{what}")
    models = here.root / "models.yaml"
    models.write_text("models: {openai/test: {store: true}}")
    here.models_file = str(models)
    assert dies("broker.answered", 1, what, False, here, uninterrupted) == []
    assert lost(here) == set()
    assert len(here.lines("paid")) == 7


def test_a_book_that_differs_from_the_journal_is_noticed(place: Places) -> None:
    here = place("differs")
    sitting(here)
    bills = [f"{line}/1" for line in here.lines("paid")]
    book = here.root / "paid"
    book.write_text("\n".join(bills))
    assert misbooked(here) == []
    book.write_text("\n".join([*bills, "g0c0/propose/2"]))
    assert misbooked(here) == ["paid and forgotten: {'g0c0/propose/2'}"]
    book.write_text("\n".join(bills[1:]))
    assert misbooked(here) == [f"never paid: {{{bills[0]!r}}}"]


def test_the_crash_points_around_a_call_are_the_controller_s() -> None:
    assert set(CALL_POINTS) < set(POINTS)
