import { describe, expect, test } from "vitest";
import { alibiSlopes, withKvGroups } from "../alibi.ts";
import type { ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { hfForm, vllmObstacle, writeConfig } from "./form.ts";

const FALCON = {
  ...{ model_type: "falcon", vocab_size: 16, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 8 },
};
const NEW = { ...FALCON, new_decoder_architecture: true, num_kv_heads: 2 };
const ALIBI = { ...FALCON, alibi: true, multi_query: false, parallel_attn: false, bias: true };

function read(config: object): ModelSpec {
  return readConfig(JSON.parse(JSON.stringify(config)), "config.json");
}

describe("Falcon", () => {
  test.each<[object, object, number]>([
    [FALCON, { norms: "shared", parallel: true }, 1],
    [{ ...FALCON, num_kv_heads: 8 }, { norms: "shared", parallel: true }, 1],
    [{ ...FALCON, multi_query: false }, { norms: "shared", parallel: true }, 8],
    [{ ...FALCON, parallel_attn: false }, { norms: "before", parallel: false }, 1],
    [NEW, { norms: "before", parallel: true }, 2],
    [{ ...NEW, num_ln_in_parallel_attn: 1 }, { norms: "shared", parallel: true }, 2],
    [{ ...NEW, num_kv_heads: null }, { norms: "before", parallel: true }, 8],
  ])("with %j has norms and key/value heads of its layout", (config, placement, kvGroups) => {
    const spec = read(config);
    expect(spec).toMatchObject({ ...placement, headDim: 4, activation: "gelu" });
    expect(spec.layers[0]).toMatchObject({ kvGroups, groupSize: 8 / kvGroups, neurons: 128, biases: [] });
    expect(spec.layers[0]!.rope).toMatchObject({ theta: 10_000, rotaryDim: 4 });
    expect(hfForm(spec).remoteCode).toBe(false);
    expect(read(writeConfig(spec, "float32"))).toEqual(spec);
  });

  test("has ALiBi with slopes in bfloat16, scaled with the scores, and then no rotation", () => {
    const spec = read({ ...ALIBI, hidden_size: 96, num_attention_heads: 24 });
    for (const { slopes = [], rope } of spec.layers) {
      expect(rope).toBeNull();
      for (const [head, slope] of slopes.entries()) {
        const exact = alibiSlopes(24)[head]!;
        expect(Math.abs(2 * slope - exact) / exact).toBeLessThan(2 ** -8);
        // Eight significant bits.
        const fraction = (2 * slope) / 2 ** Math.floor(Math.log2(2 * slope));
        expect(Number.isInteger(fraction * 128)).toBe(true);
      }
    }
    expect(read(writeConfig(spec, "float32"))).toEqual(spec);
  });

  test.each<[string, object, readonly number[]]>([
    ["all layouts", { ...FALCON, multi_query: false }, [1, 3, 6]],
    ["the newer one", NEW, [1]],
    ["ALiBi", ALIBI, [0, 7]],
  ])("of %s that lost heads comes back", (_, config, kept) => {
    const dense = read(config);
    const spec = { ...dense, layers: [dense.layers[0]!, withKvGroups(dense.layers[1]!, kept)] };
    expect(hfForm(spec).remoteCode).toBe(true);
    expect(read(writeConfig(spec, "float32"))).toEqual(spec);
  });

  test("writes no head size, which the class derives, and no multi_query where it is the class's own", () => {
    const written = JSON.parse(JSON.stringify(writeConfig(read(FALCON), "float32")));
    expect(written).not.toHaveProperty("head_dim");
    expect(written).not.toHaveProperty("multi_query");
    expect(written).toMatchObject({ num_kv_heads: 1, ffn_hidden_size: 128, activation: "gelu" });
  });

  test.each([
    { ...NEW, parallel_attn: false },
    { ...FALCON, num_ln_in_parallel_attn: 2 },
  ])("with %j, with which the class does not run, is refused", (config) => {
    expect(() => read(config)).toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
  });

  test("of other FFNs than vLLM's class builds does not go there as it is", () => {
    const { family } = hfForm(read(FALCON));
    expect(vllmObstacle(read(FALCON), family)).toBeNull();
    expect(vllmObstacle(read({ ...FALCON, ffn_hidden_size: 96 }), family)).toContain("neurons");
  });
});
