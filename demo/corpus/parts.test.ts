import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { KINDS } from "./kinds.ts";
import { partsOf } from "./parts.ts";

const TEXTS = join(import.meta.dirname, "..", "texts");

test.each(Object.keys(KINDS))("the texts of %s are what is made here", (kind) => {
  const { heldout, calibration } = partsOf(kind, 0);
  expect(heldout).toBe(readFileSync(join(TEXTS, "heldout", `${kind}.txt`), "utf8"));
  expect(calibration).toBe(readFileSync(join(TEXTS, "calibration", `${kind}.txt`), "utf8"));
});
