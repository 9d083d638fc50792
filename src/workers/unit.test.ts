import fc from "fast-check";
import { expect, test } from "vitest";
import { formatJob, formatResult, type LossesUnit, parseJob, parseResult, unitKey } from "./unit.ts";
import { formatFailure, parseFailure } from "./unit_messages.ts";

const HASH = "0".repeat(64);
const UNIT: LossesUnit = {
  kind: "losses",
  hashes: { "config.json": HASH, "model.safetensors": HASH },
  windows: { bytes: 8, sha256: HASH },
  recipe: null,
};

test("a unit's key says what it is, in whatever order its fields are, and where it is computed", () => {
  const { kind, hashes, ...rest } = UNIT;
  const turned = { ...rest, hashes: { "model.safetensors": HASH, "config.json": HASH }, kind };
  expect(hashes).toEqual(turned.hashes);
  expect(unitKey(turned, "queue")).toBe(unitKey(UNIT, "queue"));
  const others = [
    { ...UNIT, recipe: { bytes: 8, sha256: HASH } },
    { ...UNIT, windows: { bytes: 8, sha256: "1".repeat(64) } },
    { ...UNIT, hashes: { "config.json": HASH } },
  ];
  for (const other of others) expect(unitKey(other, "queue")).not.toBe(unitKey(UNIT, "queue"));
  expect(unitKey(UNIT, "other")).not.toBe(unitKey(UNIT, "queue"));
});

test("only what is a unit, under its own key, is taken from a queue", () => {
  const key = unitKey(UNIT, "queue");
  const job = { model: "model", unit: UNIT };
  expect(parseJob(JSON.parse(JSON.stringify(formatJob(job))), key, "queue")).toMatchObject(job);
  const wrong: unknown[] = [
    null,
    "unit",
    job,
    formatJob({ ...job, model: "" }),
    formatJob({ ...job, unit: { ...UNIT, kind: "other" } as never }),
    formatJob({ ...job, unit: { ...UNIT, recipe: { bytes: 8, sha256: "../../etc/passwd" } } }),
    { ...(formatJob(job) as object), more: 1 },
  ];
  for (const data of wrong) {
    expect(() => parseJob(data, key, "queue")).toThrowError(expect.objectContaining({ code: "UNIT_FAILED" }));
  }
  expect(() => parseJob(formatJob(job), unitKey(UNIT, "other"), "queue")).toThrowError(/with this key/);
});

test("records are results of their own unit or nothing", () => {
  const objects = { losses: { bytes: 3, sha256: HASH } };
  expect(parseResult(formatResult(HASH, objects), HASH)).toEqual(objects);
  expect(parseResult(formatResult(HASH, objects), "1".repeat(64))).toBeNull();
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      expect(parseResult(text, HASH)).toBeNull();
      expect(parseFailure(text)).toBeNull();
    }),
  );
});

test("failures go through the queue as one line", () => {
  const failure = { code: "BAD_TEXT", message: "a\nb", hint: "c" } as const;
  expect(formatFailure(failure)).not.toContain("\n");
  expect(parseFailure(formatFailure(failure))).toEqual(failure);
});
