"""Train the byte-level BPE tokenizer of the demo model.

Usage: python make_tokenizer.py TEXT_DIR MODEL_DIR

It writes tokenizer.json and tokenizer_config.json. Every kind of text gives
the same number of characters. No special token is added when a text is encoded.
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 2048
END_OF_TEXT = "<|endoftext|>"
CHARACTERS_PER_KIND = 3_000_000


def main(text_dir: Path, model_dir: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [path.read_text(encoding="utf-8")[:CHARACTERS_PER_KIND] for path in sorted(text_dir.glob("*.txt"))]
    tokenizer.train_from_iterator(texts, trainer)
    model_dir.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(model_dir / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "unk_token": END_OF_TEXT,
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
    }
    (model_dir / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    print("vocabulary", tokenizer.get_vocab_size())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
