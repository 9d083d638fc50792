"""Token streams of the demo corpus, one per kind of text."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

SEPARATOR = "\n\n\n"
END_OF_TEXT = "<|endoftext|>"


def load_streams(text_dir: Path, tokenizer_file: Path) -> dict[str, np.ndarray]:
    """Encode each text file; every third gap between documents becomes an end token."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    end = tokenizer.token_to_id(END_OF_TEXT)
    streams = {}
    for path in sorted(text_dir.glob("*.txt")):
        documents = path.read_text(encoding="utf-8").strip("\n").split(SEPARATOR)
        pieces = [SEPARATOR.join(documents[at : at + 3]) for at in range(0, len(documents), 3)]
        encoded = tokenizer.encode_batch(pieces)
        streams[path.stem] = np.concatenate([np.array([*one.ids, end], np.uint16) for one in encoded])
    return streams


class Batches:
    """Balanced batches: each kind in turn gives its next window in shuffled order."""

    def __init__(self, streams: dict[str, np.ndarray], length: int, seed: int) -> None:
        self.length = length
        self.random = np.random.default_rng(seed)
        self.streams = list(streams.values())
        self.orders: list[list[int]] = [[] for _ in self.streams]
        self.turn = 0

    def window(self) -> np.ndarray:
        kind = self.turn % len(self.streams)
        self.turn += 1
        stream = self.streams[kind]
        if not self.orders[kind]:
            shift = int(self.random.integers(self.length))
            starts = np.arange(shift, len(stream) - self.length - 1, self.length)
            self.orders[kind] = self.random.permutation(starts).tolist()
        start = self.orders[kind].pop()
        return stream[start : start + self.length + 1].astype(np.int64)

    def next(self, size: int) -> np.ndarray:
        return np.stack([self.window() for _ in range(size)])
