import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { makeTemporary } from "./scratch.ts";

afterEach(() => vi.unstubAllEnvs());

test("a place for temporary files that is not there is named, with the variable that sets it", async () => {
  const place = join(await temporaryDirectory(), "missing");
  vi.stubEnv("TMPDIR", place);
  expect(() => makeTemporary("x-")).toThrow(
    expect.objectContaining({
      code: "OUTPUT_FAILED",
      message: `${place}: expected a writable directory for temporary files, got ENOENT`,
      hint: "Set TMPDIR to a directory that exists, can be written and has space.",
    }),
  );
  vi.stubEnv("TMPDIR", join(place, ".."));
  const made = makeTemporary("x-");
  expect(existsSync(made)).toBe(true);
  rmSync(made, { recursive: true });
});
