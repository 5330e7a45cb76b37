"""Every reason is explained, the page is what is generated, and what the core says is among them."""

from __future__ import annotations

from pathlib import Path

from ingle_core.placement.reasons import NAMES, TEXTS
from ingle_core.power import reasons as power
from ingle_kit.objects import Reason
from ingle_kit.objects.reasons import EXPLANATIONS
from ingle_kit.objects.reasons.__main__ import main, page

PAGE = Path(__file__).parents[3] / "docs" / "reasons.md"


def test_every_reason_is_explained_in_full_sentences() -> None:
    assert set(EXPLANATIONS) == set(Reason)
    for reason, explanation in EXPLANATIONS.items():
        assert explanation.meaning.endswith("."), reason
        assert explanation.action.endswith("."), reason
        assert explanation.where, reason


def test_the_page_is_what_the_generator_makes() -> None:
    assert PAGE.read_text() == page(), "run python -m ingle_kit.objects.reasons"
    assert main(["--check"]) == 0


def test_every_verdict_of_placement_has_a_section_with_the_words_that_kube_scheduler_counts() -> None:
    sections = {part.partition("\n")[0]: part for part in page().split("\n### ")[1:]}
    assert list(sections) == [NAMES[code] for code in sorted(TEXTS)]
    for code, text in TEXTS.items():
        assert f'"{text}"' in sections[NAMES[code]]
        assert EXPLANATIONS[Reason(NAMES[code])].action in sections[NAMES[code]]
        assert f"](#{NAMES[code].lower()})" in page()


def test_what_placement_and_power_say_is_explained() -> None:
    codes = {value for name, value in vars(power).items() if name.isupper() and isinstance(value, str)}
    assert codes | set(NAMES.values()) <= {reason.value for reason in Reason}
