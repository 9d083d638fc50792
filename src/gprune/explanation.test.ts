import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { spacesOf } from "../model/spaces.ts";
import { randomStream } from "../tensor/random.ts";
import { spearman } from "../tensor/statistics.ts";
import { analyseUnits, type SplitImportance } from "./analysis.ts";
import { explainDecision } from "./explanation.ts";

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

  test("tells the units of several modules apart", () => {
    const [analysis] = analyses.filter(({ space }) => space.id === "layers.0.ffn");
    const { modules, verdicts, sensitivity } = analysis!;
    const divided = {
      ...analysis!,
      modules: {
        ...modules,
        assignment: modules.assignment.map((_, unit) => (unit < 20 ? 0 : 1)),
        modules: [modules.modules[0]!, modules.modules[0]!],
      },
      verdicts: [verdicts[0]!, verdicts[0]!],
    };
    const [row] = explainDecision({ analyses: [divided], keep, rounds: [], consensus }).spaces;
    expect(row!.modules.map(({ kept }) => kept)).toEqual([2, 1]);
    for (const [d, ranks] of sensitivity.ranks.entries()) {
      const of = (units: Float64Array): number => units.reduce((sum, rank) => sum + rank, 0) / units.length;
      expect(row!.modules[0]!.profile[d]).toBeCloseTo(of(ranks.subarray(0, 20)), 3);
      expect(row!.modules[1]!.profile[d]).toBeCloseTo(of(ranks.subarray(20)), 3);
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

  test("shows the most sensitive units, and of equally sensitive ones the first", () => {
    const analysis = analyses.find(({ space }) => space.id === "layers.0.ffn")!;
    const sigmas = fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 80, maxLength: 80 });
    fc.assert(
      fc.property(sigmas, (values) => {
        const sensitivity = { ...analysis.sensitivity, sigma: Float64Array.from(values, (v) => v / 60) };
        const shown = explainDecision({
          analyses: [{ ...analysis, sensitivity }],
          keep,
          rounds: [],
          consensus,
        }).profiles;
        const order = [...values.keys()].sort((a, b) => values[b]! - values[a]!);
        expect(shown.map(({ unit }) => unit)).toEqual(order.slice(0, 12));
      }),
    );
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
