/**
 * tokenizer.json and its companions, tampered with. Regular expressions of the file's own are left to
 * tokenizer_engine.test.ts: they run in a thread, of which a hundred thousand would be too many.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { ggufVocabularyOf } from "../../../src/model/gguf_vocabulary.ts";
import { wordCutByName } from "../../../src/model/pretokenizers.ts";
import { Tokenizer } from "../../../src/model/tokenizer.ts";
import { haveKnownExpressions } from "../../../src/model/tokenizer_steps.ts";
import type { FuzzTarget } from "../harness.ts";
import { damaged, jsonBytes, tamperedJson } from "../mutate.ts";

const TOKENS = ["a", "b", "c", "ab", "Ġ", "Ġa", "▁", "▁a", "<s>", "</s>", "<unk>", "<0x41>", "__proto__"];
const SPECIAL = ["<s>", "</s>", "<unk>"];

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
const cuts = fc.constantFrom<unknown>(
  null,
  { ...byteLevel, use_regex: true },
  { type: "Sequence", pretokenizers: [...wordCutByName("llama-bpe", "x").steps, byteLevel] },
  { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: true },
  { type: "Digits", individual_digits: true },
);
const normalizers = fc.constantFrom<unknown>(
  null,
  { type: "NFC" },
  { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, { type: "Lowercase" }] },
  { type: "Replace", pattern: { String: " " }, content: "▁" },
);
const tokenizers = fc
  .record({ cut: cuts, normalizer: normalizers, fallback: fc.boolean() })
  .map(({ cut, normalizer, fallback }): unknown => ({
    version: "1.0",
    added_tokens: SPECIAL.map((content) => ({ id: TOKENS.indexOf(content), content, special: true })),
    normalizer,
    pre_tokenizer: cut,
    post_processor: null,
    decoder: { type: "ByteLevel" },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(TOKENS.map((token, id) => [token, id])),
      merges: ["a b", "Ġ a", "▁ a"],
      unk_token: "<unk>",
      byte_fallback: fallback,
      ignore_merges: false,
    },
  }));
const configs = fc.constant<unknown>({
  bos_token: "<s>",
  eos_token: { content: "</s>" },
  add_bos_token: true,
  chat_template: "{{ messages }}",
});

export const tokenizerTarget: FuzzTarget = {
  name: "tokenizer",
  share: 3,
  files: fc
    .tuple(damaged(tamperedJson(tokenizers).map(jsonBytes)), damaged(tamperedJson(configs).map(jsonBytes)))
    .map(([json, config]) => ({ "tokenizer.json": json, "tokenizer_config.json": config })),
  open: async (directory) => {
    const names = ["tokenizer.json", "tokenizer_config.json"];
    const files = names.map((name) => ({ name, bytes: readFileSync(join(directory, name)) }));
    if (hasOwnExpressions(files[0]!.bytes)) return undefined;
    const tokenizer = Tokenizer.fromFiles(files);
    return async () => {
      const ids = tokenizer.encode("a cab <s>\n 12");
      tokenizer.decode([...ids, 0, 5]);
      ggufVocabularyOf(files, { vocabSize: 20, fallbackIds: {} });
    };
  },
};

function hasOwnExpressions(bytes: Uint8Array): boolean {
  try {
    const json = JSON.parse(new TextDecoder().decode(bytes));
    return !haveKnownExpressions([json.normalizer, json.pre_tokenizer, json.decoder]);
  } catch {
    return false;
  }
}
