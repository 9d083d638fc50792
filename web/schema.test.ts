import { expect, test } from "vitest";
import {
  entriesOf,
  labelOf,
  otherFields,
  pathLabel,
  type RunSchema,
  settingsOf,
  withoutField,
} from "./schema.ts";

const SCHEMA: RunSchema = {
  properties: {
    model: { type: "string" },
    output: { type: "string" },
    sparsity: { type: "number" },
    refine: { type: "boolean" },
    calibration: {
      items: { properties: { path: { type: "string" }, weight: { type: "number" } } },
    },
  },
};

test("reads what was typed in, and leaves defaults to the run", () => {
  const calibration = [{ path: " a b.txt ", weight: "2" }, { path: "" }];
  const settings = settingsOf(SCHEMA, { model: "small", sparsity: "0.3", refine: "false", calibration });
  const sets = [{ path: "a b.txt", weight: 2 }, {}];
  expect(settings).toEqual({ model: "small", sparsity: 0.3, refine: false, calibration: sets });
  expect(settingsOf(SCHEMA, { sparsity: " ", calibration: [] })).toEqual({});
});

test("settings come back from the form that shows them", () => {
  const settings = { model: "small", sparsity: 0.3, refine: true, calibration: [{ path: "a", weight: 1 }] };
  const entries = entriesOf(SCHEMA, settings);
  expect(entries).toMatchObject({ output: "", sparsity: "0.3", calibration: [{ path: "a", weight: "1" }] });
  expect(settingsOf(SCHEMA, entries)).toEqual(settings);
});

test("names fields for people", () => {
  expect(otherFields(SCHEMA)).toEqual(["refine"]);
  expect(["gradientWindows", "seqLen"].map(labelOf)).toEqual(["Gradient windows", "Tokens per window"]);
  const paths = ["sparsity", "calibration.0", "calibration.1.path"];
  expect(paths.map(pathLabel)).toEqual(["Sparsity", "Set 1", "Set 2, path"]);
});

test("forgets what was wrong with a field that is changed", () => {
  const fields = ["calibration.0.path", "model"].map((path) => ({ path, message: "wrong" }));
  const problem = { code: "BAD_CONFIG", message: "wrong", hint: null, fields };
  expect(withoutField(problem, "calibration")?.fields).toEqual([fields[1]]);
  expect(withoutField(problem, "calib")).toBe(problem);
  expect(withoutField({ ...problem, fields: [fields[1]!] }, "model")).toBe(null);
  expect(withoutField(null, "model")).toBe(null);
});
