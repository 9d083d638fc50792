import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { tinyModel } from "../../../test/tiny_model.ts";
import { elementCount } from "../../tensor/tensor.ts";
import { type Feeds, Runtime } from "../runtime/runtime.ts";
import { layerStructure } from "./layer_structure.ts";
import { keptPositionBytes, PositionFeeds } from "./position_feeds.ts";
import { structureFor } from "./programs.ts";

const { spec } = tinyModel();
const layer = spec.layers[0]!;

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

function feedsOf(positions: PositionFeeds, tokens: number): Feeds {
  const structure = structureFor("forward", layerStructure(spec, 0), { tokens, window: layer.window });
  return positions.of(layer, { tokens, offset: 0, sequence: tokens, places: undefined }, structure);
}

function bytes(feeds: Feeds): number {
  return Object.values(feeds).reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0);
}

test("keeps what was asked for lately, and no more than it says", () => {
  const [keep, release] = [vi.spyOn(runtime, "keep"), vi.spyOn(runtime, "release")];
  const positions = new PositionFeeds(runtime);
  const lengths = [512, 8192, 16_384, 24_576, 32_768, 40_960];
  const feeds = lengths.map((tokens) => feedsOf(positions, tokens));
  const gone = new Set(release.mock.calls.map(([released]) => released));
  const left = keep.mock.calls.map(([kept]) => kept).filter((kept) => !gone.has(kept));
  const all = feeds.map(bytes);
  expect(all.reduce((sum, size) => sum + size, 0)).toBeGreaterThan(2 * keptPositionBytes(all));
  expect(left.map(bytes).reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(keptPositionBytes(all));
  expect(feedsOf(positions, 40_960)).toBe(feeds.at(-1));
  expect(feedsOf(positions, 512)).toEqual(feeds[0]);
  expect(feedsOf(positions, 512)).not.toBe(feeds[0]);
});

test("shares masks between layers whose slopes differ", () => {
  const { spec } = tinyModel({
    layers: [0.5, 0.25].map((slope) => ({ groupSize: 1, slopes: [slope, 1] })),
  });
  const positions = new PositionFeeds(runtime);
  const [first, second] = spec.layers.map((each, index) => {
    const span = { tokens: 4, offset: 0, sequence: 4, places: undefined };
    return positions.of(each, span, layerStructure(spec, index));
  });
  expect(first!.mask).toBe(second!.mask);
  expect([first, second].map((feeds) => [...feeds!.slopes!.data])).toEqual([
    [0.5, 1],
    [0.25, 1],
  ]);
});
