import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatRunConfig, parseRunConfig, resolveRunConfig, runConfigJsonSchema } from "./config.ts";

const LEAST = { model: "in", output: "out" };

describe("resolveRunConfig", () => {
  test("fills in defaults", () => {
    expect(
      resolveRunConfig({ ...LEAST, calibration: [{ name: "web", path: "web.txt" }] }, "here"),
    ).toMatchObject({
      ...LEAST,
      sparsity: 0.3,
      method: "gprune",
      ownText: "auto",
      seed: 0,
      dtype: "auto",
      calibration: [{ name: "web", path: "web.txt", weight: 1 }],
    });
  });

  test("keeps what was given", () => {
    const given = {
      ...LEAST,
      sparsity: 0,
      method: "none",
      allocation: "global",
      seed: 7,
      recover: "lstsq",
      threads: 3,
    };
    expect(resolveRunConfig(given, "here")).toMatchObject(given);
  });

  test.each([
    [{ output: "out" }, "model"],
    [{ ...LEAST, model: "" }, "model"],
    [{ ...LEAST, sparsity: 1 }, "sparsity"],
    [{ ...LEAST, sparsity: -0.1 }, "sparsity"],
    [{ ...LEAST, sparsity: Number.NaN }, "sparsity"],
    [{ ...LEAST, sparsity: "0.3" }, "sparsity"],
    [{ ...LEAST, samples: 0 }, "samples"],
    [{ ...LEAST, seqLen: 7 }, "seqLen"],
    [{ ...LEAST, seqLen: 512.5 }, "seqLen"],
    [{ ...LEAST, seed: -1 }, "seed"],
    [{ ...LEAST, roundTo: 0 }, "roundTo"],
    [{ ...LEAST, recover: "all" }, "recover"],
    [{ ...LEAST, dtype: "f64" }, "dtype"],
    [{ ...LEAST, method: "none", allocation: "learned" }, "allocation"],
    [{ ...LEAST, calibration: [{ name: "web", path: "web.txt", weight: 0 }] }, "weight"],
    [{ ...LEAST, calibration: [{ name: "web", path: "web.txt", weight: 1e160 }] }, "weight"],
    [{ ...LEAST, threads: 100_000 }, "threads"],
    [{ ...LEAST, calibration: [{ name: "", path: "web.txt" }] }, "name"],
    [{ ...LEAST, calibration: [{ name: "__proto__", path: "web.txt" }] }, "not allowed as the name of a set"],
    [
      { ...LEAST, calibration: ["a", "b"].map((path) => ({ name: "web", path })) },
      "expected different names, got two sets with the same name",
    ],
    [{ ...LEAST, speed: 3 }, "speed"],
    [{ ...LEAST, constructor: 3 }, "constructor"],
    [JSON.parse('{"model": "in", "output": "out", "__proto__": {"sparsity": 0.9}}'), "__proto__"],
    [null, "expected object"],
    [[], "expected object"],
  ])("refuses %j", (input, named) => {
    expect(() => resolveRunConfig(input, "command line")).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG", message: expect.stringContaining(named) }),
    );
  });

  test("names every wrong field at once", () => {
    expect(() => resolveRunConfig({ ...LEAST, sparsity: 2, seed: -1, dtype: "f64" }, "here")).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/^here: .*sparsity.*seed.*dtype/s) }),
    );
  });
});

describe("resolveRunConfig of values from several places", () => {
  test("names the ones that the wrong fields come from", () => {
    const sourceOf = (field: string): string => (field === "rounds" ? "command line" : "run.yaml");
    const sourcesOf = (wrong: object): string => {
      try {
        resolveRunConfig({ ...LEAST, ...wrong }, sourceOf);
        return "";
      } catch (error) {
        return (error as Error).message.split(": ")[0]!;
      }
    };
    expect(sourcesOf({ rounds: 65 })).toBe("command line");
    expect(sourcesOf({ method: "none", allocation: "learned" })).toBe("run.yaml");
    expect(sourcesOf({ rounds: 65, seed: -1 })).toBe("command line and run.yaml");
  });
});

function expectRefused(text: string, message: RegExp): void {
  expect(() => parseRunConfig(text, "run.yaml")).toThrow(
    expect.objectContaining({ code: "BAD_CONFIG", message: expect.stringMatching(message) }),
  );
}

describe("parseRunConfig", () => {
  test("gives the fields of a file and no others", () => {
    const text = "# a comment\nsparsity: 0.5\ncalibration:\n  - {name: web, path: web.txt}\n";
    const fields = { sparsity: 0.5, calibration: [{ name: "web", path: "web.txt" }] };
    expect(parseRunConfig(text, "run.yaml")).toEqual(fields);
    expect(parseRunConfig(JSON.stringify(fields), "run.json")).toEqual(fields);
    expect(parseRunConfig("", "run.yaml")).toEqual({});
    expect(parseRunConfig("# nothing\n", "run.yaml")).toEqual({});
  });

  test.each([
    ["sparsity: [0.3", /^run\.yaml: .* at line 1, column \d+/],
    ["seed: 1\nsparsity: 0.3\nseed: 2", /^run\.yaml: Map keys must be unique at line 3, column 1/],
    ["seed: 1\n\tsamples: 2", /^run\.yaml: .* at line 2, column \d+/],
    ["seed: 1\n---\nseed: 2", /^run\.yaml: expected one YAML document, got another at line 2, column 1$/],
    ["model: !!js/function 'x'", /^run\.yaml: Unresolved tag: .* at line 1, column 8/],
    ["model: *unknown", /^run\.yaml: Unresolved alias/],
    ["sparsity: 2\nspeed: 1", /^run\.yaml: .*speed.*sparsity/s],
    ["__proto__:\n  sparsity: 0.9", /^run\.yaml: .*__proto__/],
    ["<<: {sparsity: 0.9}", /^run\.yaml: .*<</],
    ["- sparsity", /^run\.yaml: .*expected object, received array/],
    ["sparsity", /^run\.yaml: .*expected object, received string/],
    ["sparsity: .nan", /^run\.yaml: .*sparsity/s],
    ["calibration: [{name: a, path: b, constructor: {prototype: {weight: 3}}}]", /constructor/],
    ['model: "\\x1b]0;\n', /^run\.yaml: [ -~\n]*$/],
  ])("refuses %j", expectRefused);

  test.each([
    ["more than 64 KiB", "a".repeat(2 ** 16 + 1), /^run\.yaml: expected at most 65536 bytes, got 65537$/],
    ["lists in lists", "[".repeat(2 ** 16), /^run\.yaml: /],
    ["maps in maps", "{a: ".repeat(2 ** 14), /^run\.yaml: /],
    ["items in items", "- ".repeat(2 ** 15), /^run\.yaml: /],
    ["keys in keys", "? ".repeat(2 ** 15), /^run\.yaml: /],
    [
      "many keys",
      Array.from({ length: 7000 }, (_, i) => `k${i}: 1`).join("\n"),
      /^run\.yaml: Unrecognized keys/,
    ],
  ])("refuses %s", (_, text, message) => expectRefused(text, message));

  test("prints nothing of a file on its own", async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error): void => void warnings.push(warning);
    process.on("warning", listen);
    for (const [key, meant] of [
      ["sparsty", "sparsity"],
      ["max-modules", "maxModules"],
      ["MAX_MEMORY", "maxMemory"],
    ]) {
      expect(() => parseRunConfig(`${key}: 1`, "run.yaml")).toThrowError(
        expect.objectContaining({ hint: expect.stringMatching(`^Did you mean ${meant}\\? `) }),
      );
    }
    expect(() => parseRunConfig("calibration: [{name: a, pth: b}]", "run.yaml")).toThrowError(
      expect.objectContaining({ hint: expect.stringMatching(/^Did you mean path\? /) }),
    );
    expect(() => parseRunConfig("nothing like it: 1", "run.yaml")).toThrowError(
      expect.objectContaining({ hint: "`gprune prune --help` explains the options." }),
    );
    expect(() => parseRunConfig("? {a: b}\n: 1", "run.yaml")).toThrow("Unrecognized key");
    await new Promise(setImmediate);
    process.off("warning", listen);
    expect(warnings).toEqual([]);
  });

  test("refuses aliases that multiply", () => {
    const levels = ["a: &a [x, x, x, x, x, x, x, x, x]"];
    for (const [name, last] of ["ba", "cb", "dc", "ed", "fe"]) {
      levels.push(`${name}: &${name} [${Array(9).fill(`*${last}`).join(", ")}]`);
    }
    expect(() => parseRunConfig(levels.join("\n"), "run.yaml")).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG", message: expect.stringContaining("alias") }),
    );
  });
});

describe("formatRunConfig", () => {
  test("writes what parseRunConfig reads", () => {
    const sets = fc.uniqueArray(
      fc.record({
        name: fc.string({ minLength: 1 }).filter((name) => name !== "__proto__"),
        path: fc.string({ minLength: 1, unit: "binary" }),
        weight: fc.double({ min: 0.001, max: 1000, noNaN: true }),
      }),
      { selector: ({ name }) => name, maxLength: 4 },
    );
    const configs = fc.record(
      {
        model: fc.string({ minLength: 1, unit: "grapheme" }),
        output: fc.string({ minLength: 1 }),
        sparsity: fc.double({ min: 0, max: 0.99, noNaN: true }),
        seed: fc.nat(),
        calibration: sets,
        metric: fc.constantFrom("null", "yes", "0x10", "1e3", "a: b", "# c", "~", "- d", " e "),
        plan: fc.string(),
        threads: fc.integer({ min: 1, max: 64 }),
      },
      { requiredKeys: ["model", "output"] },
    );
    fc.assert(
      fc.property(configs, (input) => {
        const config = resolveRunConfig(input, "here");
        const read = parseRunConfig(formatRunConfig(config), "gprune.yaml");
        expect(read).toEqual(config);
        expect(resolveRunConfig(read, "gprune.yaml")).toEqual(config);
      }),
    );
  });
});

describe("runConfigJsonSchema", () => {
  test("describes every field and asks for model and output", () => {
    const schema = runConfigJsonSchema() as {
      required: readonly string[];
      additionalProperties: boolean;
      properties: Readonly<Record<string, { readonly description?: string; readonly items?: unknown }>>;
    };
    expect(schema.required).toEqual(["model", "output"]);
    expect(schema.additionalProperties).toBe(false);
    const names = Object.keys(schema.properties);
    expect(names).toEqual(expect.arrayContaining(["sparsity", "calibration", "seed"]));
    expect(names.filter((name) => !schema.properties[name]!.description)).toEqual([]);
    const path = { description: expect.stringContaining("or self for text that the model generates") };
    expect(schema.properties.calibration!.items).toMatchObject({ properties: { path } });
  });
});
