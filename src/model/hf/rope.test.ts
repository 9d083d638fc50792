/** Scalings of rotary frequencies in config.json, both ways. */
import { describe, expect, test } from "vitest";
import { GEMMA, LLAMA, PHI3, QWEN, read } from "../../../test/family_configs.ts";
import { tinySpec } from "../../../test/tiny_model.ts";
import type { LongropeScaling, YarnScaling } from "../rope_spec.ts";
import type { LayerSpec, ModelSpec } from "../spec.ts";
import { configText } from "./config_writer.ts";
import { findHfForm, vllmObstacle, writeConfig } from "./form.ts";

const YARN: YarnScaling = {
  type: "yarn",
  factor: 4,
  originalMaxPositions: 64,
  attentionFactor: 1.138629436111989,
  betaFast: 32,
  betaSlow: 1,
  truncate: true,
};

/** The scaling that a config.json gives to the first layer. */
function scalingOf(config: Readonly<Record<string, unknown>>): unknown {
  return read(config).layers[0]!.rope?.scaling;
}

describe("YaRN in config.json", () => {
  const given = { factor: 4, original_max_position_embeddings: 64 };

  test.each<[Readonly<Record<string, unknown>>, Partial<YarnScaling>]>([
    [{ rope_scaling: { type: "yarn", ...given } }, {}],
    [{ rope_scaling: { rope_type: "yarn", ...given } }, {}],
    [{ rope_parameters: { rope_type: "yarn", rope_theta: 10_000, ...given } }, {}],
    [{ rope_scaling: { type: "yarn", ...given, attention_factor: 1.3 } }, { attentionFactor: 1.3 }],
    [{ rope_scaling: { type: "yarn", ...given, attention_factor: null, mscale: 0.7 } }, {}],
    [
      { rope_scaling: { type: "yarn", ...given, mscale: 0.7, mscale_all_dim: 0.4 } },
      { attentionFactor: 1.0394038191422568 },
    ],
    [
      { rope_scaling: { type: "yarn", ...given, beta_fast: 8, beta_slow: 2, truncate: false } },
      { betaFast: 8, betaSlow: 2, truncate: false },
    ],
    [{ rope_scaling: { type: "yarn", ...given, beta_fast: 0, beta_slow: null } }, {}],
    [{ rope_scaling: { type: "yarn", factor: 4 }, max_position_embeddings: 64 }, {}],
    [{ rope_scaling: { type: "yarn", factor: 4 }, original_max_position_embeddings: 64 }, {}],
    [
      { rope_scaling: { type: "yarn", ...given, factor: null }, max_position_embeddings: 128 },
      { factor: 2, attentionFactor: 0.1 * Math.log(2) + 1 },
    ],
  ])("reads %j", (keys, expected) => {
    expect(scalingOf({ ...LLAMA, ...keys })).toEqual({ ...YARN, ...expected });
  });

  test("takes the original length beside the parameters before the one among them, as transformers does", () => {
    const keys = { rope_scaling: { type: "yarn", ...given }, original_max_position_embeddings: 32 };
    expect(scalingOf({ ...QWEN, ...keys })).toMatchObject({ originalMaxPositions: 32 });
  });

  test("stretches a length that was left as it was, and no other", () => {
    const scaled = (max_position_embeddings: number): ModelSpec =>
      read({ ...QWEN, max_position_embeddings, rope_scaling: { type: "yarn", ...given } });
    expect(scaled(64).maxPositions).toBe(256);
    expect(scaled(256).maxPositions).toBe(256);
    expect(scaled(300).maxPositions).toBe(300);
  });

  test("is refused in a Phi-3, which has another scaling of that name", () => {
    expect(() => read({ ...PHI3, rope_scaling: { type: "yarn", ...given } })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED" }),
    );
  });

  test.each([
    [{ factor: 1e12 }, "at most 2147483648 positions"],
    [
      { mscale: 1e308, mscale_all_dim: 1e308, factor: 1e30, original_max_position_embeddings: 1 },
      "a finite attention factor",
    ],
  ])("is refused where %j would make it endless", (change, says) => {
    expect(() => read({ ...LLAMA, rope_scaling: { type: "yarn", ...given, ...change } })).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG", message: expect.stringContaining(says) }),
    );
  });

  test("is for layers without windows where those have parameters of their own, and always truncated there", () => {
    const full_attention = { rope_type: "yarn", rope_theta: 500, ...given, truncate: false };
    const sliding_attention = { rope_type: "default", rope_theta: 70 };
    const spec = read({ ...GEMMA, rope_parameters: { full_attention, sliding_attention } });
    expect(spec.layers[5]!.rope).toMatchObject({ theta: 500, scaling: YARN });
    expect(spec.layers[0]!.rope).toMatchObject({ theta: 70, scaling: null });
    expect(read(writeConfig(spec, "float32"))).toEqual(spec);
  });

  test.each([
    { factor: -1 },
    { factor: "4" },
    { attention_factor: 0 },
    { beta_fast: -1 },
    { truncate: 1 },
    { original_max_position_embeddings: 0.5 },
  ])("refuses %j", (change) => {
    expect(() => read({ ...LLAMA, rope_scaling: { type: "yarn", ...given, ...change } })).toThrow(
      expect.objectContaining({
        code: "BAD_CONFIG",
        message: expect.stringContaining(Object.keys(change)[0]!),
      }),
    );
  });

  test.each<Partial<YarnScaling>>([
    {},
    { attentionFactor: 1 },
    { betaFast: 8, betaSlow: 2, truncate: false },
    { factor: 2.5, attentionFactor: 1.7 },
  ])("is written and read back: %j", (change) => {
    const rope = { theta: 10_000, rotaryDim: 4, scaling: { ...YARN, ...change } };
    for (const neurons of [6, 5]) {
      const spec = tinySpec({ maxPositions: 256, layers: [{ rope }, { rope, neurons }] });
      expect(read(writeConfig(spec, "float32"))).toEqual(spec);
    }
  });

  test("is written without what other programs assume, and with floats as Python wants them", () => {
    const written = (change: Partial<YarnScaling>): Record<string, unknown> => {
      const rope = { theta: 10_000, rotaryDim: 4, scaling: { ...YARN, ...change } };
      return writeConfig(tinySpec({ maxPositions: 256, layers: [{ rope }] }), "float32");
    };
    const plain = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 64 };
    expect(written({})).toMatchObject({ max_position_embeddings: 256, rope_theta: 10_000 });
    expect(written({}).rope_scaling).toEqual(plain);
    expect(written({}).rope_parameters).toEqual({ ...plain, rope_theta: 10_000 });
    expect(configText(written({ attentionFactor: 2, betaFast: 8 }))).toMatch(
      /"attention_factor": 2\.0,\s+"beta_fast": 8\.0/,
    );
  });

  test("is not vLLM's where the attention factor is another", () => {
    const form = (attentionFactor: number): string | null => {
      const rope = { theta: 10_000, rotaryDim: 4, scaling: { ...YARN, attentionFactor } };
      const spec = tinySpec({ maxPositions: 256, layers: [{ rope }] });
      return vllmObstacle(spec, findHfForm(spec)!.family);
    };
    expect(form(YARN.attentionFactor)).toBeNull();
    expect(form(1)).toBe("uses a different attention factor");
  });
});

describe("LongRoPE in config.json", () => {
  const given = { short_factor: [1, 1.5], long_factor: [2, 4] };
  const heads = { head_dim: 4, max_position_embeddings: 256 };
  const expected: LongropeScaling = {
    type: "longrope",
    shortFactors: [1, 1.5],
    longFactors: [2, 4],
    originalMaxPositions: 64,
    // sqrt(1 + ln 4 / ln 64)
    attentionFactor: 1.1547005383792517,
  };
  const inside = { ...given, original_max_position_embeddings: 64 };

  test.each<[Readonly<Record<string, unknown>>, Partial<LongropeScaling>]>([
    [{ rope_scaling: { type: "longrope", ...inside } }, {}],
    [{ rope_scaling: { rope_type: "longrope", ...given }, original_max_position_embeddings: 64 }, {}],
    [{ rope_parameters: { rope_type: "longrope", rope_theta: 10_000, ...inside } }, {}],
    [
      { rope_parameters: { rope_type: "longrope", ...inside }, original_max_position_embeddings: 128 },
      { originalMaxPositions: 128, attentionFactor: Math.sqrt(1 + Math.log(2) / Math.log(128)) },
    ],
    [
      { rope_scaling: { type: "longrope", ...inside, factor: 8 } },
      { attentionFactor: Math.sqrt(1 + Math.log(8) / Math.log(64)) },
    ],
    [{ rope_scaling: { type: "longrope", ...inside, attention_factor: 1.25 } }, { attentionFactor: 1.25 }],
    [{ rope_scaling: { type: "longrope", ...given } }, { originalMaxPositions: 256, attentionFactor: 1 }],
  ])("reads %j", (keys, change) => {
    expect(scalingOf({ ...LLAMA, ...heads, ...keys })).toEqual({ ...expected, ...change });
  });

  test.each(["longrope", "su", "yarn"])(
    "is what Phi-3 calls %s, from 4096 tokens on unless it says otherwise",
    (type) => {
      const phi3 = { ...PHI3, ...heads, rope_scaling: { type, ...given } };
      const unsaid = { ...expected, originalMaxPositions: 4096, attentionFactor: 1 };
      expect(scalingOf(phi3)).toEqual(unsaid);
      expect(scalingOf({ ...phi3, rope_scaling: { type, ...inside } })).toEqual(unsaid);
      expect(scalingOf({ ...phi3, original_max_position_embeddings: 64 })).toEqual(expected);
    },
  );

  test("wants a factor for every pair of rotated channels", () => {
    const phi4 = { ...PHI3, ...heads, head_dim: 8, rope_scaling: { type: "longrope", ...given } };
    expect(() => read(phi4)).toThrow(
      expect.objectContaining({
        code: "BAD_CONFIG",
        message: expect.stringContaining("short_factor and long_factor of 4 numbers, got 2"),
      }),
    );
    const part = { ...phi4, partial_rotary_factor: 0.5, original_max_position_embeddings: 64 };
    expect(scalingOf(part)).toEqual(expected);
  });

  test.each([{ short_factor: ["1", 1] }, { long_factor: [1, 0] }, { long_factor: [1, null] }])(
    "refuses %j",
    (change) => {
      expect(() =>
        read({ ...LLAMA, ...heads, rope_scaling: { type: "longrope", ...inside, ...change } }),
      ).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
    },
  );

  test("starts from more than one token", () => {
    const one = { type: "longrope", ...given, original_max_position_embeddings: 1 };
    expect(() => read({ ...LLAMA, ...heads, rope_scaling: one })).toThrow(
      expect.objectContaining({
        code: "BAD_CONFIG",
        message: expect.stringContaining("a finite attention factor"),
      }),
    );
  });

  test("is written with the keys that Phi-3 in transformers 4 wants, and the length where version 5 looks, too", () => {
    const config = { ...PHI3, ...heads, hidden_size: 16, rope_scaling: { type: "longrope", ...given } };
    const spec = read({ ...config, original_max_position_embeddings: 64 });
    const written = writeConfig(spec, "float32");
    expect(written).toMatchObject({ model_type: "phi3", original_max_position_embeddings: 64 });
    expect(written.rope_scaling).toEqual({ type: "longrope", ...given });
    expect(written.rope_parameters).toEqual({ rope_type: "longrope", rope_theta: 10_000, ...inside });
    expect(read(written)).toEqual(spec);
  });

  test.each([
    ["phi3", "type"],
    ["cohere", "rope_type"],
  ])("names its type in a %s as %s, as the class in transformers 4 wants it", (model_type, key) => {
    const keys = { ...inside, original_max_position_embeddings: 64 };
    const config = {
      ...LLAMA,
      ...heads,
      hidden_size: 16,
      model_type,
      rope_scaling: { type: "longrope", ...keys },
    };
    const spec = read(config);
    const written = writeConfig(spec, "float32");
    expect(written.rope_scaling).toEqual({ [key]: "longrope", ...given });
    expect(read(written)).toEqual(spec);
  });

  test("is written and read back in every family, with an attention factor of its own and without", () => {
    for (const family of ["llama", "mistral", "qwen2", "smollm3", "granite", "phi3"]) {
      for (const attentionFactor of [expected.attentionFactor, 1]) {
        const rope = { theta: 10_000, rotaryDim: 4, scaling: { ...expected, attentionFactor } };
        const spec = tinySpec({ family, maxPositions: 256, layers: [{ rope }, { rope, neurons: 5 }] });
        expect(read(writeConfig(spec, "float32")), family).toEqual(spec);
      }
    }
  });

  test("needs our modelling file, or another class, for a Phi-3 whose heads are not as wide as the hidden state", () => {
    const typeOf = (layer: Partial<LayerSpec>): unknown => {
      const rope = { theta: 10_000, rotaryDim: 4, scaling: expected };
      const spec = tinySpec({ family: "phi3", maxPositions: 256, layers: [{ rope, ...layer }] });
      return writeConfig(spec, "float32").model_type;
    };
    const half = {
      theta: 10_000,
      rotaryDim: 2,
      scaling: { ...expected, shortFactors: [1], longFactors: [2] },
    };
    expect(typeOf({ kvGroups: 1 })).toBe("phi3");
    expect(typeOf({ kvGroups: 2 })).toBe("llama");
    expect(typeOf({ kvGroups: 1, rope: half })).toBe("phi3");
    expect(typeOf({ kvGroups: 2, rope: half })).toBe("gprune_phi3");
  });
});

describe("dynamic scaling in config.json", () => {
  const scaled = { ...LLAMA, max_position_embeddings: 64, rope_scaling: { type: "dynamic", factor: 4 } };
  const since = {
    ...LLAMA,
    max_position_embeddings: 64,
    rope_parameters: { rope_type: "dynamic", factor: 4 },
  };

  test("starts from the longest sequence that is said, and takes longer ones by its factor", () => {
    for (const config of [scaled, since, { ...scaled, original_max_position_embeddings: 16 }]) {
      const spec = read(config);
      expect(spec.layers[0]!.rope?.scaling).toEqual({ type: "dynamic", factor: 4, originalMaxPositions: 64 });
      expect(spec.maxPositions).toBe(256);
    }
  });

  test("is written with the length that it starts from, and read back", () => {
    const spec = read(scaled);
    const written = writeConfig(spec, "float32");
    expect(written).toMatchObject({ max_position_embeddings: 64 });
    expect(written.rope_scaling).toEqual({ rope_type: "dynamic", factor: 4 });
    expect(read(written)).toEqual(spec);
  });

  test("is not vLLM's, which stretches every text", () => {
    const spec = read(scaled);
    expect(vllmObstacle(spec, findHfForm(spec)!.family)).toBe(
      "applies dynamic RoPE scaling to short texts too",
    );
  });

  test("is refused where it would shrink, or where there is no pair of channels to grow", () => {
    const shrinking = { ...scaled, rope_scaling: { type: "dynamic", factor: 0.5 } };
    expect(() => read(shrinking)).toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
    expect(() => read({ ...scaled, head_dim: 2 })).toThrow(
      expect.objectContaining({
        code: "BAD_CONFIG",
        message: expect.stringContaining("at least 4 rotated channels for dynamic RoPE scaling, got 2"),
      }),
    );
  });
});

test.each([LLAMA, GEMMA])("scalings for each type of layers are refused in rope_scaling", (config) => {
  const rope_scaling = { full_attention: { rope_type: "linear", factor: 4 } };
  expect(() => read({ ...config, rope_scaling })).toThrow(
    expect.objectContaining({
      code: "BAD_CONFIG",
      message: expect.stringMatching(/expected one scaling for all layers.*at rope_scaling\.full_attention/s),
    }),
  );
});

test("rotations for each type of layers are refused where a class has one", () => {
  const rope_parameters = { sliding_attention: { rope_type: "default", rope_theta: 500 } };
  expect(() => read({ ...LLAMA, rope_parameters })).toThrow(
    expect.objectContaining({
      code: "BAD_CONFIG",
      message: expect.stringContaining("expected rope_parameters for all layers"),
    }),
  );
});
