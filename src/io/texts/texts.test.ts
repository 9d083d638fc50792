import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import type { ProgressEvent } from "../../base/progress.ts";
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
  test("gives a text as it is, whatever its name", async () => {
    const text = "Zwei Zeilen,\r\n  nicht gekürzt: 你好 🙂\n\n";
    expect(await readContent("text.txt", text)).toBe(text);
    expect(await readContent("text.anything", text)).toBe(text);
  });

  test("drops a byte order mark", async () => {
    expect(await readContent("text.txt", Buffer.from([0xef, 0xbb, 0xbf, 0x61]))).toBe("a");
  });

  test("joins the documents of JSON Lines by an empty line, text before content", async () => {
    const lines = [
      '{"text": "one"}',
      "",
      '{"content": "two", "id": 2}\r',
      '{"content": "no", "text": "three"}',
      "",
    ];
    expect(await readContent("lines.jsonl", lines.join("\n"))).toBe("one\n\ntwo\n\nthree");
  });

  test("takes the field that is asked for, of JSON Lines and of JSON, which may be a list or lines", async () => {
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
    await expect(read("a.jsonl#bdy")).rejects.toMatchObject({
      hint: expect.stringMatching(/^It has text in .*body.*; select one after the path, as in PATH#/),
    });
    await expect(readText("hf://org/name", MEBIBYTE)).rejects.toThrow(
      "hf://org/name: expected a file, got a repository",
    );
  });

  test("leaves out documents whose text is null, of lines as of lists", async () => {
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

  test("reads every second, third, ... document of a list that is too large", async () => {
    const list = Array.from({ length: 1000 }, (_, i) => ({ text: `document ${i}` }));
    const text = await readContent("a.json", JSON.stringify(list), 8000);
    expect(text.split("\n\n").slice(0, 3)).toEqual(["document 0", "document 3", "document 6"]);
  });

  test("reads the text files of a directory in the order of their paths", async () => {
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

  test("takes the field that is asked for of the files of a directory, and texts as they are", async () => {
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

  test("knows upper-case endings", async () => {
    const directory = await directoryWith({
      "A.JSONL": '{"text": "one", "body": "two"}',
      "B.TXT": "three",
      "C.Json": '[{"text": "four"}]',
    });
    expect(await readText(directory, MEBIBYTE)).toBe("one\n\nthree\n\nfour");
    expect(await readText(join(directory, "A.JSONL#body"), MEBIBYTE)).toBe("two");
  });

  test.each([
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

  test("refuses what is not UTF-8", async () => {
    await expect(readContent("a.txt", Uint8Array.of(0x61, 0xff, 0xfe))).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: expect.stringMatching(/a\.txt: expected UTF-8 text, got invalid bytes$/),
      hint: "Convert the file to UTF-8, or decompress it.",
    });
    const utf16 = Buffer.from("\ufeffA text of Windows", "utf16le");
    await expect(readContent("a.txt", utf16)).rejects.toThrow("a.txt: expected UTF-8 text, got UTF-16");
  });

  test.each([
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

  test("says that there is nothing at a path or in a directory", async () => {
    const directory = await directoryWith({ "picture.png": Uint8Array.of(0), ".hidden": "text", "a.py": "" });
    await expect(readText(join(directory, "none.txt"), 1)).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(readText(directory, 1)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringMatching(
        /: expected text files, got none \(skipped 1 hidden, 1 empty, 1 not text\)$/,
      ),
    });
  });
});

describe("readText of a pipe", () => {
  test("says that pipes cannot be read, and what to do", async () => {
    const pipe = join(await temporaryDirectory(), "pipe");
    execFileSync("mkfifo", [pipe]);
    for (const path of [pipe, "/dev/stdin", "/dev/fd/63", "/proc/self/fd/999", "/dev/null"]) {
      expect(await mayBeText(path)).toBe(true);
      await expect(readText(path, MEBIBYTE)).rejects.toMatchObject({
        code: "NOT_FOUND",
        message: `${path}: expected a text file or directory, got a pipe or device`,
        hint: expect.stringMatching(/write the text to a file first\.$/),
      });
    }
  });
});

describe("readText of a file larger than the limit", () => {
  const lines = Array.from({ length: 5000 }, (_, i) => `line ${i} ä`);

  test("gives whole lines from all over the file, and no more than the limit", async () => {
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

  test("gives whole documents of JSON Lines", async () => {
    const documents = lines.map((text) => JSON.stringify({ text }));
    const found = (await readContent("a.jsonl", documents.join("\n"), 20_000)).split("\n\n");
    expect(found.length).toBeGreaterThan(300);
    expect(found.every((document) => lines.includes(document))).toBe(true);
  });

  test("says where in the file a bad line is", async () => {
    const documents = lines.map((text, i) => (i === 4990 ? "{" : JSON.stringify({ text })));
    const content = documents.join("\n");
    const error: unknown = await readContent("a.jsonl", content, content.length - 1).catch(
      (thrown) => thrown,
    );
    const [, start, line] = /from byte (\d+):(\d+): expected JSON/.exec(String(error))!.map(Number);
    expect(Buffer.from(content).subarray(start!).toString().split("\n")[line! - 1]).toBe("{");
  });

  test("cuts at spaces where there are no lines", async () => {
    const words = Array.from({ length: 5000 }, (_, i) => `wörd${i}`);
    const found = (await readContent("a.txt", words.join(" "), 8000)).split(/\s/);
    const known = new Set(words);
    expect(found.length).toBeGreaterThan(500);
    expect(found.every((word) => known.has(word))).toBe(true);
  });

  test("shares the limit among the files of a directory", async () => {
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

  test("reads fewer and longer pieces of each file where many would be short", async () => {
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

  test("reads evenly spaced files where there are too many, and says so", async () => {
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

  test("reads all of many small files beside a large one, and tells nothing", async () => {
    const events: ProgressEvent[] = [];
    const small = Array.from({ length: 200 }, (_, i) => [`a${i}.txt`, `small ${i}`] as const);
    const directory = await directoryWith({ ...Object.fromEntries(small), "b.txt": linesOf(0, 1000) });
    const text = await readText(directory, 2 * MEBIBYTE, { onProgress: (event) => events.push(event) });
    const files = text.split("\n\n");
    expect(files).toHaveLength(201);
    expect(files.at(-1)!.length).toBeGreaterThan(60_000);
    expect(events).toEqual([]);
  });

  test("finds documents of JSON Lines that are longer than a piece used to be", async () => {
    const document = JSON.stringify({ text: "x".repeat(10_000) });
    const files = Array.from({ length: 40 }, (_, i) => [`${i}.jsonl`, Array(20).fill(document).join("\n")]);
    const text = await readText(await directoryWith(Object.fromEntries(files)), 2 * MEBIBYTE);
    expect(text.split("\n\n").length).toBeGreaterThan(150);
  });
});
