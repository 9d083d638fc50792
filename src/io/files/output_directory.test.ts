import { chmod, link, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { CAN_FILL_DISK, withFullDisk } from "../../../test/file_faults.ts";
import {
  removeTemporaries,
  writeDirectoryAtomically,
  writeFileAtomically,
  writeNewFileAtomically,
} from "./output_directory.ts";
import { requireFreeFile } from "./output_place.ts";

vi.mock("node:fs/promises", async (original) => {
  const promises = await original<typeof import("node:fs/promises")>();
  return { ...promises, link: vi.fn(promises.link) };
});

/** A `fill` that writes a file and a nested one. */
async function fillTwoFiles(path: string): Promise<void> {
  await writeFile(join(path, "a.txt"), "a");
  await mkdir(join(path, "nested"));
  await writeFile(join(path, "nested", "b.txt"), "b");
}

describe("writeDirectoryAtomically", () => {
  test("the target appears when everything is written, from a hidden sibling", async () => {
    const root = await temporaryDirectory();
    const target = join(root, "out");
    let seen: string[] = [];
    await writeDirectoryAtomically(target, async (path) => {
      expect(dirname(path)).toBe(root);
      await fillTwoFiles(path);
      seen = await readdir(root);
    });
    expect(seen).toEqual([expect.stringMatching(/^\.out\.tmp-[0-9a-f]{12}$/)]);
    expect(await readdir(root)).toEqual(["out"]);
    expect(await readFile(join(target, "nested", "b.txt"), "utf8")).toBe("b");
    expect((await stat(target)).mode & 0o777).toBe(0o777 & ~process.umask());
  });

  test("missing parents, an empty directory, a link to one, and read-only files will do", async () => {
    const root = await temporaryDirectory();
    await mkdir(join(root, "empty"));
    await mkdir(join(root, "elsewhere"));
    await symlink("elsewhere", join(root, "link"));
    for (const target of ["p/q/out", "empty", "link"]) {
      await writeDirectoryAtomically(join(root, target), async (path) => {
        await fillTwoFiles(path);
        await chmod(join(path, "a.txt"), 0o444);
      });
    }
    expect(await readdir(root)).toEqual(["elsewhere", "empty", "link", "p"]);
    for (const target of ["p/q/out", "empty", "elsewhere"]) {
      expect(await readdir(join(root, target))).toEqual(["a.txt", "nested"]);
    }
  });

  test("a long name does not make the temporary's name too long", async () => {
    const root = await temporaryDirectory();
    const name = "ü".repeat(127);
    await writeDirectoryAtomically(join(root, name), fillTwoFiles);
    expect(await readdir(root)).toEqual([name]);
  });

  test("whatever is there already is refused and left alone", async () => {
    const root = await temporaryDirectory();
    await fillTwoFiles(root);
    await symlink("nowhere", join(root, "dangling"));
    const before = await readdir(root);
    for (const target of ["", "nested", "a.txt", "dangling"]) {
      const writing = writeDirectoryAtomically(join(root, target), () => expect.fail("must not begin"));
      await expect(writing).rejects.toMatchObject({
        code: "OUTPUT_EXISTS",
        message: expect.stringContaining(join(root, target)),
        hint: expect.any(String),
      });
    }
    expect(await readdir(root)).toEqual(before);
  });

  test("of two writers to one target the second is refused", async () => {
    const root = await temporaryDirectory();
    const target = join(root, "out");
    const slow = writeDirectoryAtomically(target, async (path) => {
      await writeDirectoryAtomically(target, fillTwoFiles);
      await writeFile(join(path, "late.txt"), "late");
    });
    await expect(slow).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    expect(await readdir(root)).toEqual(["out"]);
    expect(await readdir(target)).toEqual(["a.txt", "nested"]);
  });

  test("a failure leaves nothing, not even the parents that were made", async () => {
    const root = await temporaryDirectory();
    const failure = new Error("broken");
    const writing = writeDirectoryAtomically(join(root, "p", "q", "out"), async (path) => {
      await fillTwoFiles(path);
      throw failure;
    });
    await expect(writing).rejects.toBe(failure);
    expect(await readdir(root)).toEqual([]);
  });

  test("parents that others use by now stay", async () => {
    const root = await temporaryDirectory();
    const writing = writeDirectoryAtomically(join(root, "p", "q", "out"), async () => {
      await writeFile(join(root, "p", "other.txt"), "other");
      throw new Error("broken");
    });
    await expect(writing).rejects.toThrow("broken");
    expect(await readdir(join(root, "p"))).toEqual(["other.txt"]);
  });

  test("errors of the file system name the output", async () => {
    const root = await temporaryDirectory();
    await writeFile(join(root, "file"), "");
    const below = writeDirectoryAtomically(join(root, "file", "out"), fillTwoFiles);
    await expect(below).rejects.toMatchObject({
      code: "OUTPUT_FAILED",
      hint: expect.stringContaining("is a file"),
    });
    const target = join(root, "out");
    const within = writeDirectoryAtomically(target, (path) => writeFile(join(path, "no", "such"), ""));
    await expect(within).rejects.toMatchObject({
      code: "OUTPUT_FAILED",
      message: expect.stringMatching(`^${target}: .*ENOENT`),
    });
    expect(await readdir(root)).toEqual(["file"]);
  });

  test("removeTemporaries removes what is being written, at once", async () => {
    const root = await temporaryDirectory();
    const writing = writeDirectoryAtomically(join(root, "p", "out"), async (path) => {
      await fillTwoFiles(path);
      removeTemporaries();
      expect(await readdir(root)).toEqual([]);
      throw new Error("interrupted");
    });
    await expect(writing).rejects.toThrow("interrupted");
    removeTemporaries();
    expect(await readdir(root)).toEqual([]);
  });
});

describe("an empty directory that an output takes the place of", () => {
  test("passes its mode on to the output", async () => {
    const target = join(await temporaryDirectory(), "private");
    await mkdir(target);
    await chmod(target, 0o2770);
    await writeDirectoryAtomically(target, fillTwoFiles);
    expect((await stat(target)).mode & 0o7777).toBe(0o2770);
    expect(await readdir(target)).toEqual(["a.txt", "nested"]);
  });
});

describe("writeFileAtomically", () => {
  test("makes a file and its parents, and replaces a file", async () => {
    const root = await temporaryDirectory();
    const path = join(root, "p", "run.json");
    await writeFileAtomically(path, "größer");
    expect(await readFile(path, "utf8")).toBe("größer");
    await writeFileAtomically(path, Uint8Array.of(1, 2, 3));
    expect([...(await readFile(path))]).toEqual([1, 2, 3]);
    expect(await readdir(join(root, "p"))).toEqual(["run.json"]);
  });

  test("does not replace a directory", async () => {
    const root = await temporaryDirectory();
    await mkdir(join(root, "out"));
    await expect(writeFileAtomically(join(root, "out"), "x")).rejects.toMatchObject({
      code: "OUTPUT_FAILED",
      hint: expect.stringContaining("directory"),
    });
    expect(await readdir(root)).toEqual(["out"]);
  });

  test.skipIf(!CAN_FILL_DISK)("a full disk leaves the old file", async () => {
    const root = await temporaryDirectory();
    const path = join(root, "run.json");
    await writeFileAtomically(path, "old");
    const writing = withFullDisk(2, () => writeFileAtomically(path, "new content"));
    await expect(writing).rejects.toMatchObject({
      code: "OUTPUT_FAILED",
      message: `${path}: expected a writable path, got ENOSPC`,
      hint: expect.stringContaining("disk is full"),
    });
    expect(await readdir(root)).toEqual(["run.json"]);
    expect(await readFile(path, "utf8")).toBe("old");
  });
});

describe("writeNewFileAtomically", () => {
  test("the file appears when everything is written, missing parents with it", async () => {
    const root = await temporaryDirectory();
    const target = join(root, "a", "b", "out");
    await requireFreeFile(target);
    expect(await readdir(root)).toEqual([]);
    await writeNewFileAtomically(target, async (file) => {
      await file.write(Buffer.from("new"));
      expect(await readdir(join(root, "a", "b"))).toEqual([expect.stringMatching(/^\.out\.tmp-/)]);
    });
    expect(await readFile(target, "utf8")).toBe("new");
    expect(await readdir(join(root, "a", "b"))).toEqual(["out"]);
  });

  test("whatever is there already is refused and left alone", async () => {
    const root = await temporaryDirectory();
    await fillTwoFiles(root);
    await symlink("nowhere", join(root, "dangling"));
    const before = await readdir(root);
    for (const target of ["", "nested", "a.txt", "dangling"]) {
      const path = join(root, target);
      const refusal = { code: "OUTPUT_EXISTS", hint: expect.any(String) };
      await expect(requireFreeFile(path)).rejects.toMatchObject(refusal);
      const writing = writeNewFileAtomically(path, () => expect.fail("must not begin"));
      await expect(writing).rejects.toMatchObject(refusal);
    }
    expect(await readdir(root)).toEqual(before);
  });

  test("a file that appears in the meantime is not replaced", async () => {
    const root = await temporaryDirectory();
    const target = join(root, "out");
    const writing = writeNewFileAtomically(target, async (file) => {
      await file.write(Buffer.from("mine"));
      await writeFile(target, "theirs");
    });
    await expect(writing).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    expect(await readFile(target, "utf8")).toBe("theirs");
    expect(await readdir(root)).toEqual(["out"]);
  });

  /** Lets the next link fail, after `before`. */
  function failToLink(code: string, before = async (): Promise<void> => {}): void {
    vi.mocked(link).mockImplementationOnce(async () => {
      await before();
      throw Object.assign(new Error(code), { code, errno: -1 });
    });
  }

  test.each(["EPERM", "ENOTSUP", "EISDIR"])(
    "nor is one where the file system has no hard links (%s)",
    async (code) => {
      const root = await temporaryDirectory();
      const target = join(root, "out");
      const write = (): Promise<void> => writeNewFileAtomically(target, (file) => file.write(Buffer.of(1)));
      failToLink(code, () => writeFile(target, "theirs"));
      await expect(write()).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
      expect(await readFile(target, "utf8")).toBe("theirs");
      await rm(target);
      failToLink(code);
      await write();
      expect([...(await readFile(target))]).toEqual([1]);
      expect(await readdir(root)).toEqual(["out"]);
    },
  );

  test("a link that fails otherwise is an error, and leaves nothing", async () => {
    const root = await temporaryDirectory();
    failToLink("EIO");
    await expect(
      writeNewFileAtomically(join(root, "out"), (file) => file.write(Buffer.of(1))),
    ).rejects.toMatchObject({ code: "OUTPUT_FAILED", hint: expect.stringContaining("disk") });
    expect(await readdir(root)).toEqual([]);
  });
});
