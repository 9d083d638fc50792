import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type BuiltTensor,
  type BuiltValue,
  bool,
  buildGguf,
  f32,
  floatTensor,
  i32s,
  text,
  texts,
  u32,
  withFile,
} from "../../../test/gguf_builder.ts";
import { type Case, fileOf, metadataOf, storedTensors } from "../../../test/gguf_layouts.ts";
import { CASES } from "../../../test/gguf_models.ts";
import type { Model } from "../model.ts";
import type { RopeSpec } from "../rope_spec.ts";
import { Tokenizer } from "../tokenizer/tokenizer.ts";
import { weightsOf } from "../weights.ts";
import { openGgufModel } from "./model.ts";
import { llama3Scaling } from "./rotary.ts";

const LONGROPE_TENSORS = [
  floatTensor("rope_factors_short.weight", [2], Float32Array.of(1, 1.1)),
  floatTensor("rope_factors_long.weight", [2], Float32Array.of(2, 4.5)),
];

async function withModel(example: Case, use: (model: Model) => Promise<void>): Promise<void> {
  await withFile(await fileOf(example), async (path) => {
    const model = await openGgufModel(path);
    await use(model);
    await model.weights.close();
  });
}

/** Weights that are stored in another form, norms with their offset and rates for their logarithms, are rounded. */
const ROUNDED = /(?<!linear_attn\.)norm\.|A_log$/;

describe.each(Object.entries(CASES))("a GGUF of %s", (_, example) => {
  test("has the spec and the weights of the model it was made from", async () => {
    await withModel(example, async ({ spec, weights, files, origin }) => {
      expect(spec).toEqual({
        ...example.model.spec,
        extra: { bos_token_id: null, eos_token_id: 3, pad_token_id: null },
      });
      expect(weights.names).toEqual(weightsOf(spec).map(({ name }) => name));
      for (const { name, shape } of weightsOf(spec)) {
        const expected = await example.model.weights.read(name);
        expect(weights.info(name)).toEqual({ dtype: "F32", shape });
        const read = await weights.read(name);
        expect(read.shape).toEqual(shape);
        read.data.forEach((value, i) => {
          expect(value).toBeCloseTo(expected.data[i]!, ROUNDED.test(name) ? 6 : 12);
        });
      }
      expect(files).toEqual([]);
      expect(origin).toMatchObject({ format: "gguf", dtype: "F32" });
    });
  });

  test("gives any rows as the whole tensor has them", async () => {
    await withModel(example, async ({ spec, weights }) => {
      const withRows = weightsOf(spec).filter(({ shape }) => shape.length > 0);
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...withRows), fc.nat(), fc.nat(), async (weight, a, b) => {
          const rows = weight.shape[0]!;
          const [start, end] = [a % (rows + 1), b % (rows + 1)].sort((x, y) => x - y) as [number, number];
          const whole = await weights.read(weight.name);
          const width = whole.data.length / rows;
          const part = await weights.read(weight.name, { start, end });
          expect(part.shape).toEqual(weight.shape.with(0, end - start));
          expect(part.data).toEqual(whole.data.slice(start * width, end * width));
        }),
        { numRuns: 40, seed: 1 },
      );
    });
  });
});

describe("caps", () => {
  test.each(["attn_logit_softcapping", "final_logit_softcapping"])(
    "are read where llama.cpp reads them: %s",
    async (key) => {
      const example: Case = { ...CASES.llama!, extra: [[`llama.${key}`, f32(3)]] };
      await withModel(example, async ({ spec }) => {
        expect(spec).toMatchObject({ scoreSoftcap: null, logitSoftcap: null });
      });
    },
  );
});

describe("layers that guess further tokens", () => {
  const example = CASES["qwen3_5 of another pattern"]!;
  const names = ["blk.3.nextn.eh_proj.weight", "blk.3.attn_norm.weight"];

  /** A file of the example with fewer layers of its own, and tensors in the last one. */
  async function file(guessing: number, extraName?: string): Promise<Uint8Array> {
    const { model, extra = [] } = example;
    const layers = model.spec.layers.slice(0, 3);
    const tensors = await storedTensors({ ...model, spec: { ...model.spec, layers } }, example);
    const added = [...names, ...(extraName === undefined ? [] : [extraName])];
    return buildGguf({
      metadata: [
        ...metadataOf(model.spec, "qwen35").map(([key, value]) =>
          value.type === "array"
            ? ([key, u32((value.value as number[])[0]!)] as const)
            : ([key, value] as const),
        ),
        ...extra,
        ["qwen35.nextn_predict_layers", u32(guessing)],
      ],
      tensors: [...tensors, ...added.map((name) => floatTensor(name, [1], Float32Array.of(1)))],
    });
  }

  test("are left out, and named", async () => {
    await withFile(await file(1), async (path) => {
      const { spec, weights, unusedTensors } = await openGgufModel(path);
      expect(spec.layers).toEqual(example.model.spec.layers.slice(0, 3));
      expect(weights.names).toEqual(weightsOf(spec).map(({ name }) => name));
      expect(unusedTensors).toEqual(names);
      await weights.close();
    });
  });

  test("are refused beyond those that the file counts", async () => {
    await withFile(await file(1, "blk.4.attn_norm.weight"), async (path) => {
      await expect(openGgufModel(path)).rejects.toMatchObject({
        code: "UNSUPPORTED",
        message: expect.stringContaining("got blk.4.attn_norm.weight"),
      });
    });
  });

  test("are not all of the file", async () => {
    await withFile(await file(4), async (path) => {
      await expect(openGgufModel(path)).rejects.toMatchObject({
        code: "BAD_FILE",
        message: expect.stringContaining("nextn_predict_layers: expected fewer than all 4 layers, got 4"),
      });
    });
  });
});

describe("rates of a delta rule", () => {
  async function rates(value: number): Promise<Float32Array> {
    const example = CASES.qwen3_5!;
    const tensors = await storedTensors(example.model, example);
    const changed = tensors.map((tensor) =>
      tensor.name === "blk.0.ssm_a"
        ? floatTensor(tensor.name, [6], Float32Array.of(-1, value, -1, -1, -1, -1))
        : tensor,
    );
    const metadata = [...metadataOf(example.model.spec, "qwen35"), ...(example.extra ?? [])];
    return withFile(buildGguf({ metadata, tensors: changed }), async (path) => {
      const { weights } = await openGgufModel(path);
      try {
        return (await weights.read("model.layers.0.linear_attn.A_log")).data;
      } finally {
        await weights.close();
      }
    });
  }

  test("are refused where they let states grow", async () => {
    await expect(rates(0.5)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: "blk.0.ssm_a: expected negative numbers, got 0.5",
    });
  });

  test("of 0 have the logarithm of a number that float32 rounds to 0", async () => {
    // The second head in tiles is the fourth one in groups.
    const logarithm = (await rates(0))[3]!;
    expect(logarithm).toBeLessThan(-100);
    expect(Math.fround(Math.exp(logarithm))).toBe(0);
  });
});

test("takes a norm's epsilon of 0", async () => {
  const { model } = CASES.llama!;
  const exact = { ...model, spec: { ...model.spec, normEps: 0 } };
  await withModel({ ...CASES.llama!, model: exact }, async (read) => {
    expect(read.spec.normEps).toBe(0);
  });
});

describe("sliding windows", () => {
  const [on, off] = [16, null];
  const flags = (value: readonly boolean[]): BuiltValue => ({ type: "array", of: "bool", value });

  test.each<[string, BuiltValue, readonly (number | null)[]]>([
    ["each third layer without", u32(3), [on, on, off]],
    ["none, of a period of one", u32(1), [off, off, off]],
    ["all, of none", u32(0), [on, on, on]],
    ["flags", flags([false, true, true]), [off, on, on]],
    ["numbers for flags", i32s([1, 0, 0]), [on, off, off]],
  ])("are where the file says: %s", async (_, pattern, expected) => {
    const { extra = [], ...gemma2 } = CASES.gemma2!;
    const said = [...extra, ["gemma2.attention.sliding_window_pattern", pattern] as const];
    await withModel({ ...gemma2, extra: said }, async ({ spec }) => {
      expect(spec.layers.map(({ window }) => window)).toEqual(expected);
    });
  });
});

describe("stretched positions", () => {
  const linear = { type: "linear", factor: 4 };

  test.each<[string, NonNullable<Case["extra"]>, unknown]>([
    [
      "a type and a factor",
      [
        ["rope.scaling.type", text("linear")],
        ["rope.scaling.factor", f32(4)],
      ],
      linear,
    ],
    ["a factor alone", [["rope.scaling.factor", f32(4)]], linear],
    ["the key of older files", [["rope.scale_linear", f32(4)]], linear],
    [
      "no type but none",
      [
        ["rope.scaling.type", text("none")],
        ["rope.scaling.factor", f32(4)],
      ],
      null,
    ],
    ["a type without a factor", [["rope.scaling.type", text("linear")]], null],
    [
      "YaRN",
      [
        ["rope.scaling.type", text("yarn")],
        ["rope.scaling.factor", f32(2.4)],
        ["rope.scaling.yarn_beta_fast", f32(32)],
        ["rope.scaling.yarn_attn_factor", f32(0.1 * Math.log(2.4) + 1)],
      ],
      {
        type: "yarn",
        factor: 2.4,
        originalMaxPositions: 64,
        attentionFactor: 0.1 * Math.log(2.4) + 1,
        betaFast: 32,
        betaSlow: 1,
        truncate: true,
      },
    ],
  ])("are read as llama.cpp reads %s", async (_, entries, scaling) => {
    const extra = entries.map(([key, value]) => [`llama.${key}`, value] as const);
    await withModel({ ...CASES.llama!, extra }, async ({ spec }) => {
      expect(spec.layers[0]!.rope?.scaling).toEqual(scaling);
    });
  });
});

describe("LongRoPE", () => {
  const extra: Case["extra"] = [
    ["phi3.rope.scaling.original_context_length", u32(16)],
    ["phi3.rope.scaling.attn_factor", f32(Math.sqrt(1 + Math.log(4) / Math.log(16)))],
  ];

  test.each<[string, Case["extra"]]>([
    ["without a type, as llama.cpp writes Phi-3", extra],
    ["with its type", [...extra, ["phi3.rope.scaling.type", text("longrope")]]],
  ])("is read %s", async (_, entries) => {
    const { model, ...layout } = CASES.phi3!;
    const metadata = new Map([...metadataOf(model.spec, layout.architecture), ...entries!]);
    const tensors = [...(await storedTensors(model, layout)), ...LONGROPE_TENSORS];
    await withFile(buildGguf({ metadata: [...metadata], tensors }), async (path) => {
      const { spec, weights } = await openGgufModel(path);
      expect(spec.layers[0]!.rope?.scaling).toEqual({
        type: "longrope",
        shortFactors: [1, 1.1],
        longFactors: [2, 4.5],
        originalMaxPositions: 16,
        attentionFactor: Math.sqrt(1 + Math.log(4) / Math.log(16)),
      });
      await weights.close();
    });
  });
});

const SECTIONS = ["glm4.rope.dimension_sections", i32s([8, 12, 12, 0])] as const;

describe("refusals", () => {
  const base: Case = CASES.llama!;
  const gemma2With = (name: string, value: number): Case => {
    return { ...CASES.gemma2!, extra: [[`gemma2.${name}`, f32(value)]] };
  };

  const yarnWith = (name: string, value: number): Partial<Case> => ({
    extra: [
      ["llama.rope.scaling.type", text("yarn")],
      ["llama.rope.scaling.factor", f32(4)],
      ["llama.rope.scaling.original_context_length", u32(32)],
      [`llama.rope.scaling.${name}`, f32(value)],
    ],
  });

  async function failure(change: Partial<Case>, tensors: BuiltTensor[] = []): Promise<unknown> {
    const { model, extra = [], ...layout } = { ...base, ...change };
    const replaced = new Map([...metadataOf(model.spec, layout.architecture), ...extra]);
    const stored = await storedTensors(model, layout);
    const bytes = buildGguf({ metadata: [...replaced], tensors: [...stored, ...tensors] });
    return withFile(bytes, openGgufModel).catch((error: unknown) => error);
  }

  const vector = (name: string, type = 0, bytes = 8): BuiltTensor => ({
    name,
    dimensions: [type === 0 ? 2 : 32],
    type,
    data: new Uint8Array(bytes),
  });

  test.each<[string, Partial<Case>, BuiltTensor[], string]>([
    ["unknown architectures", { architecture: "mamba" }, [], "got mamba"],
    [
      "experts in architectures without",
      { ...CASES.qwen3!, extra: [["qwen3.expert_count", u32(8)]] },
      [],
      "expert_count: expected at most 0, got 8",
    ],
    [
      "a Granite without positions",
      { ...CASES.granite!, extra: [["granite.rope.scaling.finetuned", bool(false)]] },
      [],
      "rope.scaling.finetuned",
    ],
    ["clipped queries", { extra: [["llama.attention.clamp_kqv", f32(8)]] }, [], "clamp_kqv"],
    ["guessing layers", { extra: [["llama.nextn_predict_layers", u32(1)]] }, [], "nextn_predict_layers"],
    [
      "a factor on the rotary base",
      { ...CASES["hunyuan-dense"]!, extra: [["hunyuan-dense.rope.scaling.alpha", f32(1000)]] },
      [],
      "alpha: expected at most 0, got 1000",
    ],
    ["positions in images", { ...CASES.glm4!, extra: [SECTIONS] }, [], "sections: expected zeros, got 8,"],
    ["parts of a split file", { extra: [["split.count", u32(2)]] }, [], "split.count"],
    ["tensors without a place", {}, [vector("blk.0.attn_sinks.weight")], "got blk.0.attn_sinks.weight"],
    ["unreadable types", {}, [vector("blk.0.attn_v.bias", 20, 18)], "got IQ4_NL"],
    ["unknown rotary scalings", { extra: [["llama.rope.scaling.type", text("dynamic")]] }, [], "got dynamic"],
    ["LongRoPE's factors beside YaRN", yarnWith("yarn_ext_factor", 1), LONGROPE_TENSORS, "longrope and yarn"],
    [
      "an attention factor without YaRN",
      { extra: [["llama.rope.scaling.attn_factor", f32(1.2)]] },
      [],
      "attn_factor: expected 1,",
    ],
    ["other turns of YaRN than llama.cpp's", yarnWith("yarn_beta_fast", 16), [], "expected 32, got 16"],
    [
      "what llama.cpp leaves out of YaRN",
      yarnWith("yarn_attn_factor", 1),
      [],
      "expected 1.138629436111989, got 1",
    ],
    [
      "YaRN with factors on frequencies",
      yarnWith("yarn_ext_factor", 1),
      [floatTensor("rope_freqs.weight", [2], Float32Array.of(1, 8))],
      "one scaling, got yarn and llama3",
    ],
    ["unknown rotary factors", {}, [vector("rope_freqs.weight")], "RoPE factors of Llama 3"],
    ["layers without attention", { extra: [["llama.attention.head_count_kv", i32s([0, 2])]] }, [], "layer 0"],
  ])("refuses %s", async (_, change, tensors, says) => {
    const error = await failure(change, tensors);
    expect(error).toMatchObject({ code: "UNSUPPORTED", message: expect.stringContaining(says) });
  });

  test.each<[string, Partial<Case>, string]>([
    ["no layers", { extra: [["llama.block_count", u32(0)]] }, "block_count"],
    ["a billion layers", { extra: [["llama.block_count", u32(1e9)]] }, "block_count"],
    ["a string for a size", { extra: [["llama.embedding_length", text("8")]] }, "embedding_length"],
    ["heads that are no multiple", { extra: [["llama.attention.head_count", i32s([4, 3])]] }, "layer 1"],
    ["arrays of another length", { extra: [["llama.feed_forward_length", i32s([6])]] }, "expected 2 numbers"],
    ["a negative cap", gemma2With("attn_logit_softcapping", -50), "attn_logit_softcapping"],
    ["a cap that is no number", gemma2With("final_logit_softcapping", Number.NaN), "final_logit_softcapping"],
    ["a negative window", gemma2With("attention.sliding_window", -1), "attention.sliding_window"],
    ["half a window", gemma2With("attention.sliding_window", 16.5), "attention.sliding_window"],
    [
      "windows for other layers",
      { ...CASES.gemma2!, extra: [["gemma2.attention.sliding_window_pattern", i32s([1, 0])]] },
      "expected 3 times true or false, got 2 values",
    ],
    [
      "a norm's negative epsilon",
      { extra: [["llama.attention.layer_norm_rms_epsilon", f32(-1)]] },
      "epsilon",
    ],
    ["a negative rotary base", { extra: [["llama.rope.freq_base", f32(-1)]] }, "rope.freq_base"],
    ["a base that is no number", { extra: [["llama.rope.freq_base", f32(Number.NaN)]] }, "rope.freq_base"],
    ["a negative stretch", { extra: [["llama.rope.scaling.factor", f32(-4)]] }, "rope.scaling.factor"],
    [
      "LongRoPE without factors",
      { extra: [["llama.rope.scaling.type", text("longrope")]] },
      "rope_factors_short.weight: expected 2 numbers, got none",
    ],
    [
      "a stretch without end",
      {
        extra: [
          ["llama.rope.scaling.type", text("yarn")],
          ["llama.rope.scaling.factor", f32(1e30)],
        ],
      },
      "rope.scaling.factor: expected at most 2^31 positions",
    ],
    [
      "LongRoPE from one token on",
      {
        extra: [
          ["llama.rope.scaling.type", text("longrope")],
          ["llama.rope.scaling.original_context_length", u32(1)],
        ],
      },
      "original_context_length: expected at least 2, got 1",
    ],
    ["an odd rotary size", { extra: [["llama.rope.dimension_count", u32(3)]] }, "rope.dimension_count"],
    [
      "more tokens than embeddings",
      { extra: [["tokenizer.ggml.tokens", texts(Array.from({ length: 17 }, String))]] },
      "17",
    ],
  ])("refuses %s", async (_, change, says) => {
    const error = await failure(change);
    expect(error).toMatchObject({ code: "BAD_FILE", message: expect.stringContaining(says) });
  });
});

describe("Llama 3's rotary factors", () => {
  /** transformers' `_compute_llama3_parameters`, as a factor on each frequency. */
  function factorsOf({ theta, rotaryDim }: RopeSpec, factor: number): Float32Array {
    return Float32Array.from({ length: rotaryDim / 2 }, (_, i) => {
      const wavelength = 2 * Math.PI * theta ** ((2 * i) / rotaryDim);
      if (wavelength < 8192 / 4) return 1;
      if (wavelength > 8192 / 1) return factor;
      const smooth = (8192 / wavelength - 1) / (4 - 1);
      return 1 / ((1 - smooth) / factor + smooth);
    });
  }

  const spec: RopeSpec = { theta: 500_000, rotaryDim: 128, scaling: null };

  // Of 4 channels, none is slowed by the whole factor.
  test.each([8, 32])("give back the factor %d, also of 4 channels", (factor) => {
    const settings = { lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 };
    for (const rope of [spec, { ...spec, rotaryDim: 4 }]) {
      expect(llama3Scaling(factorsOf(rope, factor), rope)).toEqual({ type: "llama3", factor, ...settings });
    }
  });

  test("takes ones for no scaling and others for nothing it knows", () => {
    expect(llama3Scaling(new Float32Array(64).fill(1), spec)).toBeNull();
    expect(llama3Scaling(new Float32Array(64).fill(2), spec)).toBeUndefined();
    expect(llama3Scaling(new Float32Array(63).fill(1), spec)).toBeUndefined();
    expect(llama3Scaling(factorsOf({ ...spec, theta: 10_000 }, 8), spec)).toBeUndefined();
  });
});

const shared = process.env.GPRUNE_SHARED ?? new URL("../../../../shared", import.meta.url).pathname;
const smolLm = `${shared}/models/SmolLM2-135M-Instruct.Q4_1.gguf`;

describe.skipIf(!existsSync(smolLm))("SmolLM2-135M-Instruct in Q4_1", () => {
  /** SHA-256 of the float32 bytes that transformers 5.24.0's load_gguf_checkpoint gives. */
  const HASHES: Readonly<Record<string, string>> = {
    "model.layers.3.self_attn.k_proj.weight":
      "64d260baa4d5478cd91053172dc60f6cb429f1860d6882920f4f8c18b846464a",
    "model.layers.29.mlp.down_proj.weight":
      "c19605745425a11e704e305ce3d27b632c406195d39eb3377e9cfb140ac643d1",
    "model.embed_tokens.weight": "3fd491c8066dd9dc1a2bf6796701526c82817d95c0ecabacdef3013c2b8bbbaa",
  };

  test("has transformers' weights bit for bit and tokenizers' tokens", async () => {
    const { spec, weights, files, origin } = await openGgufModel(smolLm);
    expect(weights.names).toEqual(weightsOf(spec).map(({ name }) => name));
    expect(origin.dtype).toBe("Q4_1");
    for (const [name, hash] of Object.entries(HASHES)) {
      const { data } = await weights.read(name);
      expect(createHash("sha256").update(data).digest("hex"), name).toBe(hash);
    }
    await weights.close();
    const text = "In 1984, Émile paid ½ price:\n\n    return x²<|im_end|>";
    const tokenizer = Tokenizer.fromFiles(files);
    expect([...tokenizer.encode(text)]).toEqual([
      788, 216, 33, 41, 40, 36, 28, 28239, 19537, 5940, 216, 16738, 4319, 42, 1004, 1003, 1792, 19133, 2,
    ]);
    expect(tokenizer).toMatchObject({ eosIds: [2], bosId: 1, addsBos: false, vocabSize: spec.vocabSize });
  });
});
