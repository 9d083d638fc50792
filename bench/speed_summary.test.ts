import { describe, expect, test } from "vitest";
import { tinySpec } from "../test/tiny_model.ts";
import { decodingCost, summarise, type TokenRate } from "./speed_summary.ts";

describe("what pruning gains", () => {
  const dense = tinySpec({ layers: [{ neurons: 6 }, { neurons: 6 }] });
  const pruned = tinySpec({ layers: [{ neurons: 4 }, { neurons: 2 }] });
  // C 8, V 16, four heads and two KV groups of size 4. Norms of a layer: 2 x 8; attention: 128 + 64 + 64 + 128.
  const layers = 2 * (16 + 384);
  const [denseLayers, prunedLayers] = [layers + 12 * 3 * 8, layers + 6 * 3 * 8];
  const [vocabulary, norm] = [16 * 8, 8];

  test("is held against the dense model round by round, and against the parameters", () => {
    const [own, other] = summarise([
      { model: "dense", spec: dense, prompt: [100, 50], decode: [10, 20], late: [8, 10] },
      { model: "pruned", spec: pruned, prompt: [150, 100], decode: [20, 30], late: [16, 10] },
    ]);
    expect(own!.decode).toMatchObject({ promised: 1, kept: 1 });
    expect(other!.prompt.speedUp).toEqual({ median: 1.75, min: 1.5, max: 2 });
    expect(other!.prompt.promised).toBeCloseTo(denseLayers / prunedLayers, 12);
    const promised = (denseLayers + vocabulary + norm) / (prunedLayers + vocabulary + norm);
    expect(other!.decode.promised).toBeCloseTo(promised, 12);
    expect(other!.decode.kept).toBeCloseTo(1.75 / promised, 12);
    expect(other!.decode.speed).toEqual({ median: 25, min: 20, max: 30 });
    expect(other!.late.promised).toBe(other!.decode.promised);
    expect(other!.late.speedUp).toEqual({ median: 1.5, min: 1, max: 2 });
  });

  test("leaves out embeddings of which decoding reads one row", () => {
    const untied = (spec: typeof dense): typeof dense => ({ ...spec, tiedEmbeddings: false });
    const series = [dense, pruned].map((spec) => ({ model: "m", spec, prompt: [1], decode: [1], late: [1] }));
    const apart = series.map((one) => ({ ...one, spec: untied(one.spec) }));
    expect(summarise(apart)[1]!.decode.promised).toBe(summarise(series)[1]!.decode.promised);
  });
});

test("a token costs something whatever the model's size, and more after a long past", () => {
  const perPast = [0.03, 0.03, 0.01];
  const models = [100, 60, 20].map((bytes, index) => {
    const after = (past: number): TokenRate => {
      return { past, tokensPerSecond: 1 / (0.5 + 0.01 * bytes + perPast[index]! * past) };
    };
    return { bytes, early: after(10), late: after(40) };
  });
  const cost = decodingCost(models);
  expect(cost.fixed).toBeCloseTo(0.5, 12);
  expect(cost.perByte).toBeCloseTo(0.01, 12);
  for (const [index, seconds] of cost.perPast.entries()) expect(seconds).toBeCloseTo(perPast[index]!, 12);
  expect(cost.worst).toBeCloseTo(0, 12);
  expect(cost.gain).toBeCloseTo(1.5 / 0.7, 12);
});
