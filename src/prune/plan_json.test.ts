import fc from "fast-check";
import { describe, expect, test } from "vitest";
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
  test("sorts keys and writes indices on one line", () => {
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

  test("is read back as it was, and writes the same bytes again", () => {
    const plans = tinyOptions.map(tinySpec).chain(plansFor);
    const cases = fc.tuple(plans, fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 })));
    fc.assert(
      fc.property(cases, ([made, settings]) => {
        // -0 is written as 0, and the key "__proto__" is refused
        const provenance = JSON.parse(JSON.stringify({ ...settings }));
        fc.pre(!JSON.stringify(settings).includes("__proto__"));
        const text = formatPlan({ ...made, provenance });
        expect(parsePlan(text, "plan.json")).toEqual({ ...made, provenance });
        expect(formatPlan(parsePlan(text, "plan.json"))).toBe(text);
      }),
    );
  });
});

/** Lists inside one another. */
function nested(depth: number): unknown {
  return Array.from({ length: depth }).reduce((inner) => [inner], 0);
}

describe("parsePlan", () => {
  const changed = (change: Record<string, unknown>): string => JSON.stringify({ ...plan, ...change });
  test.each<[string, string, RegExp]>([
    ["text that is not JSON", "{", /^plan.json: expected JSON/],
    ["another value", "[1]", /^plan.json: plan: .*expected object/],
    ["another format", changed({ format: "gguf" }), /format/],
    ["another version", changed({ version: 2 }), /version/],
    ["an unknown key", changed({ extra: 1 }), /extra/],
    ["a missing key", changed({ base: undefined }), /base/],
    ["widths that are no counts", changed({ base: { ...plan.base, neurons: [-1] } }), /base.neurons.0/],
    ["indices that are no numbers", changed({ keep: { "layers.0.ffn": ["0"] } }), /keep.layers.0.ffn.0/],
    ["negative indices", changed({ keep: { "layers.0.ffn": [-1] } }), /keep.layers.0.ffn.0/],
    [
      "indices beyond its own widths",
      changed({ keep: { "layers.0.ffn": [6] } }),
      /expected units 0 to 5, got 6/,
    ],
    ["nothing", "", /expected JSON/],
    [
      "a polluted space",
      changed({}).replace('"keep":{', '"keep":{"__proto__":[0],'),
      /plain keys, got "__proto__"/,
    ],
    ["a polluted record", changed({ provenance: { a: 1 } }).replace('"a"', '"__proto__"'), /"__proto__"/],
    ["two spaces of one name", changed({}).replace('"keep":{', '"keep":{"a":[0],"a":[1],'), /every key once/],
    ["a space named like a method", changed({ keep: { toString: [0] } }), /got "toString"/],
    ["deep grounds", changed({ provenance: nested(100) }), /64 levels deep/],
    ["too many layers", changed({ base: { ...plan.base, neurons: Array(4097).fill(1) } }), /base.neurons/],
    ["units that are no whole numbers", changed({ keep: { "layers.0.ffn": [0.5] } }), /keep.layers.0.ffn.0/],
    ["units beyond 2^53", changed({ keep: { "layers.0.ffn": [2 ** 60] } }), /keep.layers.0.ffn.0/],
    ["a unit twice", changed({ keep: { "layers.0.ffn": [1, 1] } }), /ascending units, got 1 after 1/],
    ["units out of order", changed({ keep: { "layers.0.ffn": [2, 1] } }), /ascending units, got 1 after 2/],
    ["no units", changed({ keep: { "layers.0.kv": [] } }), /at least one unit/],
    ["a space with a line break", changed({ keep: { "a\nhint: b": [0] } }), /got "a\\x0ahint: b"/],
    ["an unknown space", changed({ keep: { hidden: [0] } }), /got "hidden"/],
  ])("refuses %s", (_, text, message) => {
    expect(() => parsePlan(text, "plan.json")).toThrow(message);
    expect(() => parsePlan(text, "plan.json")).toThrow(expect.objectContaining({ code: "BAD_PLAN" }));
  });
});
