"""Token estimates without a tokenizer."""

from __future__ import annotations


def prompt_tokens(body: bytes) -> int:
    """Estimates the tokens in a request body (text with its JSON around it), script-aware.

    Four ASCII characters a token, one token for any other character: four characters a token for
    everything would count Chinese at less than half.
    """
    if body.isascii():
        return len(body) // 4
    text = body.decode("utf-8", "replace")
    wide = min(len(text), (len(body) - len(text) + 1) // 2)
    return (len(text) - wide) // 4 + wide
