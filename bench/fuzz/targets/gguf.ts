/** GGUF files: headers with wrong counts and offsets, a small model with changed metadata, damaged bytes. */
import { join } from "node:path";
import fc from "fast-check";
import { openGguf } from "../../../src/io/formats/gguf.ts";
import { openGgufModel } from "../../../src/model/gguf/model.ts";
import { Tokenizer } from "../../../src/model/tokenizer/tokenizer.ts";
import { elementCount } from "../../../src/tensor/tensor.ts";
import {
  type BuiltTensor,
  type BuiltValue,
  bool,
  buildGguf,
  f32,
  floatTensor,
  type GgufParts,
  i32s,
  text,
  texts,
  u32,
} from "../../../test/gguf_builder.ts";
import type { Files, FuzzTarget } from "../harness.ts";
import { damaged } from "../mutate.ts";

const WORD_COUNT = 300;
const TOKENS = Array.from({ length: WORD_COUNT }, (_, id) =>
  id < 26 ? String.fromCharCode(97 + id) : `<t${id}>`,
);

const METADATA: readonly (readonly [string, BuiltValue])[] = [
  ["general.architecture", text("llama")],
  ["general.name", text("tiny")],
  ["llama.block_count", u32(2)],
  ["llama.context_length", u32(64)],
  ["llama.embedding_length", u32(8)],
  ["llama.feed_forward_length", i32s([6, 4])],
  ["llama.attention.head_count", u32(2)],
  ["llama.attention.head_count_kv", u32(1)],
  ["llama.attention.layer_norm_rms_epsilon", f32(1e-5)],
  ["llama.rope.freq_base", f32(10000)],
  ["llama.vocab_size", u32(WORD_COUNT)],
  ["tokenizer.ggml.model", text("gpt2")],
  ["tokenizer.ggml.pre", text("llama-bpe")],
  ["tokenizer.ggml.tokens", texts(TOKENS)],
  ["tokenizer.ggml.token_type", i32s(TOKENS.map(() => 1))],
  ["tokenizer.ggml.merges", texts(["a b", "c d"])],
  ["tokenizer.ggml.bos_token_id", u32(1)],
  ["tokenizer.ggml.add_bos_token", bool(true)],
  ["tokenizer.chat_template", text("{{ messages }}")],
];

function zeros(name: string, ...shape: readonly number[]): BuiltTensor {
  return floatTensor(name, shape, new Float32Array(elementCount(shape)));
}

const TENSORS: readonly BuiltTensor[] = [
  zeros("token_embd.weight", WORD_COUNT, 8),
  zeros("output_norm.weight", 8),
  ...[6, 4].flatMap((neurons, i) => [
    zeros(`blk.${i}.attn_norm.weight`, 8),
    zeros(`blk.${i}.ffn_norm.weight`, 8),
    zeros(`blk.${i}.attn_q.weight`, 8, 8),
    zeros(`blk.${i}.attn_k.weight`, 4, 8),
    zeros(`blk.${i}.attn_v.weight`, 4, 8),
    zeros(`blk.${i}.attn_output.weight`, 8, 8),
    zeros(`blk.${i}.ffn_gate.weight`, neurons, 8),
    zeros(`blk.${i}.ffn_up.weight`, neurons, 8),
    zeros(`blk.${i}.ffn_down.weight`, 8, neurons),
  ]),
];

const scalar: fc.Arbitrary<BuiltValue> = fc.oneof(
  fc.constantFrom(0, 1, 2, 3, 5, 64, 4096, 4097, 2 ** 31, 2 ** 32 - 1).map(u32),
  fc
    .constantFrom(
      "",
      "gpt2",
      "llama",
      "qwen2",
      "gemma",
      "gemma2",
      "gemma3",
      "phi3",
      "granite",
      "smollm3",
      "deci",
      "default",
      "\u001b[1m",
      "x".repeat(99),
    )
    .map(text),
  fc.constantFrom(0, -1, 1e-5, Number.NaN, Number.POSITIVE_INFINITY, 1e38).map(f32),
  fc.constantFrom<BuiltValue>(
    { type: "i64", value: -1 },
    { type: "u64", value: 2n ** 64n - 1n },
    { type: "i8", value: -128 },
    bool(true),
  ),
  fc.array(fc.integer({ min: -1, max: 9 }), { maxLength: 4 }).map(i32s),
  fc.array(fc.string({ maxLength: 4 }), { maxLength: 5 }).map(texts),
);

const hugeInteger = fc.constantFrom(-1n, 0n, 1n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n);

/** Metadata of the model with changed, removed and additional keys. */
const metadata = fc
  .array(
    fc.record({
      at: fc.nat(METADATA.length),
      key: fc.constantFrom(undefined, "x", "general.alignment", "split.count", "llama.rope.scaling.type"),
      value: fc.oneof({ arbitrary: scalar, weight: 4 }, fc.constant(undefined)),
    }),
    { maxLength: 3 },
  )
  .map((changes) => {
    const entries = [...METADATA];
    for (const { at, key, value } of changes) {
      const name = key ?? entries[at % entries.length]![0];
      if (value === undefined) entries.splice(at % entries.length, 1);
      else entries[at % (entries.length + 1)] = [name, value];
    }
    return entries;
  });

const tensorList = fc
  .array(
    fc.record({
      at: fc.nat(TENSORS.length - 1),
      change: fc.oneof(
        fc.record({ type: fc.oneof(fc.nat(41), fc.constantFrom(99, 2 ** 31)) }),
        fc.record({ dimensions: fc.array(fc.oneof(hugeInteger, fc.bigInt(0n, 300n)), { maxLength: 5 }) }),
        fc.record({
          offset: fc.oneof(
            hugeInteger.map((value) => BigInt.asUintN(64, value)),
            fc.bigInt(0n, 20000n),
          ),
        }),
        fc.record({
          name: fc.constantFrom("token_embd.weight", "", "x".repeat(64), "blk.9.x\u001b[0m", "output.weight"),
        }),
        fc.record({ data: fc.uint8Array({ maxLength: 40 }) }),
      ),
    }),
    { maxLength: 2 },
  )
  .map((changes) => {
    const list = [...TENSORS];
    for (const { at, change } of changes) list[at] = { ...list[at]!, ...change };
    return list;
  });

const parts: fc.Arbitrary<GgufParts> = fc.record({ metadata, tensors: tensorList }).chain((whole) =>
  fc.record(
    {
      metadata: fc.constant(whole.metadata),
      tensors: fc.constant(whole.tensors),
      tensorCount: fc.oneof(hugeInteger, fc.bigInt(0n, 40n)).map((value) => BigInt.asUintN(64, value)),
      entryCount: fc.oneof(hugeInteger, fc.bigInt(0n, 40n)).map((value) => BigInt.asUintN(64, value)),
      alignment: fc.constantFrom(1, 8, 32, 64),
    },
    { requiredKeys: ["metadata", "tensors"] },
  ),
);

/** Wrong counts and offsets in one case of five, else consistent files. */
const built = fc.oneof(
  { arbitrary: fc.record({ metadata, tensors: tensorList }).map(buildGguf), weight: 4 },
  { arbitrary: parts.map(buildGguf), weight: 1 },
);
const files: fc.Arbitrary<Files> = fc
  .oneof({ arbitrary: built, weight: 2 }, damaged(built))
  .map((bytes) => ({ "x.gguf": bytes }));

export const ggufTarget: FuzzTarget = {
  name: "gguf",
  share: 4,
  files,
  open: async (directory) => {
    const { source } = await openGguf(join(directory, "x.gguf"));
    return async () => {
      try {
        for (const name of source.names) {
          const { shape } = source.info(name)!;
          const { data } = await source.read(name);
          if (data.length !== elementCount(shape)) throw new Error(`${name}: wrong size`);
          if (source.blocks?.layout(name) === undefined) continue;
          const { codes, layout } = await source.blocks.read(name);
          if (codes.length * 8 !== data.length * layout.bits)
            throw new Error(`${name}: wrong size in blocks`);
        }
      } finally {
        await source.close();
      }
    };
  },
};

/** The same files opened as models: spec, weights and tokenizer. */
export const ggufModelTarget: FuzzTarget = {
  name: "gguf model",
  share: 4,
  files,
  open: async (directory) => {
    const model = await openGgufModel(join(directory, "x.gguf"));
    await model.weights.close();
    return async () => {
      if (model.files.length > 0) Tokenizer.fromFiles(model.files).encode("a cab in <t99>");
    };
  },
};
