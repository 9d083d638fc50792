import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { plansFor, tinyOptions } from "../../test/plans.ts";
import { tinySpec } from "../../test/tiny_model.ts";
import { makePlan } from "./plan.ts";
import { formatPlan, parsePlan } from "./plan_json.ts";

const spec = tinySpec({ layers: [{ neurons: 6 }] });
const plan = makePlan(
  spec,
  { "layers.0.kv": [1], "layers.0.ffn": [0, 2, 5] },
  { sparsity: 0.3, metric: "wifv", sets: [{ name: "wiki" }], nothing: [], none: {} },
);

describe("formatPlan", () => {
  it("sorts keys and writes indices on one line", () => {
    expect(formatPlan(plan)).toBe(`{
  "base": {
    "family": "llama",
    "groupSizes": [2],
    "headDim": 4,
    "hiddenSize": 8,
    "kvGroups": [2],
    "neurons": [6]
  },
  "format": "gprune-plan",
  "keep": {
    "layers.0.ffn": [0,2,5],
    "layers.0.kv": [1]
  },
  "provenance": {
    "metric": "wifv",
    "none": {},
    "nothing": [],
    "sets": [
      {
        "name": "wiki"
      }
    ],
    "sparsity": 0.3
  },
  "version": 1
}
`);
  });

  it("is read back as it was, and writes the same bytes again", () => {
    const plans = tinyOptions.map(tinySpec).chain(plansFor);
    const cases = fc.tuple(plans, fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 })));
    fc.assert(
      fc.property(cases, ([made, settings]) => {
        // -0 is written as 0, and zod drops the key "__proto__"
        const provenance = JSON.parse(JSON.stringify({ ...settings }));
        fc.pre(!JSON.stringify(settings).includes("__proto__"));
        const text = formatPlan({ ...made, provenance });
        expect(parsePlan(text, "plan.json")).toEqual({ ...made, provenance });
        expect(formatPlan(parsePlan(text, "plan.json"))).toBe(text);
      }),
    );
  });
});

describe("parsePlan", () => {
  const changed = (change: Record<string, unknown>): string => JSON.stringify({ ...plan, ...change });
  it.each<[string, string, RegExp]>([
    ["text that is not JSON", "{", /^plan.json: expected JSON/],
    ["another value", "[1]", /^plan.json: plan: .*expected object/],
    ["another format", changed({ format: "gguf" }), /format/],
    ["another version", changed({ version: 2 }), /version/],
    ["an unknown key", changed({ extra: 1 }), /extra/],
    ["a missing key", changed({ base: undefined }), /base/],
    ["widths that are no counts", changed({ base: { ...plan.base, neurons: [0] } }), /base.neurons.0/],
    ["indices that are no numbers", changed({ keep: { "layers.0.ffn": ["0"] } }), /keep.layers.0.ffn.0/],
    ["negative indices", changed({ keep: { "layers.0.ffn": [-1] } }), /keep.layers.0.ffn.0/],
    [
      "indices beyond its own widths",
      changed({ keep: { "layers.0.ffn": [6] } }),
      /expected units 0..5, got 6/,
    ],
    ["an unknown space", changed({ keep: { hidden: [0] } }), /got "hidden"/],
  ])("refuses %s", (_, text, message) => {
    expect(() => parsePlan(text, "plan.json")).toThrow(message);
    expect(() => parsePlan(text, "plan.json")).toThrow(expect.objectContaining({ code: "BAD_PLAN" }));
  });
});
