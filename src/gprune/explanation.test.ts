import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { spacesOf } from "../model/spaces.ts";
import { randomStream } from "../tensor/random.ts";
import { spearman } from "../tensor/statistics.ts";
import { explainDecision } from "./explanation.ts";
import { analyseUnits, type SplitImportance } from "./units.ts";

const spec = tinySpec({ layers: [{ neurons: 80 }, { neurons: 70, kvGroups: 3 }] });
const spaces = spacesOf(spec);

function importance(name: string): Map<string, Float64Array> {
  return new Map(
    spaces.map(({ id, units, unitChannels }) => {
      return [id, Float64Array.from({ length: units * unitChannels }, randomStream(0, name + id))];
    }),
  );
}

const names = ["web", "code", "wiki"];
const sets = new Map(
  names.map((name): [string, SplitImportance] => {
    const halves = [importance(`${name}a`), importance(`${name}b`)] as const;
    return [name, { whole: importance(name), halves }];
  }),
);
const pooled = importance("pooled");
const analyses = analyseUnits({ spaces, sets, pooled, fallback: importance("f"), seed: 0, maxModules: 4 });
const keep = { "layers.0.ffn": [1, 4, 79], "layers.1.kv": [0, 2] };
const consensus = new Map(
  analyses.map(({ space, orders }, index) => [space.id, orders.map(() => index / 8)]),
);
const explanation = explainDecision({ analyses, keep, rounds: [], consensus });

describe("explainDecision", () => {
  test("counts what every module keeps", () => {
    expect(explanation.spaces.map(({ space }) => space)).toEqual(spaces.map(({ id }) => id));
    const kept = explanation.spaces.map(({ modules }) =>
      modules.reduce((sum, module) => sum + module.kept, 0),
    );
    expect(kept).toEqual([2, 3, 2, 70]);
    for (const { modules, units } of explanation.spaces) {
      expect(modules.reduce((sum, { size }) => sum + size, 0)).toBe(units);
      for (const { profile } of modules) expect(profile).toHaveLength(3);
    }
  });

  test("says how far the sets agreed that a module's order was wrong, if they were asked", () => {
    for (const [index, { modules }] of explanation.spaces.entries()) {
      for (const { consensus: alpha } of modules) expect(alpha).toBe(index / 8);
    }
    const plain = explainDecision({ analyses, keep, rounds: [], consensus: new Map() });
    for (const { modules } of plain.spaces) expect(modules[0]).not.toHaveProperty("consensus");
  });

  test("gives the agreement of every two sets, over spaces with more than two units", () => {
    const { ranks } = analyses[2]!.sensitivity;
    expect(explanation.setOrder).toEqual(["code", "web", "wiki"]);
    expect(explanation.agreement.kv[0]![2]).toBeCloseTo(spearman(ranks[0]!, ranks[2]!), 3);
    for (const rows of Object.values(explanation.agreement)) {
      for (const [a, row] of rows.entries()) {
        expect(row[a]).toBe(1);
        for (const [b, value] of row.entries()) expect(value).toBe(rows[b]![a]);
      }
    }
  });

  test("tells the ranks of the most sensitive units, and whether they stay", () => {
    const sigmas = analyses
      .filter(({ space }) => space.kind === "ffn")
      .flatMap(({ space, sensitivity }) =>
        Array.from(sensitivity.sigma, (sigma, unit) => ({ sigma, space: space.id, unit })),
      )
      .sort((a, b) => b.sigma - a.sigma);
    const profiles = explanation.profiles.filter(({ space }) => space.endsWith("ffn"));
    expect(profiles.map(({ space, unit }) => ({ space, unit }))).toEqual(
      sigmas.slice(0, 12).map(({ space, unit }) => ({ space, unit })),
    );
    for (const { space, unit, kept } of explanation.profiles) {
      const ids = (keep as Record<string, readonly number[]>)[space];
      expect(kept).toBe(ids?.includes(unit) ?? true);
    }
  });

  test("is JSON with four significant digits, and whole numbers as they are", () => {
    const moves = [
      { space: "layers.0.ffn", from: 123_456, to: 123_457, worth: 0.000_012_345_6 },
      { space: "layers.1.ffn", from: 5, to: 4, worth: -12.345_67 },
    ];
    const moved = explainDecision({ analyses, keep, rounds: [], consensus, moves });
    expect(moved.moves).toEqual([
      { space: "layers.0.ffn", from: 123_456, to: 123_457, worth: 0.000_012_35 },
      { space: "layers.1.ffn", from: 5, to: 4, worth: -12.35 },
    ]);
    expect(JSON.parse(JSON.stringify(moved))).toEqual(moved);
    const fractions = JSON.stringify(moved).match(/\d+\.\d+/g)!;
    expect(fractions.length).toBeGreaterThan(100);
    for (const fraction of fractions) expect(fraction.replace(/^0\.0*|\./g, "").length).toBeLessThan(5);
  });
});
