"""Conversations are drawn from an intent, stay inside their call, and hold what breaks careless code."""

from hypothesis import given, settings
from hypothesis import strategies as st

from devtools.cloud.conversations import LONE_SURROGATE, NUL, compose
from devtools.cloud.plan import Intent

intents: st.SearchStrategy[Intent] = st.sampled_from([0, 1, 2])


@settings(deadline=None)
@given(st.text(max_size=10), intents, st.integers(1, 4), st.booleans())
def test_turns_rise_inside_the_call(reference: str, intent: Intent, seconds: int, short: bool) -> None:  # noqa: FBT001
    """Offsets rise strictly, and the last word falls before the call ends."""
    turns = compose(7, reference, name="张三", intent=intent, seconds=seconds, short=short)
    offsets = [turn.offset_ms for turn in turns]
    assert offsets == sorted(set(offsets))
    assert 0 <= offsets[0] <= offsets[-1] < seconds * 1000
    assert turns == compose(7, reference, name="张三", intent=intent, seconds=seconds, short=short)


def test_hard_characters_are_rare_but_there() -> None:
    """NUL and half surrogates occur in a few of many conversations; names with braces are no format."""
    texts = [
        "".join(turn.script for turn in compose(7, str(number), name="{x}", intent=1, seconds=3, short=False))
        for number in range(600)
    ]
    assert 0 < sum(NUL in text for text in texts) < 60
    assert 0 < sum(LONE_SURROGATE in text for text in texts) < 60
    assert any("😊" in text for text in texts)
    assert any('"' in text for text in texts)
