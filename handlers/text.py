"""Example: count the words of a text, in a thread."""

from __future__ import annotations

import re
from collections import Counter

from taskqueue import task

_WORD = re.compile(r"\w+")


@task
def word_count(text: str) -> dict[str, object]:
    """Words, different words, and the ten most frequent. A plain ``def`` runs in a thread."""
    words = Counter(word.lower() for word in _WORD.findall(text))
    return {"words": words.total(), "different": len(words), "top": words.most_common(10)}
