import { chmod, mkdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import type { ProgressEvent } from "../../base/progress.ts";
import { readText } from "./texts.ts";

const MEBIBYTE = 2 ** 20;

describe("readText of a directory of source files", () => {
  /** Writes files by their paths and reads the directory. */
  const readTree = async (files: Readonly<Record<string, string | Uint8Array>>) => {
    const directory = await temporaryDirectory();
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(directory, path)), { recursive: true });
      await writeFile(join(directory, path), content);
    }
    const events: ProgressEvent[] = [];
    const read = (): Promise<string> =>
      readText(directory, MEBIBYTE, { onProgress: (event) => events.push(event) });
    return { directory, events, read };
  };

  test("reads all that is text, in subdirectories, too, in the order of their paths", async () => {
    const { read, events } = await readTree({
      "src/b.py": "b",
      "src/a/deep.ts": "deep",
      "src-x.c": "x",
      Makefile: "make",
      "z.txt": "z",
    });
    expect(await read()).toBe("make\n\nx\n\ndeep\n\nb\n\nz");
    expect(events).toEqual([]);
  });

  test("tells how far it is with many files, and ends when it is told to", async () => {
    const files = Array.from({ length: 1030 }, (_, i) => [`${i}.py`, "x"] as const);
    const { directory, read, events } = await readTree(Object.fromEntries(files));
    await read();
    const told = events.map(({ stage, done, total }) => `${stage} ${done}/${total}`);
    expect(told.filter((line) => line.startsWith("scan "))).toEqual(
      [...Array.from({ length: 16 }, (_, lot) => 64 * (lot + 1)), 1030].map(
        (done) => `scan ${directory} ${done}/1030`,
      ),
    );
    const onProgress = (): never => {
      throw new Error("enough");
    };
    await expect(readText(directory, MEBIBYTE, { onProgress })).rejects.toThrow("enough");
  });

  test("leaves out what is hidden, packages, and what is no text, and says so", async () => {
    const { directory, read, events } = await readTree({
      ".git/config": "hidden",
      ".env": "hidden",
      "node_modules/x/index.js": "package",
      "web/node_modules/y/index.js": "package",
      "a.py": "a",
      "picture.png": Uint8Array.of(0x89, 0x50, 0x4e, 0x47),
      "nul.c": "a\0b",
      "__init__.py": "",
      "cut.py": `${" ".repeat(8191)}ä`,
    });
    expect((await read()).trimEnd()).toBe(`a\n\n${" ".repeat(8191)}ä`);
    expect(events).toHaveLength(2);
    expect(events.at(-1)).toEqual({
      stage: `read 2 files of ${directory}, skipped 2 hidden, 2 node_modules, 1 empty, 2 not text`,
      done: 2,
      total: 2,
      unit: "files",
    });
  });

  test("leaves out pointers of Git LFS among source files, and refuses those with the ending of texts", async () => {
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${"a".repeat(64)}\nsize 9\n`;
    const { directory, read, events } = await readTree({ "a.py": "a", "logo.png": pointer });
    expect(await read()).toBe("a");
    expect(events.at(-1)!.stage).toBe(`read 1 files of ${directory}, skipped 1 not text`);
    await writeFile(join(directory, "data.json"), pointer);
    await expect(read()).rejects.toThrow("data.json: expected the file itself, got a Git LFS pointer");
  });

  test("leaves out a file that turns out not to be text, but not one that ends as texts do", async () => {
    const late = Buffer.concat([Buffer.from("a ".repeat(5000)), Uint8Array.of(0xff, 0x61)]);
    const { directory, read, events } = await readTree({ "a.py": "a", "b.py": late });
    expect(await read()).toBe("a");
    expect(events).toEqual([
      {
        stage: `skipped files of ${directory} that are not UTF-8 after their start`,
        done: 1,
        total: 1,
        unit: "files",
      },
    ]);
    await writeFile(join(directory, "c.txt"), Uint8Array.of(0xff));
    await expect(read()).rejects.toThrow("c.txt: expected UTF-8 text, got invalid bytes");
  });

  test("leaves out JSON that holds settings and no texts", async () => {
    const { directory, read, events } = await readTree({
      "package.json": '{\n  "name": "x",\n  "content": []\n}\n',
      "one_line.json": '{"name": "x"}',
      "numbers.json": "[1, 2]",
      "large.json": `{\n"a": "${"x".repeat(2 ** 17)}"}`,
      "large_list.json": `[${"1, ".repeat(2 ** 15)}1]`,
      "list.json": '[{"text": "list"}]',
      "lines.json": '{"text": "one"}\n{"text": "two"}\n',
      "long_line.json": `{"id": "${"x".repeat(2 ** 17)}", "text": "long"}`,
      "a.ts": "a",
    });
    expect(await read()).toBe("a\n\none\n\ntwo\n\nlist\n\nlong");
    expect(events.at(-1)!.stage).toBe(`read 4 files of ${directory}, skipped 5 JSON without text`);
    await expect(readText(`${directory}#text`, MEBIBYTE)).rejects.toThrow(/large\.json:1: expected JSON/);
    await expect(readText(join(directory, "one_line.json"), MEBIBYTE)).rejects.toThrow(
      /one_line\.json:1: expected an object with a text field/,
    );
  });

  test("reads links to files and enters no links to directories", async () => {
    const { directory, read, events } = await readTree({ "a.py": "a", "d/b.py": "b" });
    await symlink(join(directory, "a.py"), join(directory, "d", "link.py"));
    await symlink("..", join(directory, "d", "up"));
    await symlink("nowhere", join(directory, "d", "broken"));
    expect(await read()).toBe("a\n\nb\n\na");
    expect(events.at(-1)!.stage).toBe(
      `read 3 files of ${directory}, skipped 1 unreadable, 1 linked directories`,
    );
  });

  test.skipIf(process.getuid?.() === 0)("leaves out what may not be read", async () => {
    const { directory, read, events } = await readTree({ "a.py": "a", "b.py": "b", "d/c.py": "c" });
    await chmod(join(directory, "b.py"), 0);
    await chmod(join(directory, "d"), 0);
    expect(await read()).toBe("a");
    expect(events.at(-1)!.stage).toBe(`read 1 files of ${directory}, skipped 2 unreadable`);
    await chmod(join(directory, "d"), 0o700);
    await chmod(directory, 0);
    await expect(read()).rejects.toMatchObject({
      code: "FORBIDDEN",
      message: `${directory}: expected a readable directory, got EACCES`,
    });
    await chmod(directory, 0o700);
  });
});
