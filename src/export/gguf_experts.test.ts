/** Mixtures of experts in GGUF files: which llama.cpp can hold, and the types of their tensors. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { type TinyModelOptions, tinyModel, tinySpec } from "../../test/tiny_model.ts";
import { openGguf } from "../io/formats/gguf.ts";
import type { ExpertsSpec, LayerSpec } from "../model/spec.ts";
import { exportGguf } from "./gguf.ts";
import { findGgufTarget, requireGgufTarget } from "./gguf_target.ts";

/** A layer with experts of four neurons each. */
const ofExperts = (change: Partial<ExpertsSpec> = {}): Partial<LayerSpec> => {
  const experts = { count: 3, active: 2, normalised: true, ...change };
  return { neurons: 4 * experts.count, experts };
};
const QWEN3_MOE = { family: "qwen3_moe", qkNorm: "head" } as const;

describe("the architecture", () => {
  test.each<[string, TinyModelOptions]>([
    ["llama", TINY_FAMILIES.mixtral],
    ["qwen3moe", { ...QWEN3_MOE, layers: [ofExperts({ count: 1024 })] }],
    ["granitemoe", TINY_FAMILIES.granitemoe],
    ["olmoe", TINY_FAMILIES.olmoe],
  ])("is %s", (name, options) => {
    const target = requireGgufTarget(tinySpec(options), "tiny");
    expect(target).toMatchObject({ name, zeros: 0, spec: tinySpec(options) });
  });

  test("has zeros in every expert of narrower layers", () => {
    const layers = [ofExperts(), { ...ofExperts(), neurons: 9 }];
    const target = requireGgufTarget(tinySpec({ family: "mixtral", layers }), "tiny");
    expect(target.spec.layers.map(({ neurons }) => neurons)).toEqual([12, 12]);
    // One neuron of 3 C in each of three experts.
    expect(target.zeros).toBe(3 * 3 * 8);
  });

  test.each<[string, TinyModelOptions, string]>([
    ["experts of a Llama", { layers: [ofExperts()] }, "llama does not support experts; deci does not"],
    ["a Mixtral without", { family: "mixtral" }, "llama does not support layers without experts"],
    [
      "experts in some layers",
      { ...QWEN3_MOE, layers: [ofExperts(), {}] },
      "qwen3moe does not support layers without experts",
    ],
    [
      "more experts in some layers",
      { ...QWEN3_MOE, layers: [ofExperts(), ofExperts({ count: 4 })] },
      "qwen3moe does not support other numbers of experts in some layers",
    ],
    [
      "more experts of a token in some layers",
      { ...QWEN3_MOE, layers: [ofExperts(), ofExperts({ active: 1 })] },
      "qwen3moe does not support other numbers of experts in some layers",
    ],
    [
      "too many experts",
      { ...QWEN3_MOE, layers: [ofExperts({ count: 1025 })] },
      "qwen3moe does not support more than 1024 experts",
    ],
    [
      "experts of a Qwen3 MoE whose numbers stay as they are",
      { ...QWEN3_MOE, layers: [ofExperts({ normalised: false })] },
      "qwen3moe does not support experts of a token whose numbers do not add up to 1",
    ],
    [
      "experts of an OLMoE whose numbers become shares",
      { ...TINY_FAMILIES.olmoe, layers: [{ ...ofExperts(), groupSize: 1 }] },
      "olmoe does not support experts of a token whose numbers add up to 1",
    ],
    [
      "heads of an OLMoE that share keys",
      { ...TINY_FAMILIES.olmoe, layers: [{ ...ofExperts({ normalised: false }), kvGroups: 1 }] },
      "olmoe does not support key heads whose total width differs from the hidden size 8",
    ],
    [
      "clipped queries of an OLMoE",
      { ...TINY_FAMILIES.olmoe, projectionClip: 8 },
      "olmoe does not support clipped queries, keys and values",
    ],
    [
      "biases of experts",
      { ...TINY_FAMILIES.granitemoe, layers: [{ ...ofExperts(), biases: ["o_proj", "down_proj"] }] },
      "granitemoe does not support biases at down_proj",
    ],
  ])("is none for %s", (_, options, says) => {
    expect(findGgufTarget(tinySpec(options))).toMatchObject({
      target: null,
      reason: expect.stringContaining(says),
    });
  });
});

test("tensors of experts are of the types of their rows, and routers never of few bits", async () => {
  const layer = { ...ofExperts(), neurons: 3 * 256 };
  const model = tinyModel({ ...TINY_FAMILIES.mixtral, hiddenSize: 256, layers: [layer, layer] });
  const path = join(await temporaryDirectory(), "out.gguf");
  await exportGguf(model, path, { dtype: "q4_k" });
  const { source } = await openGguf(path);
  const infos = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", "ffn_gate_inp"].map((name) =>
    source.info(`blk.0.${name}.weight`),
  );
  const matrices = { dtype: "Q4_K", shape: [3, 256, 256] };
  expect(infos).toEqual([matrices, matrices, matrices, { dtype: "F32", shape: [3, 256] }]);
  await source.close();
});
