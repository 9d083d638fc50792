import { expect, test } from "vitest";
import { markdown, type Row } from "./table.ts";

const row = (fraction: number, removed: number, geometricMean: number): Row => ({
  way: "Pruner",
  removes: "neurons",
  version: "1.0",
  setting: "best",
  note: {},
  screened: 9,
  fraction,
  removed,
  ppl: { web: geometricMean },
  geometricMean,
  tried: [{ setting: "best", removed, note: {}, screened: 9 }],
});

test("the summary shows fractions in order, what was removed where it is something else, and no dense model", () => {
  const rows = [row(0, 0, 11.5), row(0.5, 0.467, 40), row(0.2, 0.199, 15), row(1e-7, 0, 11.5)];
  const [head, , ...body] = markdown(rows, []).split("\n");
  expect(head).toBe("| tool | removes | 0 % | 20 % | 50 % |");
  expect(body[0]).toBe("| Pruner (1.0) | neurons | 11.50 | 15.00 | 40.00 (46.7 %) |");
  expect(body[1]).toBe("");
});
