/** Configurations of families whose classes assume or name something unlike Llama's. */
import { describe, expect, test } from "vitest";
import { LLAMA, read, windowsOf } from "../../../test/family_configs.ts";
import { PROJECTIONS, type Projection, type RopeSpec } from "../spec.ts";
import { writeConfig } from "./form.ts";

const QKV = ["q_proj", "k_proj", "v_proj"];

function biasesOf(config: object): readonly Projection[] {
  return read({ ...LLAMA, ...config }).layers[0]!.biases;
}

function ropesIn(config: object): readonly (RopeSpec | null)[] {
  return read({ ...LLAMA, ...config }).layers.map(({ rope }) => rope);
}

/** The configuration as it is written, which must be read as the same model. */
function rewritten(config: object): Readonly<Record<string, unknown>> {
  const spec = read({ ...LLAMA, ...config });
  const written = writeConfig(spec, "float32");
  expect(read(written)).toEqual(spec);
  return written;
}

describe("biases", () => {
  test("are on queries, keys and values of Seed-OSS and GLM unless the configuration says no", () => {
    for (const model_type of ["seed_oss", "glm", "glm4"]) {
      expect(biasesOf({ model_type }), model_type).toEqual(QKV);
      expect(biasesOf({ model_type, attention_bias: false }), model_type).toEqual([]);
    }
    expect(biasesOf({ model_type: "llama" })).toEqual([]);
  });

  test("have flags for the outputs of attention and the FFN in Seed-OSS", () => {
    expect(biasesOf({ model_type: "seed_oss", attention_out_bias: true })).toEqual([...QKV, "o_proj"]);
    expect(biasesOf({ model_type: "seed_oss", mlp_bias: true })).not.toContain("o_proj");
    expect(biasesOf({ model_type: "llama", attention_out_bias: true })).toEqual([]);
  });

  test("have one flag for all in ERNIE 4.5, whose class in vLLM ignores them, so that it is written as a Llama", () => {
    expect(biasesOf({ model_type: "ernie4_5", use_bias: true })).toEqual(PROJECTIONS);
    const spec = read({ ...LLAMA, model_type: "ernie4_5", use_bias: true });
    expect(writeConfig(spec, "float32").model_type).toBe("llama");
  });
});

describe("a part of each head", () => {
  test("is half in GLM where its configuration does not say, and written wherever it is not", () => {
    const whole = { partial_rotary_factor: 1 };
    for (const model_type of ["glm", "glm4"]) {
      expect(ropesIn({ model_type, head_dim: 8 })[0]!.rotaryDim).toBe(4);
      expect(ropesIn({ model_type, head_dim: 8, ...whole })[0]!.rotaryDim).toBe(8);
      expect(rewritten({ model_type, head_dim: 8, ...whole })).toMatchObject({
        ...whole,
        rope_parameters: whole,
      });
      expect(rewritten({ model_type, head_dim: 8 }).partial_rotary_factor).toBe(0.5);
    }
  });
});

describe("EXAONE 4", () => {
  const EXAONE4 = { ...LLAMA, model_type: "exaone4", num_hidden_layers: 5 };
  const windows = [4096, 4096, 4096, null, 4096];

  test("does not rotate layers without a window if there is a length for windows", () => {
    expect(windowsOf(EXAONE4)).toEqual(windows);
    expect(ropesIn(EXAONE4).map((rope) => rope !== null)).toEqual([true, true, true, false, true]);
    expect(windowsOf({ ...EXAONE4, sliding_window: null })).toEqual([null, null, null, null, null]);
    expect(ropesIn({ ...EXAONE4, sliding_window: null })).not.toContain(null);
  });

  test("is written with a length for windows if and only if its layers without one are not rotated", () => {
    const types = (type: string): object => ({ layer_types: new Array(5).fill(type) });
    expect(rewritten(EXAONE4).sliding_window).toBe(4096);
    expect(rewritten({ ...EXAONE4, sliding_window: null }).sliding_window).toBeNull();
    const unrotated = { ...EXAONE4, ...types("full_attention"), sliding_window: 4096 };
    expect(ropesIn(unrotated)).toEqual([null, null, null, null, null]);
    expect(rewritten(unrotated).sliding_window).toBe(4096);
  });

  test("takes patterns as transformers does: a number, and anything beside layer_types", () => {
    expect(windowsOf({ ...EXAONE4, sliding_window_pattern: 2 })).toEqual([4096, null, 4096, null, 4096]);
    const types = windows.map((window) => (window === null ? "full_attention" : "sliding_attention"));
    for (const sliding_window_pattern of ["LLLG", 0]) {
      expect(windowsOf({ ...EXAONE4, sliding_window_pattern, layer_types: types })).toEqual(windows);
    }
    expect(() => read({ ...EXAONE4, sliding_window_pattern: "LLLG" })).toThrow(
      "expected layer_types, got the pattern LLLG alone",
    );
    expect(() => read({ ...EXAONE4, sliding_window_pattern: 0 })).toThrow("expected layer_types");
    const hostile = `\u001b[2J${"L".repeat(1000)}`;
    expect(() => read({ ...EXAONE4, sliding_window_pattern: hostile })).toThrow(
      /pattern \\x1b.{100,110} alone$/,
    );
  });
});

describe("OLMo 2", () => {
  test.each(["linear", "dynamic"])("names %s scaling as its class in transformers 4 wants it", (type) => {
    const scaling = { rope_scaling: { rope_type: type, factor: 4 } };
    expect(rewritten({ model_type: "olmo2", ...scaling }).rope_scaling).toEqual({ type, factor: 4 });
    expect(rewritten({ model_type: "seed_oss", head_dim: 8, ...scaling })).toMatchObject(scaling);
  });
});

describe("OLMo 3", () => {
  test("stretches layers without a window only, and has a base of its own in the others", () => {
    const rope_scaling = { rope_type: "linear", factor: 4 };
    const config = { model_type: "olmo3", num_hidden_layers: 4, rope_theta: 7, rope_scaling };
    const local = { theta: 500_000, rotaryDim: 8, scaling: null };
    const full = { theta: 7, rotaryDim: 8, scaling: { type: "linear", factor: 4 } };
    expect(ropesIn(config)).toEqual([local, local, local, full]);
    expect(windowsOf({ ...LLAMA, ...config })).toEqual([4096, 4096, 4096, null]);
    rewritten(config);
  });

  test.each(["olmo3", "gemma3_text"])(
    "refuses a scaling of %s that transformers would ignore",
    (model_type) => {
      const config = { model_type, head_dim: 8 };
      expect(() => ropesIn({ ...config, rope_scaling: { type: "linear", factor: 4 } })).toThrow(
        'expected rope_scaling with rope_type, got type "linear" alone',
      );
      const both = { type: "linear", rope_type: "linear", factor: 4 };
      for (const rope_scaling of [both, { type: "default" }]) ropesIn({ ...config, rope_scaling });
    },
  );

  test("has a length for windows even where no layer has one, since its class makes the mask", () => {
    const layer_types = ["full_attention", "full_attention"];
    expect(rewritten({ model_type: "olmo3", layer_types }).sliding_window).toBe(4096);
  });
});

describe("HunYuan", () => {
  const rope = (parameters: object): RopeSpec | null =>
    ropesIn({ model_type: "hunyuan_v1_dense", rope_theta: 10_000, rope_scaling: parameters })[0]!;

  test("raises the base of dynamic scaling by alpha, for texts of any length", () => {
    const scaled = rope({ type: "dynamic", alpha: 1000, factor: 1, beta_fast: 32 });
    expect(scaled).toEqual({ theta: 10_000 * 1000 ** (8 / 6), rotaryDim: 8, scaling: null });
    const dynamic = { type: "dynamic", factor: 2, originalMaxPositions: 2048 };
    expect(rope({ type: "dynamic", alpha: 0, factor: 2 })).toEqual({
      theta: 10_000,
      rotaryDim: 8,
      scaling: dynamic,
    });
  });

  test("is written with the raised base", () => {
    const rope_scaling = { type: "dynamic", alpha: 1000, factor: 1 };
    const written = rewritten({ model_type: "hunyuan_v1_dense", rope_scaling });
    expect(written).toMatchObject({ rope_parameters: { rope_type: "default" } });
    expect(written).not.toHaveProperty("rope_scaling");
  });

  test.each([1e308, 1e-308])("refuses an alpha of %s, which leaves no base", (alpha) => {
    expect(() => rope({ type: "dynamic", alpha, factor: 1 })).toThrow(
      /expected an alpha with a finite, positive base of the rotation, got 1e[+-]308, base (Infinity|0)$/,
    );
  });

  test("alone knows alpha", () => {
    expect(ropesIn({ rope_scaling: { type: "dynamic", alpha: 1000, factor: 2 } })[0]!.theta).toBe(10_000);
  });
});
