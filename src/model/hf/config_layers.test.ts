/** Settings of single layers in config.json: rotary embedding and windows. */
import { describe, expect, test } from "vitest";
import {
  GEMMA,
  GEMMA2,
  GRANITE,
  LLAMA,
  PHI3,
  QWEN,
  read,
  SMOLLM3,
  windowsOf,
} from "../../../test/family_configs.ts";
import { writeConfig } from "./form.ts";

describe("rotary parameters", () => {
  const factors = {
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  };
  const llama3 = {
    type: "llama3",
    factor: 8,
    lowFreqFactor: 1,
    highFreqFactor: 4,
    originalMaxPositions: 8192,
  };

  test.each([
    [{ rope_theta: 500 }, { theta: 500, scaling: null }],
    [
      { rope_theta: 500, rope_scaling: null },
      { theta: 500, scaling: null },
    ],
    [{ rope_parameters: { rope_theta: 500, rope_type: "default" } }, { theta: 500, scaling: null }],
    [
      { rope_scaling: { type: "linear", factor: 2 } },
      { theta: 10_000, scaling: { type: "linear", factor: 2 } },
    ],
    [
      { rope_theta: 500, rope_scaling: { rope_type: "llama3", ...factors } },
      { theta: 500, scaling: llama3 },
    ],
    [
      { rope_parameters: { rope_theta: 500, rope_type: "llama3", ...factors } },
      { theta: 500, scaling: llama3 },
    ],
    [
      { rope_theta: 1, rope_scaling: { type: "linear", factor: 2 }, rope_parameters: { rope_theta: 500 } },
      { theta: 1, scaling: { type: "linear", factor: 2 } },
    ],
    [
      { rope_theta: 1, rope_scaling: {}, rope_parameters: { rope_theta: 500 } },
      { theta: 500, scaling: null },
    ],
  ])("reads %j", (keys, expected) => {
    expect(read({ ...LLAMA, ...keys }).layers[0]!.rope).toEqual({ rotaryDim: 8, ...expected });
  });

  test("start from the longest sequence where Llama 3's scaling says no other", () => {
    const { original_max_position_embeddings: _, ...silent } = factors;
    const keys = { rope_scaling: { rope_type: "llama3", ...silent }, max_position_embeddings: 64 };
    expect(read({ ...LLAMA, ...keys }).layers[0]!.rope?.scaling).toEqual({
      ...llama3,
      originalMaxPositions: 64,
    });
  });

  describe.each([{ partial_rotary_factor: 0.5 }, { rope_parameters: { partial_rotary_factor: 0.5 } }])(
    "for a part of a head: %j",
    (keys) => {
      test("rotate that part in a Phi-3", () => {
        expect(read({ ...PHI3, ...keys }).layers[0]!.rope?.rotaryDim).toBe(4);
      });

      test.each([LLAMA, GEMMA2, QWEN, GRANITE, SMOLLM3])(
        "are refused in other families: $model_type",
        (config) => {
          expect(() => read({ ...config, ...keys })).toThrow(
            expect.objectContaining({
              code: "UNSUPPORTED",
              message: expect.stringContaining("partial_rotary_factor 1 for "),
            }),
          );
        },
      );
    },
  );

  test.each([
    { rope_scaling: { type: "yarn" } },
    { rope_scaling: { type: "toString", factor: 2 } },
    { rope_scaling: { type: "longrope", short_factor: [1] } },
    { rope_scaling: { type: "dynamic" } },
    { rope_scaling: { type: "linear" } },
    { rope_parameters: { rope_type: "llama3", factor: 8 } },
  ])("refuses %j", (keys) => {
    expect(() => read({ ...LLAMA, ...keys })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining("rope type") }),
    );
  });

  test("leaves out flat ones where layers of either type have their own, as configuration_gemma3.py does", () => {
    const flat = { rope_parameters: { rope_type: "linear", factor: 2, rope_theta: 500 } };
    expect(read({ ...GEMMA, ...flat })).toEqual(read(GEMMA));
    expect(read({ ...GEMMA, ...flat, rope_theta: 70 })).toEqual(read({ ...GEMMA, rope_theta: 70 }));
  });

  test("reads one set for windowed layers and one for the others, before and since transformers 5", () => {
    const layer_types = ["sliding_attention", "full_attention"];
    const scaled = { rope_type: "linear", factor: 8 };
    const config = { ...GEMMA, num_hidden_layers: 2, layer_types };
    const since = {
      full_attention: { ...scaled, rope_theta: 500_000 },
      sliding_attention: { rope_type: "default", rope_theta: 77 },
    };
    const before = { rope_theta: 500_000, rope_local_base_freq: 77, rope_scaling: scaled };
    for (const keys of [{ rope_parameters: since }, before]) {
      expect(read({ ...config, ...keys }).layers.map(({ rope }) => rope)).toEqual([
        { theta: 77, rotaryDim: 8, scaling: null },
        { theta: 500_000, rotaryDim: 8, scaling: { type: "linear", factor: 8 } },
      ]);
    }
    const stretched = { rope_scaling: { rope_type: "linear", factor: 2 }, rope_parameters: since };
    expect(read({ ...config, ...stretched }).layers.map(({ rope }) => rope)).toEqual([
      { theta: 77, rotaryDim: 8, scaling: null },
      { theta: 500_000, rotaryDim: 8, scaling: { type: "linear", factor: 2 } },
    ]);
    const written = JSON.parse(JSON.stringify(writeConfig(read({ ...config, ...before }), "float32")));
    expect(written).toMatchObject({ rope_scaling: scaled, rope_parameters: since });
    // The keys that transformers before 5 reads.
    expect(read({ ...written, rope_parameters: undefined })).toEqual(read({ ...config, ...before }));
  });
});

describe("layers that are not rotated", () => {
  /** Whether each layer is rotated. */
  const rotated = (config: object): readonly boolean[] =>
    read(config).layers.map(({ rope }) => rope !== null);

  test("are each 4th of a SmolLM3, or as its configuration says", () => {
    expect(rotated(SMOLLM3)).toEqual([true, true, true, false, true]);
    expect(rotated({ ...SMOLLM3, no_rope_layers: null })).toEqual([true, true, true, false, true]);
    expect(rotated({ ...SMOLLM3, no_rope_layer_interval: 2 })).toEqual([true, false, true, false, true]);
    const given = { ...SMOLLM3, no_rope_layers: [0, 1, 1, 1, 0, 0], no_rope_layer_interval: 2 };
    expect(rotated(given)).toEqual([false, true, true, true, false]);
    expect(rotated({ ...given, model_type: "llama" })).toEqual([true, true, true, true, true]);
    expect(read(SMOLLM3)).toMatchObject({ tiedEmbeddings: true });
    expect(read(SMOLLM3).layers[0]!.rope).toEqual({ theta: 2_000_000, rotaryDim: 8, scaling: null });
  });

  test("have the windows where layer_types does not say otherwise", () => {
    const config = { ...SMOLLM3, use_sliding_window: true, sliding_window: 16 };
    expect(windowsOf(config)).toEqual([null, null, null, 16, null]);
    expect(windowsOf({ ...config, use_sliding_window: undefined })).toEqual([null, null, null, null, null]);
    const layer_types = ["sliding", "full", "full", "full", "full"].map((type) => `${type}_attention`);
    expect(windowsOf({ ...config, layer_types })).toEqual([16, null, null, null, null]);
  });
});

describe("windows", () => {
  test("are those of all layers in Mistral, of none in Llama", () => {
    expect(windowsOf({ ...LLAMA, model_type: "mistral", sliding_window: 16 })).toEqual([16, 16]);
    expect(windowsOf({ ...LLAMA, model_type: "mistral", sliding_window: null })).toEqual([null, null]);
    const layer_types = ["full_attention", "sliding_attention"];
    const ministral = { ...LLAMA, model_type: "ministral", sliding_window: 16 };
    expect(windowsOf({ ...ministral, layer_types })).toEqual([null, 16]);
    expect(windowsOf(ministral)).toEqual([16, 16]);
    expect(windowsOf({ ...LLAMA, model_type: "mistral" })).toEqual([4096, 4096]);
    expect(windowsOf({ ...LLAMA, model_type: "phi3", sliding_window: 16, layer_types })).toEqual([16, 16]);
    expect(windowsOf({ ...LLAMA, sliding_window: 16 })).toEqual([null, null]);
  });

  test("are those of the layers that attention_types calls local, in turn", () => {
    const config = { ...LLAMA, model_type: "gpt_neo", num_hidden_layers: 5, window_size: 16 };
    const attention_types = [
      [["global", "local"], 2],
      [["local"], 1],
    ];
    expect(windowsOf({ ...config, attention_types })).toEqual([null, 16, null, 16, 16]);
    expect(windowsOf({ ...config, window_size: undefined, attention_types })).toContain(256);
    // The class makes the second list of the first, and reads it where a file has both.
    const attention_layers = ["local", "global", "global", "global", "local"];
    const ofLayers = [16, null, null, null, 16];
    for (const types of [attention_types, undefined])
      expect(windowsOf({ ...config, attention_types: types, attention_layers })).toEqual(ofLayers);
    expect(() => read({ ...config, attention_types, attention_layers: ["local"] })).toThrow(
      "attention_layers with an entry for every layer, got 1",
    );
    const usual = { ...config, num_hidden_layers: 24 };
    expect(windowsOf(usual).slice(-3)).toEqual([16, null, 16]);
    const bombs = Array.from({ length: 4096 }, () => [Array.from({ length: 4096 }, () => "local"), 4096]);
    for (const [types, count] of [
      [[[["local"], 4]], 4],
      [undefined, 24],
      [bombs, 4096 ** 3],
    ]) {
      expect(() => read({ ...config, attention_types: types })).toThrow(
        `attention_types with an entry for every layer, got ${count}`,
      );
    }
  });

  test("are those that layer_types names", () => {
    const types = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"];
    const config = { ...QWEN, layer_types: types };
    expect(windowsOf({ ...config, use_sliding_window: true })).toEqual([null, 16, null, 16]);
    expect(windowsOf({ ...config, sliding_window: null })).toEqual([null, null, null, null]);
    const off = { use_sliding_window: false };
    expect(windowsOf({ ...config, ...off, sliding_window: null })).toEqual([null, null, null, null]);
    expect(windowsOf({ ...config, ...off, layer_types: Array(4).fill(types[0]) })).toEqual([
      null,
      null,
      null,
      null,
    ]);
  });

  test.each([false, undefined])(
    "are refused where layer_types names some and use_sliding_window does not switch them on: %s",
    (use_sliding_window) => {
      const layer_types = ["full_attention", "full_attention", "full_attention", "sliding_attention"];
      const smollm3 = { ...SMOLLM3, num_hidden_layers: 4, sliding_window: 16 };
      for (const config of [QWEN, { ...QWEN, model_type: "qwen2_moe" }, smollm3]) {
        expect(() => read({ ...config, layer_types, use_sliding_window })).toThrow(
          expect.objectContaining({
            code: "BAD_CONFIG",
            message: expect.stringContaining(
              `use_sliding_window true, since layer_types gives layer 3 a window, got ${use_sliding_window ?? "none"}`,
            ),
          }),
        );
      }
    },
  );

  test("are not switched off in families whose classes know no switch", () => {
    const off = { use_sliding_window: false };
    expect(windowsOf({ ...GEMMA, ...off })).toEqual(windowsOf(GEMMA));
    const layer_types = ["full_attention", "sliding_attention"];
    const ministral = { ...LLAMA, model_type: "ministral", sliding_window: 16, layer_types };
    expect(windowsOf({ ...ministral, ...off })).toEqual([null, 16]);
    expect(windowsOf({ ...GEMMA, ...off, num_hidden_layers: 2, layer_types })).toEqual([null, 16]);
  });

  test("are derived as transformers does where layer_types is missing", () => {
    const gemma = [16, 16, 16, 16, 16, null, 16];
    expect(windowsOf(GEMMA)).toEqual(gemma);
    expect(windowsOf({ ...GEMMA, sliding_window_pattern: 6 })).toEqual(gemma);
    expect(windowsOf({ ...GEMMA, sliding_window_pattern: 2 })).toEqual([16, null, 16, null, 16, null, 16]);
    // Only the class of Gemma 3 knows the key.
    expect(windowsOf({ ...GEMMA2, sliding_window_pattern: 3 })).toEqual(windowsOf(GEMMA2));
    const qwen = { ...QWEN, use_sliding_window: false };
    expect(windowsOf({ ...qwen, sliding_window_pattern: 2 })).toEqual(windowsOf(qwen));
    expect(windowsOf({ ...QWEN, max_window_layers: 2 })).toEqual([null, null, null, null]);
    expect(windowsOf({ ...QWEN, max_window_layers: 2, use_sliding_window: true })).toEqual([
      null,
      null,
      16,
      16,
    ]);
  });
});
