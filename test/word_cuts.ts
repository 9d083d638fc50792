/** Names of the different pre-tokenizers of byte-level vocabularies, for `wordCutByName`. */
export const CUT_NAMES: readonly string[] = [
  "gpt-2",
  "smollm",
  "llama-bpe",
  "qwen2",
  "qwen35",
  "gpt-4o",
  "tekken",
  "deepseek-coder",
  "deepseek-v3",
  "seed-coder",
];
