import { describe, expect, it } from "vitest";
import { type TinyModelOptions, tinyModel } from "../../test/tiny_model.ts";
import { inspectModel } from "./inspect.ts";

describe("inspectModel", () => {
  it("counts parameters, widths and biases without reading a tensor", () => {
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
      model: "tiny",
      format: "memory",
      family: "llama",
      dtype: "F32",
      layers: 2,
      hidden_size: 8,
      head_dim: 4,
      vocab_size: 16,
      tied_embeddings: true,
      widths: { ffn: [6, 4], kv: [2, 1], heads: [4, 2] },
      output_biases: 1,
      runtimes: {
        gprune: "yes",
        transformers: "no: stock classes build every layer alike",
        "llama.cpp": "yes, as deci",
      },
    });
  });

  it("knows which biases the stock classes have", () => {
    const transformers = (family: string): string => {
      const biases = ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"] as const;
      return inspectModel(tinyModel({ family, layers: [{ biases }] })).runtimes.transformers!;
    };
    expect(transformers("llama")).toBe("yes");
    expect(transformers("qwen2")).toBe("no: its qwen2 has no model.layers.0.self_attn.o_proj.bias");
  });

  it("names the architecture of llama.cpp, what it adds or leaves out, or what is in the way", () => {
    const answer = (options: TinyModelOptions): string =>
      inspectModel(tinyModel(options)).runtimes["llama.cpp"]!;
    expect(answer({})).toBe("yes, as llama");
    expect(answer({ family: "mistral", layers: [{ window: 8 }] })).toBe(
      "yes, as llama, without the window of 8 tokens",
    );
    const uneven = { family: "qwen3", qkNorm: true, layers: [{ neurons: 3 }, {}] };
    expect(answer(uneven)).toBe("yes, as openelm");
    expect(answer({ ...uneven, tiedEmbeddings: false })).toBe(
      "yes, as qwen3, with 6 % more parameters, which are zeros",
    );
    expect(answer({ family: "qwen3", qkNorm: true, layers: [{ biases: ["down_proj"] }] })).toBe(
      "no: qwen3 cannot have biases at down_proj; openelm cannot have biases at down_proj",
    );
  });
});
