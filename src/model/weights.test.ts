import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { layerParameters, layersParameters, parameterCount } from "./parameter_counts.ts";
import { prunableParameters } from "./spaces.ts";

describe("numbers of parameters", () => {
  test("of SmolLM2-135M are those that its authors count", () => {
    const layer = { neurons: 1536, kvGroups: 3, groupSize: 3 };
    const layers = Array.from({ length: 30 }, () => layer);
    const spec = tinySpec({ vocabSize: 49152, hiddenSize: 576, headDim: 64, layers });
    expect(parameterCount(spec)).toBe(134_515_008);
    expect(layersParameters(spec)).toBe(134_515_008 - 49152 * 576 - 576);
    expect(prunableParameters(spec)).toBe(layersParameters(spec) - 30 * 2 * 576);
  });

  test("include what an activation learns and not its constants, as PyTorch counts", () => {
    const layers = [1, 2].map(() => ({ neurons: 5, kvGroups: 2, groupSize: 2 }));
    const [plain, learning] = [tinySpec({ layers }), tinySpec({ layers, activation: "xielu" })];
    // alpha_p and alpha_n; beta and eps are buffers.
    expect(layerParameters(learning, 0) - layerParameters(plain, 0)).toBe(2);
    expect(parameterCount(learning) - parameterCount(plain)).toBe(4);
  });

  test("include biases, norms and an output matrix of its own where there are any", () => {
    const layer = { neurons: 5, kvGroups: 2, groupSize: 2 };
    const plain = tinySpec({ layers: [layer, layer] });
    const biased = tinySpec({
      layers: [layer, { ...layer, biases: ["q_proj", "k_proj", "down_proj"] }],
      qkNorm: "head",
      norms: "around",
      tiedEmbeddings: false,
    });
    const { hiddenSize: size, headDim, vocabSize } = plain;
    const norms = 2 * headDim + 2 * size;
    const biases = (4 + 2) * headDim + size;
    expect(layerParameters(biased, 0) - layerParameters(plain, 0)).toBe(norms);
    expect(layerParameters(biased, 1) - layerParameters(plain, 1)).toBe(norms + biases);
    expect(layersParameters(biased)).toBe(layerParameters(biased, 0) + layerParameters(biased, 1));
    expect(parameterCount(biased) - parameterCount(plain)).toBe(2 * norms + biases + vocabSize * size);
    // The bias of an output projection stays when units go.
    expect(prunableParameters(biased) - prunableParameters(plain)).toBe(biases - size);
  });
});
