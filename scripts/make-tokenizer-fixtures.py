"""Makes test/fixtures/tokenizers.json: two tiny vocabularies, and tokens of awkward texts by tokenizers (Rust).

Pre-tokenizers come from transformers' own GGUF reader and tokenizers' own steps, not from our table.
usage: python scripts/make-tokenizer-fixtures.py   (needs transformers; checked with transformers 5.24.0, tokenizers 0.23.3)
"""

import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
from transformers.tokenization_utils_base import generate_merges

TRAINING = [
    "The quick brown fox jumps over the lazy dog, isn't it? I'll say they've been here since 1984 and 2024.",
    "def main(args):\n    for i in range(10):\n        print(f'{i}: {args[i]}')\n    return 0\n\n\n",
    "Übergrößen kosten 1.234,56 €; les élèves mangent à l'école. Привет, мир! 日本語のテキスト。 한국어 텍스트",
    "HelloWorld camelCase snake_case CONSTANT_VALUE http://example.org/path?query=1#part\t\ttabs   and   spaces",
] * 8
TEXTS = [
    "", " ", "\n", "Hello", " Hello", "  Hello  world ", "it's I'LL they'Ve d'accord", "12345 1 22 333 4444", "x²³ ¼ ① Ⅷ ٣٤",
    "tabs\tand\r\nlines\r\n\r\n  end  \n", "a\u0085b \ufeffBOM \u00a0nbsp\u00a0\u00a0 \u3000wide \u200bzero", "éléve e\u0301 Å \u212b ﬁ",
    "日本語 中文，标点。 한국어 ไทย हिन्दी", "😀👩‍👩‍👧 🇩🇪 \U0001d7d9", "camelCaseHTTPServer XMLHttp a1b2", "!!! ... ?!?! #$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "<|end|>text<|end|><|end|> <tool>x</tool> <tool >", "▁ ▁▁a\u2581b", "\x00\x01\x7f", "for i in range(10):\n        print(i)\n\n\n\n# done",
]  # fmt: skip


def byte_level_vocabulary():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TRAINING, trainers.BpeTrainer(vocab_size=440, initial_alphabet=alphabet, show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get) + ["<|end|>", "<tool>"]
    types = [1] * (len(tokens) - 2) + [3, 4]
    return tokens, types, [tuple(merge) for merge in model["merges"]]


def word_cuts():
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = lambda regex: pre_tokenizers.Split(Regex(regex), "isolated")
    digits, gpt2 = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    cuts = {name: [split(GGUF_PRE_TOKENIZER_SPLITS[name]), byte_level] for name in ["llama-bpe", "dbrx", "qwen2", "qwen35", "gpt-4o", "tekken"]}
    cuts |= {"gpt-2": [gpt2], "smollm": [digits, gpt2]}
    # DeepSeek's tokenizer.json, quoted in llama.cpp.
    cuts["deepseek-coder"] = [split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-퟿]+"), digits, byte_level]
    main = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    cuts["deepseek-v3"] = [split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(main), byte_level]
    return cuts


def byte_level_fixture():
    tokens, types, merges = byte_level_vocabulary()
    vocab = {token: index for index, token in enumerate(tokens)}
    ids = {}
    for name, steps in word_cuts().items():
        tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=name in ("llama-bpe", "tekken")))
        tokenizer.normalizer = normalizers.NFC() if name in ("qwen2", "qwen35") else None
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        tokenizer.add_special_tokens([AddedToken("<|end|>", normalized=False)])
        tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
        ids[name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    return {"tokens": tokens, "types": types, "merges": [" ".join(merge) for merge in merges], "ids": ids}


def sentencepiece_fixture():
    trainer = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer.normalizer = normalizers.Replace(" ", "▁")
    trainer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer.train_from_iterator(TRAINING, trainers.BpeTrainer(vocab_size=460, special_tokens=special, limit_alphabet=90, show_progress=False))
    vocab = trainer.get_vocab()
    tokens = sorted(vocab, key=vocab.get) + ["▁▁", "▁▁▁▁", "<|end|>", "<tool>"]
    types = [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 261) + [3, 4]
    # As in SentencePiece: joined pieces by order, then single characters.
    pieces = [token for token in tokens[259:-2] if len(token) > 1] + [token for token in tokens[259:-2] if len(token) == 1]
    rank = {token: -float(index) for index, token in enumerate(pieces)}
    scores = [rank.get(token, 0.0) for token in tokens]
    vocab = {token: index for index, token in enumerate(tokens)}
    merges = generate_merges(vocab, {token: scores[vocab[token]] for token in pieces})
    ids, decoded = {}, {}
    for name, prefix in [("prefix", True), ("no prefix", False)]:
        tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        replace = normalizers.Replace(" ", "▁")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prefix else replace
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        tokenizer.decoder = decoders.Sequence(steps + [decoders.Strip(" ", 1, 0)] * prefix)
        tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in ["<unk>", "<s>", "</s>", "<|end|>"]])
        tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
        ids[name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
        decoded[name] = [tokenizer.decode(row, skip_special_tokens=False) for row in ids[name]]
    return {"tokens": tokens, "types": types, "scores": scores, "ids": ids, "decoded": decoded}


path = pathlib.Path(__file__).parent.parent / "test/fixtures/tokenizers.json"
fixture = {"texts": TEXTS, "byteLevel": byte_level_fixture(), "sentencePiece": sentencepiece_fixture()}
path.write_text(json.dumps(fixture, ensure_ascii=True, separators=(",", ":")) + "\n")
print(path, path.stat().st_size)
