import { describe, expect, test } from "vitest";
import { tinyModel } from "../../test/tiny_model.ts";
import { inspectModel } from "./inspect.ts";

describe("inspectModel", () => {
  test("counts parameters, widths and biases without reading a tensor", () => {
    const model = tinyModel({ layers: [{}, { neurons: 4, kvGroups: 1, biases: ["down_proj"] }] });
    const read = () => Promise.reject(new Error("expected no reads"));
    const { parameters, ...facts } = inspectModel({ ...model, weights: { ...model.weights, read } });
    // C 8, H 4, V 16, tied. A neuron has 3 C, a KV group of 2 query heads 6 H C; norms and embeddings stay.
    const [first, second] = [6 * 24 + 2 * 192, 4 * 24 + 192];
    expect(parameters).toEqual({
      prunable: first + second,
      total: first + second + 8 + 5 * 8 + 16 * 8,
    });
    expect(facts).toEqual({
      bytes: 4 * parameters.total,
      model: "tiny",
      format: "memory",
      family: "llama",
      dtype: "F32",
      layers: 2,
      hidden_size: 8,
      head_dim: 4,
      head_dims: [4, 4],
      kv_sources: [0, 1],
      experts: [0, 0],
      active_experts: [0, 0],
      vocab_size: 16,
      tokenizer: false,
      tied_embeddings: true,
      widths: { ffn: [6, 4], kv: [2, 1], heads: [4, 2] },
      output_biases: 1,
      runtimes: {
        gprune: "yes",
        transformers: "with trust_remote_code (layers differ in width)",
        vllm: "with trust_remote_code (layers differ in width)",
        "llama.cpp": "after gprune export (as deci)",
        onnx: "after gprune export --format onnx",
        "transformers.js": "after gprune export --format onnx",
      },
    });
  });

  test("counts layers with a bias after either output projection", () => {
    const biases = [["o_proj"], ["down_proj"], ["o_proj", "down_proj"], ["q_proj"], []] as const;
    expect(inspectModel(tinyModel({ layers: biases.map((own) => ({ biases: own })) })).output_biases).toBe(3);
  });

  test("counts the experts of each layer", () => {
    const layers = [{ experts: { count: 3, active: 2, normalised: true } }, {}];
    const { experts, active_experts, widths } = inspectModel(tinyModel({ layers }));
    expect({ experts, active_experts, neurons: widths.ffn }).toEqual({
      experts: [3, 0],
      active_experts: [2, 0],
      neurons: [6, 6],
    });
  });

  test("says whether a tokenizer came with the model", () => {
    const files = [{ name: "tokenizer.json", bytes: new Uint8Array() }];
    expect(inspectModel({ ...tinyModel({ layers: [{}] }), files }).tokenizer).toBe(true);
  });
});
