/** Names of the different ways in which byte-level vocabularies cut words, for `wordCutByName`. */
export const CUT_NAMES: readonly string[] = [
  "gpt-2",
  "smollm",
  "llama-bpe",
  "qwen2",
  "gpt-4o",
  "tekken",
  "deepseek-coder",
  "deepseek-v3",
];
