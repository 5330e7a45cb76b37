"""Text that stands in for a model's: words from a list, the same for the same seed and prompt."""

import hashlib

_LIST = (
    "the a one this that some each when where while as so and but or if then than over under near far "
    "light night day year hour road river hill field stone water wind rain snow fire tree leaf root seed "
    "bird horse fish dog cat bear wolf bee hand head heart eye voice word name story song book page line "
    "house door room wall roof floor table chair bread salt milk wine apple pear oil honey city street "
    "bridge ship train wheel engine lamp clock glass iron wood gold silver paper cloth thread knot rope "
    "goes comes takes gives makes finds keeps holds turns runs walks sleeps wakes waits asks tells knows "
    "sees hears feels grows falls rises opens closes begins ends moves stays reads writes counts old new "
    "small great long short high low warm cold soft hard quick slow bright dark clear quiet loud plain"
)
_WORDS = _LIST.split()
_RING = [_WORDS[index * 61 % len(_WORDS)] for index in range(len(_WORDS))]


def start_of(seed: int | None, prompt: str) -> int:
    """Where in the ring of words the answer to this prompt begins."""
    digest = hashlib.blake2b(f"{seed}\n{prompt}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def natural_tokens(start: int) -> int:
    """How long the answer is when nothing cuts it short: 32 to 287 tokens."""
    return 32 + (start >> 8) % 256


def text(start: int, first: int, last: int) -> str:
    """The words `first` (counted from 0) to `last` - 1 of an answer; all but word 0 begin with a space."""
    size = len(_RING)
    words = " ".join(_RING[(start + index) % size] for index in range(first, last))
    return words if first == 0 or not words else f" {words}"


def estimated_tokens(prompt: str) -> int:
    """About what a tokenizer would count: a token per word or per four characters, whichever is more."""
    return max(1, len(prompt.split()), len(prompt) // 4)
