import { execFileSync } from "node:child_process";
import { chmod, mkdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { temporaryDirectory } from "../../test/file_faults.ts";
import type { ProgressEvent } from "../progress.ts";
import { mayBeText, readText } from "./texts.ts";

const MEBIBYTE = 2 ** 20;

/** A directory with these files. */
async function directoryWith(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const directory = await temporaryDirectory();
  for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content);
  return directory;
}

/** Reads a file of this content. */
async function readContent(name: string, content: string | Uint8Array, maxBytes = MEBIBYTE): Promise<string> {
  return readText(join(await directoryWith({ [name]: content }), name), maxBytes);
}

describe("readText", () => {
  it("gives a text as it is, whatever its name", async () => {
    const text = "Zwei Zeilen,\r\n  nicht gekürzt: 你好 🙂\n\n";
    expect(await readContent("text.txt", text)).toBe(text);
    expect(await readContent("text.anything", text)).toBe(text);
  });

  it("drops a byte order mark", async () => {
    expect(await readContent("text.txt", Buffer.from([0xef, 0xbb, 0xbf, 0x61]))).toBe("a");
  });

  it("joins the documents of JSON Lines by an empty line, text before content", async () => {
    const lines = [
      '{"text": "one"}',
      "",
      '{"content": "two", "id": 2}\r',
      '{"content": "no", "text": "three"}',
      "",
    ];
    expect(await readContent("lines.jsonl", lines.join("\n"))).toBe("one\n\ntwo\n\nthree");
  });

  it("takes the field that is asked for, of JSON Lines and of JSON, which may be a list or lines", async () => {
    const directory = await directoryWith({
      "a.jsonl": '{"text": "no", "body": "one"}\n{"body": "two"}',
      "list.json": ' [{"text": "three"}, {"content": "four"}]',
      "lines.json": '{"text": "five"}\n{"text": "six"}',
      "b.json#x": "a name like any other",
    });
    const read = (name: string): Promise<string> => readText(join(directory, name), MEBIBYTE);
    expect(await read("a.jsonl#body")).toBe("one\n\ntwo");
    expect(await read("list.json")).toBe("three\n\nfour");
    expect(await read("lines.json")).toBe("five\n\nsix");
    expect(await read("b.json#x")).toBe("a name like any other");
    await expect(read("list.json#text")).rejects.toThrow(
      "list.json item 2: expected an object with a text field (text)",
    );
    await expect(readText("hf://org/name", MEBIBYTE)).rejects.toThrow(
      "hf://org/name: expected a file, got a repository",
    );
  });

  it("leaves out documents whose text is null, of lines as of lists", async () => {
    const documents = [
      '{"text": null}',
      '{"text": null, "content": "one"}',
      '{"text": "two", "content": null}',
    ];
    expect(await readContent("a.jsonl", documents.join("\n"))).toBe("one\n\ntwo");
    expect(await readContent("a.json", `[${documents.join()}]`)).toBe("one\n\ntwo");
    await expect(readContent("a.jsonl", '{"text": null}\n{"txt": "three"}')).rejects.toThrow(
      /a\.jsonl:2: expected an object with a text field/,
    );
  });

  it("reads every second, third, ... document of a list that is too large", async () => {
    const list = Array.from({ length: 1000 }, (_, i) => ({ text: `document ${i}` }));
    const text = await readContent("a.json", JSON.stringify(list), 8000);
    expect(text.split("\n\n").slice(0, 3)).toEqual(["document 0", "document 3", "document 6"]);
  });

  it("reads the text files of a directory in the order of their paths", async () => {
    const directory = await directoryWith({
      "b.txt": "second",
      "a.jsonl": '{"text": "first"}',
      "c.md": "third",
      "e.json": '[{"text": "fourth"}]',
      "empty.txt": "",
      "picture.png": Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0),
      "._b.txt": Uint8Array.of(0, 5, 0x16, 7, 0xff),
    });
    await mkdir(join(directory, "d.txt.d"));
    expect(await readText(directory, MEBIBYTE)).toBe("first\n\nsecond\n\nthird\n\nfourth");
  });

  it("takes the field that is asked for of the files of a directory, and texts as they are", async () => {
    const directory = await directoryWith({
      "a.jsonl": '{"text": "no", "body": "one"}',
      "b.txt": "two",
      "c.json": '[{"body": "three"}]',
    });
    expect(await mayBeText(`${directory}#body`)).toBe(true);
    expect(await readText(`${directory}#body`, MEBIBYTE)).toBe("one\n\ntwo\n\nthree");
    await expect(readText(`${directory}#title`, MEBIBYTE)).rejects.toThrow(
      /a\.jsonl:1: expected an object with a text field \(title\), got none$/,
    );
    const plain = await directoryWith({ "b.txt": "two" });
    await expect(readText(`${plain}#body`, MEBIBYTE)).rejects.toThrow(
      `${plain}: expected files ending in .jsonl, .json, .parquet, got none`,
    );
  });

  it("knows upper-case endings", async () => {
    const directory = await directoryWith({
      "A.JSONL": '{"text": "one", "body": "two"}',
      "B.TXT": "three",
      "C.Json": '[{"text": "four"}]',
    });
    expect(await readText(directory, MEBIBYTE)).toBe("one\n\nthree\n\nfour");
    expect(await readText(join(directory, "A.JSONL#body"), MEBIBYTE)).toBe("two");
  });

  it.each([
    ["an empty file", "a.txt", ""],
    ["white space", "a.txt", " \n\t\n"],
    ["JSON Lines without a line", "a.jsonl", "\n\n"],
    ["documents without text", "a.jsonl", '{"text": ""}\n{"text": " "}\n{"text": null}'],
  ])("refuses %s", async (_, name, content) => {
    await expect(readContent(name, content)).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: expect.stringMatching(/: expected text, got none$/),
    });
  });

  it("refuses what is not UTF-8", async () => {
    await expect(readContent("a.txt", Uint8Array.of(0x61, 0xff, 0xfe))).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: expect.stringMatching(/a\.txt: expected UTF-8 text, got other bytes$/),
    });
  });

  it.each([
    ['{"text": "a"}\n{"text": ', "BAD_FILE", /a\.jsonl:2: expected JSON/],
    [
      '{"text": "a"}\n\n["b"]',
      "BAD_TEXT",
      /a\.jsonl:3: expected an object with a text field \(text or content\)/,
    ],
    ['{"text": 1}', "BAD_TEXT", /a\.jsonl:1: expected an object with a text field/],
    ['{"text": "a", "__proto__": {}}', "BAD_FILE", /a\.jsonl:1: expected plain keys/],
  ])("names the line of %j", async (content, code, message) => {
    await expect(readContent("a.jsonl", content)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it("says that there is nothing at a path or in a directory", async () => {
    const directory = await directoryWith({ "picture.png": Uint8Array.of(0), ".hidden": "text", "a.py": "" });
    await expect(readText(join(directory, "none.txt"), 1)).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(readText(directory, 1)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringMatching(
        /: expected files that are text, got none \(skipped 1 hidden, 1 empty, 1 not text\)$/,
      ),
    });
  });
});

describe("readText of a pipe", () => {
  it("says that pipes cannot be read, and what to do", async () => {
    const pipe = join(await temporaryDirectory(), "pipe");
    execFileSync("mkfifo", [pipe]);
    for (const path of [pipe, "/dev/stdin", "/dev/fd/63", "/proc/self/fd/999", "/dev/null"]) {
      expect(await mayBeText(path)).toBe(true);
      await expect(readText(path, MEBIBYTE)).rejects.toMatchObject({
        code: "NOT_FOUND",
        message: `${path}: expected a text file or directory, got a pipe or device`,
        hint: expect.stringMatching(/write it to a file first\.$/),
      });
    }
  });
});

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

  it("reads all that is text, in subdirectories, too, in the order of their paths", async () => {
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

  it("leaves out what is hidden, packages, and what is no text, and says so", async () => {
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

  it("leaves out a file that turns out not to be text, but not one that ends as texts do", async () => {
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
    await expect(read()).rejects.toThrow("c.txt: expected UTF-8 text, got other bytes");
  });

  it("leaves out JSON that holds settings and no texts", async () => {
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

  it("reads links to files and enters no links to directories", async () => {
    const { directory, read, events } = await readTree({ "a.py": "a", "d/b.py": "b" });
    await symlink(join(directory, "a.py"), join(directory, "d", "link.py"));
    await symlink("..", join(directory, "d", "up"));
    await symlink("nowhere", join(directory, "d", "broken"));
    expect(await read()).toBe("a\n\nb\n\na");
    expect(events.at(-1)!.stage).toBe(
      `read 3 files of ${directory}, skipped 1 unreadable, 1 linked directories`,
    );
  });

  it.skipIf(process.getuid?.() === 0)("leaves out what may not be read", async () => {
    const { directory, read, events } = await readTree({ "a.py": "a", "b.py": "b", "d/c.py": "c" });
    await chmod(join(directory, "b.py"), 0);
    await chmod(join(directory, "d"), 0);
    expect(await read()).toBe("a");
    expect(events.at(-1)!.stage).toBe(`read 1 files of ${directory}, skipped 2 unreadable`);
    await chmod(join(directory, "d"), 0o700);
    await chmod(directory, 0);
    await expect(read()).rejects.toThrow(`${directory}: expected a readable directory, got EACCES`);
    await chmod(directory, 0o700);
  });
});

describe("readText of a file larger than the limit", () => {
  const lines = Array.from({ length: 5000 }, (_, i) => `line ${i} ä`);

  it("gives whole lines from all over the file, and no more than the limit", async () => {
    const text = await readContent("a.txt", lines.join("\n"), 16_000);
    const found = text.split("\n");
    const known = new Set(lines);
    expect(found.every((line) => known.has(line))).toBe(true);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(16_000);
    expect(Buffer.byteLength(text)).toBeGreaterThan(12_000);
    const places = found.map((line) => Number(line.split(" ")[1]));
    expect(places).toEqual([...places].sort((a, b) => a - b));
    for (let part = 0; part < 10; part++) {
      expect(places.some((place) => Math.floor(place / 500) === part)).toBe(true);
    }
  });

  it("gives whole documents of JSON Lines", async () => {
    const documents = lines.map((text) => JSON.stringify({ text }));
    const found = (await readContent("a.jsonl", documents.join("\n"), 20_000)).split("\n\n");
    expect(found.length).toBeGreaterThan(300);
    expect(found.every((document) => lines.includes(document))).toBe(true);
  });

  it("says where in the file a bad line is", async () => {
    const documents = lines.map((text, i) => (i === 4990 ? "{" : JSON.stringify({ text })));
    const content = documents.join("\n");
    const error: unknown = await readContent("a.jsonl", content, content.length - 1).catch(
      (thrown) => thrown,
    );
    const [, start, line] = /from byte (\d+):(\d+): expected JSON/.exec(String(error))!.map(Number);
    expect(Buffer.from(content).subarray(start!).toString().split("\n")[line! - 1]).toBe("{");
  });

  it("cuts at spaces where there are no lines", async () => {
    const words = Array.from({ length: 5000 }, (_, i) => `wörd${i}`);
    const found = (await readContent("a.txt", words.join(" "), 8000)).split(/\s/);
    const known = new Set(words);
    expect(found.length).toBeGreaterThan(500);
    expect(found.every((word) => known.has(word))).toBe(true);
  });

  it("shares the limit among the files of a directory", async () => {
    const directory = await directoryWith({ "a.txt": lines.join("\n"), "b.txt": "short" });
    const text = await readText(directory, 16_000);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(8000 + "\n\nshort".length);
    expect(text.endsWith("\n\nshort")).toBe(true);
  });
});

describe("readText of directories of many files", () => {
  /** A file of numbered lines of 100 bytes. */
  const linesOf = (file: number, count: number): string =>
    Array.from({ length: count }, (_, i) => `${`file ${file} line ${i}`.padEnd(98)}.`).join("\n");
  /** Reads `files` files of `count` lines; the limit leaves room for 32 pieces of 64 KiB. */
  const readMany = async (files: number, count: number, onProgress?: (event: ProgressEvent) => void) => {
    const names = Array.from({ length: files }, (_, i) => `${String(i).padStart(4, "0")}.txt`);
    const directory = await directoryWith(
      Object.fromEntries(names.map((name, i) => [name, linesOf(i, count)])),
    );
    return { directory, text: await readText(directory, 2 * MEBIBYTE, { onProgress }) };
  };

  it("reads fewer and longer pieces of each file where many would be short", async () => {
    const { text } = await readMany(20, 2000);
    const files = text.split("\n\n");
    expect(files).toHaveLength(20);
    for (const [i, file] of files.entries()) {
      const whole = linesOf(i, 2000);
      expect(whole.startsWith(file)).toBe(true);
      expect(file.length).toBeGreaterThan(90_000);
    }
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(2 * MEBIBYTE);
  });

  it("reads evenly spaced files where there are too many, and says so", async () => {
    const events: ProgressEvent[] = [];
    const { directory, text } = await readMany(100, 400, (event) => events.push(event));
    const files = text.split("\n\n");
    const places = files.map((file) => Number(/^file (\d+) /.exec(file)![1]));
    expect(files).toEqual(places.map((place) => linesOf(place, 400)));
    expect(places.length).toBe(52);
    const steps = places.slice(1).map((place, i) => place - places[i]!);
    expect(Math.max(...steps)).toBe(2);
    expect(places.at(-1)).toBeGreaterThan(95);
    expect(events).toHaveLength(52);
    expect(events.at(-1)).toEqual({
      stage: `read 52 of 100 files of ${directory}`,
      done: 52,
      total: 52,
      unit: "files",
    });
  });

  it("reads all of many small files beside a large one, and tells nothing", async () => {
    const events: ProgressEvent[] = [];
    const small = Array.from({ length: 200 }, (_, i) => [`a${i}.txt`, `small ${i}`] as const);
    const directory = await directoryWith({ ...Object.fromEntries(small), "b.txt": linesOf(0, 1000) });
    const text = await readText(directory, 2 * MEBIBYTE, { onProgress: (event) => events.push(event) });
    const files = text.split("\n\n");
    expect(files).toHaveLength(201);
    expect(files.at(-1)!.length).toBeGreaterThan(60_000);
    expect(events).toEqual([]);
  });

  it("finds documents of JSON Lines that are longer than a piece used to be", async () => {
    const document = JSON.stringify({ text: "x".repeat(10_000) });
    const files = Array.from({ length: 40 }, (_, i) => [`${i}.jsonl`, Array(20).fill(document).join("\n")]);
    const text = await readText(await directoryWith(Object.fromEntries(files)), 2 * MEBIBYTE);
    expect(text.split("\n\n").length).toBeGreaterThan(150);
  });
});
