import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { requireReadable } from "./listing.ts";

test("a directory that cannot be listed is refused with the reason", async () => {
  const root = await temporaryDirectory();
  await requireReadable(root);
  const nowhere = requireReadable(join(root, "none"));
  await expect(nowhere).rejects.toMatchObject({
    code: "NOT_FOUND",
    message: `${join(root, "none")}: expected a readable directory, got no such file or directory`,
  });
});

test.skipIf(process.getuid?.() === 0)("so is one whose entries may not be read", async () => {
  const root = await temporaryDirectory();
  await chmod(root, 0o300);
  await expect(requireReadable(root)).rejects.toMatchObject({
    code: "FORBIDDEN",
    message: expect.stringContaining("got EACCES"),
  });
  await chmod(root, 0o700);
});
