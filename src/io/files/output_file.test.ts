import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { CAN_FILL_DISK, withFullDisk, withShortCalls } from "../../../test/file_faults.ts";
import { GpruneError } from "../../errors.ts";
import { outputFailed, writeNewFile } from "./output_file.ts";

test("pieces follow each other, however little the system takes at a time", async () => {
  const path = join(await temporaryDirectory(), "out");
  await withShortCalls(3, () =>
    writeNewFile(path, async (file) => {
      await file.write(Buffer.from("hello, "));
      await file.write(new Uint8Array(0));
      await file.write(Buffer.from("world"));
    }),
  );
  expect(await readFile(path, "utf8")).toBe("hello, world");
});

test("nothing that exists is written over", async () => {
  const directory = await temporaryDirectory();
  const path = join(directory, "taken");
  await writeFile(path, "mine");
  const failure = { code: "OUTPUT_FAILED", message: expect.stringContaining("EEXIST") };
  await expect(writeNewFile(path, (file) => file.write(Buffer.from("x")))).rejects.toMatchObject(failure);
  expect(await readFile(path, "utf8")).toBe("mine");
});

test.skipIf(!CAN_FILL_DISK)("a full disk is named, with what to do", async () => {
  const path = join(await temporaryDirectory(), "out");
  const writing = withFullDisk(5, () =>
    writeNewFile(path, (file) => file.write(Buffer.from("hello, world"))),
  );
  await expect(writing).rejects.toMatchObject({
    code: "OUTPUT_FAILED",
    message: `${path}: expected a writable path, got ENOSPC`,
    hint: expect.stringContaining("disk is full"),
  });
});

test("errors of the content pass through", async () => {
  const directory = await temporaryDirectory();
  await mkdir(join(directory, "a"));
  const error = new GpruneError("BAD_FILE", "elsewhere");
  const writing = writeNewFile(join(directory, "a", "out"), () => Promise.reject(error));
  await expect(writing).rejects.toBe(error);
  expect(outputFailed("out", error)).toBe(error);
  expect(outputFailed("out", "odd")).toMatchObject({ code: "OUTPUT_FAILED", hint: undefined });
});
