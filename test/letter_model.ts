/** A tiny model whose vocabulary is the letters a to p, ids 0 to 15. */
import type { Model } from "../src/model/model.ts";
import { type TinyModelOptions, tinyModel } from "./tiny_model.ts";

/** @param tokenizer - parts of tokenizer.json that differ */
export function letterModel(
  options: TinyModelOptions = {},
  tokenizer: Readonly<Record<string, unknown>> = {},
): Model {
  const vocab = Object.fromEntries(Array.from("abcdefghijklmnop", (letter, id) => [letter, id]));
  const json = {
    added_tokens: [],
    pre_tokenizer: { type: "WhitespaceSplit" },
    model: { type: "WordLevel", vocab, unk_token: "p" },
    ...tokenizer,
  };
  return {
    ...tinyModel(options),
    files: [{ name: "tokenizer.json", bytes: Buffer.from(JSON.stringify(json)) }],
  };
}
