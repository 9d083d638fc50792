import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { chmod, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, describe, expect, test, vi } from "vitest";
import { kindOfPath, PositionalFile, readSmallFile, unreadable } from "./file.ts";

const directory = mkdtempSync(join(tmpdir(), "gprune-file-"));
const file = join(directory, "ten");
writeFileSync(file, "0123456789");
afterAll(() => rmSync(directory, { recursive: true }));

describe("PositionalFile", () => {
  test("reads spans, the empty one and the whole one included", async () => {
    const opened = await PositionalFile.open(file);
    expect(opened.size).toBe(10);
    const text = async (offset: number, length: number): Promise<string> =>
      new TextDecoder().decode(await opened.read(offset, length));
    expect(await text(3, 4)).toBe("3456");
    expect(await text(0, 10)).toBe("0123456789");
    expect(await text(10, 0)).toBe("");
    await opened.close();
  });

  test("is closed after its use, also when that failed", async () => {
    const used: PositionalFile[] = [];
    const size = await PositionalFile.use(file, async (opened) => {
      used.push(opened);
      return opened.size;
    });
    expect(size).toBe(10);
    const failing = PositionalFile.use(file, (opened) => {
      used.push(opened);
      return opened.read(8, 3);
    });
    await expect(failing).rejects.toThrow("expected 3 bytes at offset 8");
    const code = "BAD_ARGUMENT";
    const message = `${file}: expected an open file, got a closed one`;
    for (const closed of used) await expect(closed.read(0, 1)).rejects.toMatchObject({ code, message });
  });

  test.each([
    [8, 3],
    [-1, 2],
    [0, 1.5],
    [Number.MAX_SAFE_INTEGER, 1],
  ])("refuses %d + %d before it allocates", async (offset, length) => {
    const opened = await PositionalFile.open(file);
    await expect(opened.read(offset, length)).rejects.toMatchObject({ code: "BAD_FILE" });
    await opened.close();
  });

  test("refuses directories, devices and named pipes without waiting for a writer", async () => {
    const pipe = join(directory, "pipe");
    execFileSync("mkfifo", [pipe]);
    for (const path of [directory, "/dev/zero", pipe]) {
      await expect(PositionalFile.open(path)).rejects.toMatchObject({ code: "NOT_FOUND" });
    }
    await expect(PositionalFile.open(join(directory, "nothing"))).rejects.toThrow(
      /no such file or directory$/,
    );
  });
});

/** The path of an open descriptor of this process; the descriptor that listed them is closed by now. */
function pathOf(fd: string): string {
  try {
    return readlinkSync(join("/proc/self/fd", fd));
  } catch {
    return "";
  }
}

describe("a file that is forgotten", () => {
  test.skipIf(process.platform !== "linux")("is closed, without a warning", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const path = join(directory, "forgotten");
    writeFileSync(path, "");
    const warned = vi.fn();
    process.on("warning", warned);
    const isOpen = (): boolean => readdirSync("/proc/self/fd").some((fd) => pathOf(fd) === path);
    await (async () => void (await PositionalFile.open(path)))();
    expect(isOpen()).toBe(true);
    await vi.waitFor(() => {
      collect();
      expect(isOpen()).toBe(false);
    }, 10_000);
    // Node would emit its warning a little later.
    await new Promise((resolve) => setTimeout(resolve, 100));
    process.off("warning", warned);
    expect(warned).not.toHaveBeenCalled();
  });
});

test.skipIf(process.getuid?.() === 0)("a file that may not be read is said to be there", async () => {
  const secret = join(directory, "secret");
  await writeFile(secret, "text");
  await chmod(secret, 0);
  await expect(PositionalFile.open(secret)).rejects.toMatchObject({
    code: "FORBIDDEN",
    message: `${secret}: expected a readable file, got EACCES`,
    hint: expect.stringContaining("permissions"),
  });
});

test("what cannot be opened is told by why", () => {
  const codeFor = (code: string): string =>
    unreadable("path", "a file", Object.assign(new Error("no"), { code })).code;
  expect(["EACCES", "EPERM", "ENOENT", "EMFILE"].map(codeFor)).toEqual([
    ...["FORBIDDEN", "FORBIDDEN", "NOT_FOUND", "NOT_FOUND"],
  ]);
});

describe("readSmallFile and kindOfPath", () => {
  test("read up to the limit and not beyond", async () => {
    expect(await readSmallFile(file, 10)).toHaveLength(10);
    await expect(readSmallFile(file, 9)).rejects.toMatchObject({ code: "BAD_FILE" });
  });

  test("tell what is there", async () => {
    expect(await kindOfPath(file)).toBe("file");
    expect(await kindOfPath(directory)).toBe("directory");
    expect(await kindOfPath("/dev/zero")).toBe("other");
    expect(await kindOfPath(join(directory, "nothing"))).toBe("missing");
    expect(await kindOfPath(join(file, "nothing"))).toBe("missing");
    expect(await kindOfPath(join(directory, "long".repeat(100)))).toBe("missing");
    expect(await kindOfPath(join(directory, "\0"))).toBe("missing");
  });

  test("take what the system cannot tell for no missing file", async () => {
    // A link to itself is the one failure that every file system can produce.
    const link = join(directory, "circle");
    await symlink("circle", link);
    await expect(kindOfPath(link)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: `${link}: expected a readable path, got ELOOP`,
    });
  });
});
