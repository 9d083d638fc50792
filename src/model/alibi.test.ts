import { expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { alibiSlopes, groupPlaces, withKvGroups } from "./alibi.ts";

test("slopes of ALiBi are those of transformers", () => {
  const of = (...powers: readonly number[]): readonly number[] => powers.map((power) => 2 ** -power);
  expect(alibiSlopes(1)).toEqual(of(8));
  expect(alibiSlopes(2)).toEqual(of(4, 8));
  expect(alibiSlopes(8)).toEqual(of(1, 2, 3, 4, 5, 6, 7, 8));
  // `_get_alibi_slopes(6)` and `_get_alibi_slopes(12)` of modeling_bloom.py.
  expect(alibiSlopes(6)).toEqual(of(2, 4, 6, 8, 1, 3));
  expect(alibiSlopes(12)).toEqual(of(1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5));
});

test("KV groups keep the slopes of their query heads, by which their places are found again", () => {
  const slopes = alibiSlopes(8);
  const [layer] = tinySpec({ layers: [{ kvGroups: 4, groupSize: 2, slopes }] }).layers;
  const kept = withKvGroups(layer!, [0, 2, 3]);
  expect(kept).toMatchObject({ kvGroups: 3, groupSize: 2 });
  expect(kept.slopes).toEqual([0, 1, 4, 5, 6, 7].map((head) => slopes[head]));
  expect(groupPlaces(kept, layer!)).toEqual([0, 2, 3]);
  expect(groupPlaces({ ...kept, slopes: kept.slopes!.toReversed() }, layer!)).toBeNull();
  expect(groupPlaces(withKvGroups(layer!, [2, 0]), layer!)).toBeNull();
  expect(groupPlaces(tinySpec().layers[0]!, layer!)).toBeNull();
});
