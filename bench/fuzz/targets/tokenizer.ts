/**
 * tokenizer.json and tokenizer_config.json of every model type, valid or with one of the two changed, and a text. Files
 * with unknown regular expressions are left to src/model/tokenizer/engine.test.ts: those run in threads, and ten
 * thousand would be too many.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { ggufVocabularyOf } from "../../../src/model/gguf/vocabulary.ts";
import { haveKnownExpressions } from "../../../src/model/tokenizer/steps.ts";
import { Tokenizer } from "../../../src/model/tokenizer/tokenizer.ts";
import { type FuzzTarget, refusal } from "../harness.ts";
import { damaged, jsonBytes, tamperedJson } from "../mutate.ts";
import { SPECIAL, soundTokenizers } from "../tokenizers.ts";

const JSON_FILE = "tokenizer.json";
const CONFIG_FILE = "tokenizer_config.json";
/** File with the text to tokenise. */
const TEXT_FILE = "text.txt";
/** File that exists if decoding must restore the text. */
const EXACT_FILE = "exact.txt";

const CONFIG = {
  bos_token: "<s>",
  eos_token: { content: "</s>" },
  unk_token: "<unk>",
  add_bos_token: true,
  chat_template: "{{ messages }}",
};

type Harm = "none" | "value" | "bytes";
type Harms = readonly [Harm, Harm];

const texts = fc
  .array(
    fc.oneof(
      {
        arbitrary: fc.constantFrom(...SPECIAL, "ab", "abba", " a", "  ", "\n\n", "it's", "123", "é"),
        weight: 8,
      },
      { arbitrary: fc.string({ maxLength: 6 }), weight: 4 },
      { arbitrary: fc.string({ unit: "binary", maxLength: 4 }), weight: 4 },
      { arbitrary: fc.constantFrom("▁", "<0x41>", "\ufeff", "e\u0301", "a".repeat(300)), weight: 1 },
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.join(""));

/**
 * Texts that decoding does not restore: with space markers, spelled-out byte tokens, or characters that the library
 * drops.
 */
const LOST = /[▁\ufeff]|<0x/;

/** Damage of the two files: to one of them or none. */
const harms = fc.oneof(
  { arbitrary: fc.constant<Harms>(["none", "none"]), weight: 3 },
  { arbitrary: fc.constant<Harms>(["value", "none"]), weight: 4 },
  {
    arbitrary: fc.constantFrom<Harms>(["bytes", "none"], ["none", "value"], ["none", "bytes"]),
    weight: 3,
  },
);

export const tokenizerTarget: FuzzTarget = {
  name: "tokenizer",
  share: 3,
  files: fc.tuple(soundTokenizers, texts, harms).chain(([{ json, isExact }, text, [tokenizer, config]]) => {
    const promise =
      isExact && !LOST.test(text) && tokenizer === "none" && config === "none"
        ? { [EXACT_FILE]: new Uint8Array(0) }
        : {};
    return fc
      .record({
        [JSON_FILE]: harmed(json, tokenizer),
        [CONFIG_FILE]: harmed(CONFIG, config),
        [TEXT_FILE]: fc.constant<Uint8Array>(Buffer.from(text)),
      })
      .map((files) => ({ ...files, ...promise }));
  }),
  open: async (directory) => {
    const names = [JSON_FILE, CONFIG_FILE];
    const files = names.map((name) => ({ name, bytes: readFileSync(join(directory, name)) }));
    if (hasOwnExpressions(files[0]!.bytes)) return undefined;
    const tokenizer = Tokenizer.fromFiles(files);
    return async () => {
      const text = readFileSync(join(directory, TEXT_FILE), "utf8");
      tokenise(tokenizer, text, existsSync(join(directory, EXACT_FILE)));
      await Promise.resolve()
        .then(() => ggufVocabularyOf(files, { vocabSize: 600, fallbackIds: {} }))
        .catch(refusal);
    };
  },
};

/** Encodes and decodes. @throws Error for ids out of range, and for a text that is not restored though it should be */
function tokenise(tokenizer: Tokenizer, text: string, isExact: boolean): void {
  const ids = tokenizer.encode(text);
  const strange = ids.find((id) => id < 0 || id >= tokenizer.vocabSize);
  if (strange !== undefined) throw new Error(`the id ${strange} of ${tokenizer.vocabSize}`);
  const back = tokenizer.decode(ids);
  if (isExact && back !== text) throw new Error(`${JSON.stringify(back)} for ${JSON.stringify(text)}`);
  tokenizer.decode([...ids, 0, 5, tokenizer.vocabSize]);
}

function harmed(value: unknown, harm: Harm): fc.Arbitrary<Uint8Array> {
  if (harm === "value") return tamperedJson(fc.constant(value)).map(jsonBytes);
  const bytes = fc.constant(jsonBytes(value));
  return harm === "bytes" ? damaged(bytes) : bytes;
}

function hasOwnExpressions(bytes: Uint8Array): boolean {
  try {
    const json = JSON.parse(new TextDecoder().decode(bytes));
    return !haveKnownExpressions([json.normalizer, json.pre_tokenizer, json.decoder]);
  } catch {
    return false;
  }
}
