/**
 * tokenizer.json and its companion of every kind of model, sound or with one of the two tampered with, and a text.
 * Regular expressions of the file's own are left to src/model/tokenizer/engine.test.ts: they run in a thread, of which
 * ten thousand would be too many.
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
/** The text that is tokenised. */
const TEXT_FILE = "text.txt";
/** There where the text must come back. */
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

/** What a text may not have to come back: the sign for a space, byte tokens spelled out, and what the library loses. */
const LOST = /[▁\ufeff]|<0x/;

/** How each of the two files is harmed: one of them or none. */
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
  files: fc.tuple(soundTokenizers, texts, harms).chain(([{ json, isExact }, text, [own, config]]) => {
    const promise =
      isExact && !LOST.test(text) && own === "none" && config === "none"
        ? { [EXACT_FILE]: new Uint8Array(0) }
        : {};
    return fc
      .record({
        [JSON_FILE]: harmed(json, own),
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

/** @throws Error for ids that the tokenizer does not have, and for a text that does not come back though it should */
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
