import { describe, expect, test } from "vitest";
import {
  type BuiltValue,
  bool,
  buildGguf,
  f32,
  floatTensor,
  u32,
  withFile,
} from "../../../test/gguf_builder.ts";
import { type Case, fileOf, metadataOf, storedTensors } from "../../../test/gguf_layouts.ts";
import { CASES } from "../../../test/gguf_models.ts";
import { TINY_FAMILIES } from "../../../test/tiny_families.ts";
import { tinyConvolution, tinyMamba, tinyModel } from "../../../test/tiny_model.ts";
import { elementCount } from "../../tensor/tensor.ts";
import { alibiSlopes } from "../alibi.ts";
import { openModel } from "../checkpoint/checkpoint.ts";
import type { ModelSpec } from "../spec.ts";
import { openGgufModel } from "./model.ts";

/** The spec of a case's file without some of its keys and with others. */
async function specOf(
  example: Case,
  { without = [], ...added }: { readonly without?: readonly string[]; readonly extra?: Case["extra"] } = {},
): Promise<ModelSpec> {
  const { extra = [], ...rest } = example;
  const kept = extra.filter(([key]) => !without.some((name) => key.endsWith(name)));
  return withFile(await fileOf({ ...rest, extra: [...kept, ...(added.extra ?? [])] }), async (path) => {
    const { spec, weights } = await openGgufModel(path);
    await weights.close();
    return spec;
  });
}

describe("the logits' scale", () => {
  test.each<[string, string, readonly (readonly [string, BuiltValue])[], number]>([
    ["a factor", "command-r", [["command-r.logit_scale", f32(0.0625)]], 16],
    ["1 where the factor is 0", "command-r", [["command-r.logit_scale", f32(0)]], 1],
    ["1 where there is none", "command-r", [], 1],
    ["a divisor", "granite", [["granite.logit_scale", f32(16)]], 16],
    ["1 in architectures that do not read it", "llama", [["llama.logit_scale", f32(16)]], 1],
  ])("is %s: %s", async (_, name, extra, divisor) => {
    const spec = await specOf(CASES[name]!, { without: ["logit_scale"], extra });
    expect(spec.logitDivisor).toBe(divisor);
  });
});

describe("blocks", () => {
  test("of a GPT-NeoX are parallel unless its file says otherwise", async () => {
    expect(await specOf(CASES.gptneox!, { without: ["use_parallel_residual"] })).toMatchObject({
      parallel: true,
      norms: "before",
    });
    expect((await specOf(CASES["gptneox in sequence"]!)).parallel).toBe(false);
  });

  test("of a StableLM are parallel where there is no second norm, whatever its file says", async () => {
    const extra = [["stablelm.use_parallel_residual", bool(true)]] as const;
    expect(await specOf(CASES.stablelm!, { extra })).toMatchObject({ parallel: false, norms: "before" });
  });
});

describe("convolutions", () => {
  const convolution = tinyConvolution({ length: 3, biases: false });
  const alone = tinyModel({ ...TINY_FAMILIES.lfm2, layers: [convolution, convolution] });

  test.each<[string, Partial<Case>, string]>([
    [
      "that see one token",
      { extra: [["lfm2.shortconv.l_cache", u32(1)]] },
      "shortconv.l_cache: expected at least 2 tokens, got 1",
    ],
    ["alone", { model: alone }, "attention.head_count_kv: expected heads in a layer, got 0"],
  ])("%s are refused", async (_, changed, message) => {
    await expect(specOf({ ...CASES.lfm2!, ...changed })).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining(message),
    });
  });
});

describe("delta rules", () => {
  const flags = (value: readonly boolean[]): BuiltValue => ({ type: "array", of: "bool", value });
  const heads = "ssm.time_step_rank";

  test.each<[string, string, BuiltValue, string]>([
    ["that see one token", "ssm.conv_kernel", u32(1), "expected at least 2 tokens, got 1"],
    ["that see too many tokens", "ssm.conv_kernel", u32(65), "expected an integer from 1 to 64, got 65"],
    ["of no key head", "ssm.group_count", u32(0), "expected an integer from 1 to 65536, got 0"],
    ["of five value heads", heads, u32(5), "expected a multiple of 2, the ssm.group_count, got 5"],
    ["of too many value heads", heads, u32(65_538), "expected an integer from 1 to 65536, got 65538"],
    [
      "of values in broken heads",
      "ssm.inner_size",
      u32(34),
      "expected a multiple of 6, the ssm.time_step_rank",
    ],
    ["of wide values", "ssm.inner_size", u32(24_582), "by at most 4096, got 24582"],
    ["of wide keys", "ssm.state_size", u32(4097), "expected an integer from 1 to 4096, got 4097"],
    ["alone", "attention.recurrent_layers", flags(Array(5).fill(true)), "got linear attention alone"],
    ["alone, by their interval", "full_attention_interval", u32(6), "got linear attention alone"],
    ["of no interval", "full_attention_interval", u32(0), "expected an integer from 1 to"],
    ["in layers that are not told apart", "attention.recurrent_layers", bool(true), "5 times true or false"],
    ["in fewer layers", "attention.recurrent_layers", flags([true, false]), "5 times true or false"],
  ])("%s are refused", async (_, key, value, message) => {
    const changed = { without: [key], extra: [[`qwen35.${key}`, value] as const] };
    await expect(specOf(CASES.qwen3_5!, changed)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringMatching(new RegExp(`${key}.*${message}`)),
    });
  });

  test.each(["conv_kernel", "group_count", "inner_size", "state_size", "time_step_rank"])(
    "are refused without %s",
    async (key) => {
      await expect(specOf(CASES.qwen3_5!, { without: [key] })).rejects.toMatchObject({
        code: "BAD_FILE",
        message: expect.stringContaining(`qwen35.ssm.${key}`),
      });
    },
  );
});

describe("Mamba 2", () => {
  const { granitemoehybrid: example } = CASES;
  const layers = [tinyMamba({ keyHeads: 2 }), tinyMamba({ keyHeads: 2 })];
  const alone = tinyModel({ ...TINY_FAMILIES.granitemoehybrid, layers });

  test.each<[string, string, number, string]>([
    ["that sees one token", "conv_kernel", 1, "expected at least 2 tokens, got 1"],
    ["of no key head", "group_count", 0, "expected an integer from 1 to 65536, got 0"],
    ["of three key heads", "group_count", 3, "expected a multiple of 3, the ssm.group_count, got 4"],
    ["of values in broken heads", "inner_size", 18, "expected a multiple of 4, the ssm.time_step_rank"],
    ["of another width", "inner_size", 32, "expected 16, twice the embedding_length, got 32"],
    ["of wide states", "state_size", 4097, "expected an integer from 1 to 4096, got 4097"],
  ])("%s is refused", async (_, name, value, message) => {
    const key = `ssm.${name}`;
    const changed = { without: [key], extra: [[`granitehybrid.${key}`, u32(value)] as const] };
    await expect(specOf(example!, changed)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining(message),
    });
  });

  test("alone is refused", async () => {
    await expect(specOf({ ...example!, model: alone })).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining("attention.head_count_kv: expected heads in a layer, got 0"),
    });
  });

  test.each<[string, readonly number[], string]>([
    ["ssm_norm.weight", [2, 7], "mamba.norm.weight: expected [16], got [14]"],
    ["ssm_d", [5, 1], "mamba.D: expected [4], got [5]"],
    ["ssm_a", [4, 2], "mamba.A_log: expected [4], got [8]"],
  ])("with another number of elements in %s is refused", async (name, shape, message) => {
    const { model, architecture, extra = [] } = example!;
    const changed = floatTensor(`blk.0.${name}`, shape, new Float32Array(shape[0]! * shape[1]!));
    const stored = await storedTensors(model, example!);
    const tensors = stored.map((tensor) => (tensor.name === changed.name ? changed : tensor));
    const metadata = [...metadataOf(model.spec, architecture), ...extra];
    await withFile(buildGguf({ metadata, tensors }), async (path) => {
      await expect(openModel(path)).rejects.toMatchObject({
        code: "BAD_TENSOR",
        message: expect.stringContaining(message),
      });
    });
  });

  test("leaves heads as they are where the file says so; in a Granite without it that is refused", async () => {
    const flag = (architecture: string) =>
      [[`${architecture}.rope.scaling.finetuned`, bool(false)] as const] as const;
    const hybrid = CASES["granitemoehybrid with rotation, as files do not say"]!;
    const rotated = (spec: ModelSpec): readonly boolean[] => spec.layers.map(({ rope }) => rope !== null);
    expect(rotated(await specOf(hybrid))).toEqual([true, false]);
    expect(rotated(await specOf(hybrid, { extra: flag("granitehybrid") }))).toEqual([false, false]);
    await expect(specOf(CASES.granite!, { extra: flag("granite") })).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("rope.scaling.finetuned: expected true, got false"),
    });
  });
});

test("more heads than any model has are refused before there are slopes for them", async () => {
  for (const count of [2 ** 18, 2 ** 31]) {
    const extra = [["bloom.attention.head_count", u32(count)]] as const;
    await expect(specOf(CASES.bloom!, { without: ["head_count"], extra })).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining("head_count: expected at most 262144 query heads in all layers, got"),
    });
  }
});

describe("experts", () => {
  test.each<[string, string, BuiltValue, string]>([
    ["of no number", "expert_count", u32(0), "expected an integer from 1 to 1024, got 0"],
    ["of too large a number", "expert_count", u32(1025), "expected an integer from 1 to 1024, got 1025"],
    ["of which a token has none", "expert_used_count", u32(0), "expected an integer from 1 to 3, got 0"],
    ["of which a token has more than there are", "expert_used_count", u32(4), "from 1 to 3, got 4"],
    ["that do not share a width", "feed_forward_length", u32(7), "key/value heads, 10.5 neurons"],
  ])("%s are refused", async (_, key, value, message) => {
    const example = CASES["qwen3moe without a width of experts, who share that of the FFN"]!;
    await expect(specOf(example, { extra: [[`qwen3moe.${key}`, value]] })).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining(message),
    });
  });

  test.each<[string, readonly number[], string]>([
    ["ffn_gate_exps", [4, 3, 8], "BAD_FILE: expected 3 rows, got 4"],
    ["ffn_down_exps", [2, 8, 6], "BAD_FILE: expected 3 rows, got 2"],
    ["ffn_up_exps", [3, 5, 8], "BAD_TENSOR: expected [12, 8], got [15, 8]"],
    ["ffn_down_exps", [3, 8, 5], "BAD_TENSOR: expected [8, 12], got [8, 15]"],
    ["ffn_down_exps", [3, 9, 4], "BAD_TENSOR: expected [8, 12], got [9, 12]"],
    ["ffn_gate_inp", [4, 8], "BAD_TENSOR: expected [3, 8], got [4, 8]"],
    ["ffn_gate_inp_shexp", [7], "BAD_TENSOR: expected [1, 8], got [7]"],
    ["ffn_gate_inp_shexp", [2, 8], "BAD_TENSOR: expected [1, 8], got [2, 8]"],
    ["ffn_gate_shexp", [6, 8], "BAD_TENSOR: expected [5, 8], got [6, 8]"],
    ["ffn_down_shexp", [8, 4], "BAD_TENSOR: expected [8, 5], got [8, 4]"],
  ])("with other sizes of %s are refused: %j", async (name, shape, expected) => {
    const example = CASES.qwen2moe!;
    const { model, architecture, extra = [] } = example;
    const changed = floatTensor(`blk.0.${name}.weight`, shape, new Float32Array(elementCount(shape)));
    const stored = await storedTensors(model, example);
    const tensors = stored.map((tensor) => (tensor.name === changed.name ? changed : tensor));
    const metadata = [...new Map([...metadataOf(model.spec, architecture), ...extra])];
    const [code, message] = expected.split(": ");
    await withFile(buildGguf({ metadata, tensors }), async (path) => {
      await expect(openModel(path)).rejects.toMatchObject({
        code,
        message: expect.stringContaining(message!),
      });
    });
  });

  test("beside a shared one without neurons are refused", async () => {
    const extra = [["qwen2moe.expert_shared_feed_forward_length", u32(0)] as const];
    await expect(specOf(CASES.qwen2moe!, { extra })).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining(
        "expert_shared_feed_forward_length: expected a positive integer, got 0",
      ),
    });
  });

  test("beside a shared one whose gate is a row of a matrix are read", async () => {
    const example = CASES.qwen2moe!;
    const { model, architecture, extra = [] } = example;
    const tensors = await storedTensors(model, example);
    const asRows = tensors.map((tensor) => {
      return tensor.name.includes("gate_inp_shexp")
        ? { ...tensor, dimensions: [...tensor.dimensions, 1] }
        : tensor;
    });
    const metadata = [...new Map([...metadataOf(model.spec, architecture), ...extra])];
    await withFile(buildGguf({ metadata, tensors: asRows }), async (path) => {
      const { weights } = await openModel(path);
      const gate = "model.layers.1.mlp.shared_expert_gate.weight";
      expect(await weights.read(gate)).toEqual(await model.weights.read(gate));
      await weights.close();
    });
  });

  test.each([
    ["lfm2_moe", "lfm2moe.expert_gating_func", 1, "expected 2, got 1"],
    ["ernie4_5_moe", "ernie4_5-moe.interleave_moe_layer_step", 2, "expected 1, got 2"],
    ["glm4_moe", "glm4moe.expert_group_count", 2, "expected at most 1, got 2"],
  ])("of a file of %s with another %s are refused", async (name, key, value, says) => {
    await expect(specOf(CASES[name]!, { extra: [[key, u32(value)]] })).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining(says),
    });
  });

  test("beside no shared one are refused where that is a number of widths", async () => {
    const extra = [["glm4moe.expert_shared_count", u32(0)] as const];
    await expect(specOf(CASES.glm4_moe!, { extra })).rejects.toMatchObject({ code: "BAD_FILE" });
  });

  test("may be in no layer", async () => {
    const model = tinyModel({ family: "lfm2_moe", qkNorm: "head", layers: TINY_FAMILIES.lfm2.layers! });
    const counts = [
      ["lfm2moe.expert_count", u32(3)],
      ["lfm2moe.expert_used_count", u32(2)],
      ["lfm2moe.leading_dense_block_count", u32(3)],
    ] as const;
    const { layers } = await specOf({ ...CASES.lfm2_moe!, model }, { extra: counts });
    expect(layers.map(({ neurons, experts }) => [neurons, experts])).toEqual(
      layers.map(() => [6, undefined]),
    );
  });

  test("whose corrections are a matrix of one row are read", async () => {
    const example = CASES.ernie4_5_moe!;
    const { model, architecture, extra = [] } = example;
    const tensors = await storedTensors(model, example);
    const asRows = tensors.map((tensor) => {
      return tensor.name.includes("exp_probs_b")
        ? { ...tensor, dimensions: [...tensor.dimensions, 1] }
        : tensor;
    });
    const metadata = [...new Map([...metadataOf(model.spec, architecture), ...extra])];
    await withFile(buildGguf({ metadata, tensors: asRows }), async (path) => {
      const { weights } = await openModel(path);
      const name = "model.layers.1.mlp.gate.e_score_correction_bias";
      expect(await weights.read(name)).toEqual(await model.weights.read(name));
      await weights.close();
    });
  });

  test("beside delta rules with their projections in one tensor are refused, with what to do", async () => {
    const tensors = [floatTensor("blk.0.ssm_in.weight", [160, 8], new Float32Array(1280))];
    await expect(specOf({ ...CASES.qwen3_next!, tensors })).rejects.toMatchObject({
      code: "UNSUPPORTED",
      hint: expect.stringContaining("write two tensors in place of this one"),
    });
  });

  test("with a tensor for each are refused, with what to do", async () => {
    const tensors = [floatTensor("blk.0.ffn_gate.0.weight", [4, 8], new Float32Array(32))];
    await expect(specOf({ ...CASES.mixtral!, tensors })).rejects.toMatchObject({
      code: "UNSUPPORTED",
      hint: expect.stringContaining("newer files have one tensor for all experts"),
    });
  });
});

describe("ALiBi", () => {
  test("has the slopes of as many heads as the file has", async () => {
    for (const name of ["bloom", "mpt"]) {
      const { layers } = await specOf(CASES[name]!);
      expect(layers.map(({ slopes, rope }) => [slopes, rope])).toEqual(
        [1, 2].map(() => [alibiSlopes(2), null]),
      );
    }
  });

  test("allows heads of odd sizes, as no channels turn in pairs", async () => {
    for (const name of ["bloom", "mpt", "gpt2"] as const) {
      const model = tinyModel({ ...TINY_FAMILIES[name], hiddenSize: 10, headDim: 5 });
      expect((await specOf({ ...CASES[name]!, model })).headDim, name).toBe(5);
    }
  });

  test("of other slopes, or without any, is refused", async () => {
    const without = ["attention.max_alibi_bias"];
    await expect(specOf(CASES.mpt!, { without })).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("attention.max_alibi_bias: expected 8, got 0"),
    });
    const extra = [["mpt.attention.max_alibi_bias", f32(16)] as const];
    await expect(specOf(CASES.mpt!, { without, extra })).rejects.toMatchObject({ code: "UNSUPPORTED" });
  });
});

describe("windows", () => {
  test("of a StarCoder 2, which llama.cpp ignores, are read", async () => {
    const { layers } = await specOf(CASES.starcoder2!, {
      extra: [["starcoder2.attention.sliding_window", u32(16)]],
    });
    expect(layers.map(({ window }) => window)).toEqual([16, 16]);
  });

  test("of a Command R7B decide which layers are rotated, even if none has any", async () => {
    const none: BuiltValue = { type: "array", of: "bool", value: [false, false, false, false, false] };
    const extra = [["cohere2.attention.sliding_window_pattern", none]] as const;
    const { layers } = await specOf(CASES.cohere2!, { extra });
    expect(layers.map(({ window, rope }) => window ?? rope)).toEqual([null, null, null, null, null]);
    const usual = await specOf(CASES.cohere2!, { without: ["sliding_window"] });
    expect(usual.layers.map(({ window }) => window)).toEqual([4096, 4096, 4096, null, 4096]);
  });
});
