import { expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { channelsOf, spacesOf, sumOverUnits } from "./spaces.ts";

test("channels of units are the runs that sums over units add up", () => {
  const [kv] = spacesOf(tinySpec({ layers: [{ kvGroups: 3, groupSize: 2 }], headDim: 2 }));
  expect([...channelsOf([2, 0], kv!.unitChannels)]).toEqual([8, 9, 10, 11, 0, 1, 2, 3]);
  for (const unit of [0, 1, 2]) {
    const ones = new Float64Array(12);
    for (const channel of channelsOf([unit], kv!.unitChannels)) ones[channel] = 1;
    expect([...sumOverUnits(ones, kv!)]).toEqual([0, 1, 2].map((other) => (other === unit ? 4 : 0)));
  }
});
