import { writeFile } from "node:fs/promises";
import { join, win32 } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { nearestExisting } from "./nearest_existing.ts";

test("the nearest existing path is the path itself, or one above it", async () => {
  const root = await temporaryDirectory();
  const file = join(root, "file");
  await writeFile(file, "");
  expect(nearestExisting(file)).toBe(file);
  expect(nearestExisting(join(root, "a", "b", "c"))).toBe(root);
  expect(nearestExisting(join(file, "below"))).toBe(file);
});

test("on a missing drive of Windows it is the drive, though that does not exist", () => {
  expect(nearestExisting("Z:\\models\\out", win32.dirname)).toBe("Z:\\");
  expect(nearestExisting("\\\\server\\share\\out", win32.dirname)).toBe("\\\\server\\share\\");
});
