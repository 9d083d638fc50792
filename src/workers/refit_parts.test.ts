import { expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import type { Digest } from "../io/stage_file.ts";
import { joinedParts, type RefitPart } from "./refit_parts.ts";

const { layers } = tinySpec({ layers: [{ neurons: 6 }, { neurons: 4 }] });

/** Two ranges of one layer each, the first of which leaves two shards in these states. */
function parts(after: readonly Digest[]): readonly RefitPart[] {
  return layers.map((layer, index) => {
    const bias = { shape: [1], data: Float32Array.of(index) };
    return { layers: [layer], tensors: new Map([[`bias ${index}`, bias]]), after: index === 0 ? after : [] };
  });
}

function digest(name: string): Digest {
  return { sha256: name, bytes: 4 };
}

test("ranges are joined when each ends where the next one began", () => {
  const states = [digest("a"), digest("b")];
  const joined = joinedParts(parts(states), [[null, null], states]);
  expect(joined!.layers).toEqual(layers);
  expect([...joined!.tensors.keys()]).toEqual(["bias 0", "bias 1"]);
});

test("a state that differs, is missing or is not known leaves all of it to the run itself", () => {
  const [a, b] = [digest("a"), digest("b")];
  for (const began of [[a, digest("c")], [b, a], [a], [a, null], [a, b, b]]) {
    expect(joinedParts(parts([a, b]), [[null, null], began])).toBeNull();
  }
});
