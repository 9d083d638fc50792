import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { tinyModel, tinySpec } from "../../test/tiny_model.ts";
import { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import {
  chooseWindows,
  cutWindows,
  decidingSet,
  forCheckAlone,
  freshSetsInTurn,
  learnable,
  loadTokenSet,
  requireWindowsFit,
  setsInTurn,
  splitWindows,
  windowLength,
  windowsInTurn,
} from "./windows.ts";

describe("cutWindows", () => {
  test("cuts consecutive windows and drops the rest", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(99), { minLength: 1 }), fc.integer({ min: 1, max: 9 }), (list, length) => {
        fc.pre(list.length >= length);
        const windows = cutWindows(Int32Array.from(list), length, { where: "text" });
        expect(windows.every((window) => window.length === length)).toBe(true);
        expect(windows.flatMap((window) => [...window])).toEqual(
          list.slice(0, list.length - (list.length % length)),
        );
      }),
    );
  });

  test("begins windows of any length", () => {
    const windows = cutWindows(new Int32Array(200_000), 200_001, { where: "text", first: 99 });
    expect(windows).toMatchObject([{ length: 200_001, 0: 99, 1: 0 }]);
  });

  test("begins every window with a token that is not of the text", () => {
    const windows = cutWindows(
      Int32Array.from({ length: 12 }, (_, i) => i),
      5,
      { where: "text", first: 99 },
    );
    expect(windows.map((window) => [...window])).toEqual([
      [99, 0, 1, 2, 3],
      [99, 4, 5, 6, 7],
      [99, 8, 9, 10, 11],
    ]);
  });

  test("does not repeat that token where the text begins with it", () => {
    const windows = cutWindows(Int32Array.from([99, 1, 2, 99, 4]), 3, { where: "text", first: 99 });
    expect(windows.map((window) => [...window])).toEqual([
      [99, 1, 2],
      [99, 99, 4],
    ]);
  });

  test("refuses a text shorter than a window", () => {
    for (const [length, first] of [
      [0, null],
      [2.5, null],
      [1, 99],
    ] as const) {
      expect(() => cutWindows(new Int32Array(7), length, { where: "text", first })).toThrow(
        expect.objectContaining({ code: "BAD_ARGUMENT" }),
      );
    }
    expect(() => cutWindows(new Int32Array(7), 8, { where: "set web (web.txt)" })).toThrow(
      expect.objectContaining({
        code: "BAD_TEXT",
        message: "set web (web.txt): expected at least 8 tokens, got 7",
        hint: expect.stringContaining("--seq-len"),
      }),
    );
  });
});

describe("splitWindows", () => {
  const set = { name: "a", weight: 2, windows: [Int32Array.of(1, 2, 3, 4, 5, 6, 7), Int32Array.of(8, 9)] };
  const pieces = (first: number | null, windows: readonly Int32Array[]): number[][] =>
    splitWindows({ ...set, windows }, 3, first).windows.map((ids) => [...ids]);

  test("cuts windows that are longer, and keeps all else of the set", () => {
    expect(pieces(null, set.windows)).toEqual([
      [1, 2, 3],
      [4, 5, 6],
      [8, 9],
    ]);
    expect(splitWindows(set, 3, null)).toMatchObject({ name: "a", weight: 2 });
  });

  test("begins every piece with BOS where windows begin with it", () => {
    expect(pieces(0, [Int32Array.of(0, 2, 3, 4, 5, 6), Int32Array.of(0, 9)])).toEqual([
      [0, 2, 3],
      [0, 4, 5],
      [0, 9],
    ]);
  });

  test.each([
    [512, 4, 128],
    [300, 3, 100],
    [255, 2, 127],
    [192, 2, 96],
    [134, 2, 67],
    [130, 1, 128],
    [129, 1, 128],
    [128, 1, 128],
  ])("makes of a window of %i tokens %i pieces of %i, so that hardly any are lost", (length, count, size) => {
    const windows = [Int32Array.from({ length }, (_, i) => i + 1)];
    const pieces = (first: number | null): readonly number[] =>
      splitWindows({ name: "a", windows }, 128, first).windows.map((piece) => piece.length);
    expect(pieces(null)).toEqual(Array(count).fill(size));
    const led = { name: "a", windows: [Int32Array.from({ length }, (_, i) => i)] };
    const kept = splitWindows(led, 128, 0).windows;
    expect(kept.every((piece) => piece[0] === 0 && piece.length <= 128)).toBe(true);
    expect(kept.reduce((sum, piece) => sum + piece.length - 1, 0)).toBeGreaterThanOrEqual(
      (31 / 32) * (length - 1) - 1,
    );
  });
});

test("the length of windows is the usual one, or the shortest context, unless another is asked for", () => {
  const models = [2048, 512, 300].map((maxPositions) => ({ spec: tinySpec({ maxPositions }) }));
  expect(windowLength(models.slice(0, 1), undefined)).toBe(512);
  expect(windowLength(models.slice(0, 2), undefined)).toBe(512);
  expect(windowLength(models, undefined)).toBe(300);
  expect(windowLength(models, 1024)).toBe(1024);
});

test("windows may fill a model's context and no more", () => {
  const model = tinyModel({ maxPositions: 64 });
  expect(() => requireWindowsFit(model, 64)).not.toThrow();
  expect(() => requireWindowsFit(model, 65)).toThrow("at most 64 tokens, the context length of tiny, got 65");
});

describe("chooseWindows", () => {
  const windows = Array.from({ length: 40 }, (_, i) => i);

  test("chooses different windows, as many as asked or all", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), fc.nat(), fc.string(), (count, seed, label) => {
        const chosen = chooseWindows(windows, count, { seed, label });
        expect(chosen).toHaveLength(Math.min(count, 40));
        expect(new Set(chosen).size).toBe(chosen.length);
        expect(chosen.every((window) => windows.includes(window))).toBe(true);
      }),
    );
  });

  test("depends on seed and label, and starts alike for every count", () => {
    const choose = (count: number, seed: number, label: string): readonly number[] =>
      chooseWindows(windows, count, { seed, label });
    expect(choose(10, 1, "web")).toEqual(choose(10, 1, "web"));
    expect(choose(10, 1, "web")).toEqual(choose(40, 1, "web").slice(0, 10));
    expect(choose(10, 1, "web")).not.toEqual(choose(10, 2, "web"));
    expect(choose(10, 1, "web")).not.toEqual(choose(10, 1, "code"));
  });

  test("gives every window the same chance", () => {
    const counts = new Float64Array(40);
    for (let seed = 0; seed < 2000; seed++) {
      for (const window of chooseWindows(windows, 10, { seed, label: "web" })) counts[window]!++;
    }
    // 500 expected, standard deviation 19
    expect(Math.min(...counts)).toBeGreaterThan(400);
    expect(Math.max(...counts)).toBeLessThan(600);
  });

  test("leaves its argument as it is", () => {
    const list = [...windows];
    chooseWindows(list, 10, { seed: 0, label: "web" });
    expect(list).toEqual(windows);
  });
});

describe("fresh windows", () => {
  const window = (id: number): Int32Array => Int32Array.of(id);
  const windows = [0, 1, 2, 3].map(window);
  const unused = [10, 11, 12].map(window);
  const set = { name: "web", windows, heldOut: [window(20)], unused };
  const turnOf = (): { start: number; count: number } => ({ start: 4, count: 3 });

  test("are those that least squares has beside the sampled ones", () => {
    expect(decidingSet(set, 6)).toEqual({ name: "web", windows, fresh: unused.slice(0, 2) });
    expect(decidingSet(set, 99).fresh).toEqual(unused);
    expect(decidingSet(set, 4).fresh).toEqual([]);
    expect(decidingSet(set, 2).fresh).toEqual([]);
  });

  test("come first, and the next in turn fill the count", () => {
    const [inTurn] = setsInTurn([set], turnOf, 3);
    expect(inTurn!.windows).toHaveLength(3);
    const chosen = (refitSamples: number): readonly Int32Array[] =>
      freshSetsInTurn([decidingSet(set, refitSamples)], turnOf, 3)[0]!.windows;
    expect(chosen(99)).toEqual(unused);
    expect(chosen(6)).toEqual([...unused.slice(0, 2), inTurn!.windows[0]]);
    expect(chosen(4)).toEqual(inTurn!.windows);
    expect(freshSetsInTurn([{ name: "web", windows }], turnOf, 3)).toEqual([inTurn]);
  });

  test("follow windows that were in no turn before", () => {
    const later = (): { start: number; count: number } => ({ start: 3, count: 3 });
    const [inTurn] = setsInTurn([set], later, 3);
    const before = setsInTurn([set], () => ({ start: 0, count: 3 }), 3)[0]!.windows;
    expect(before).not.toContainEqual(inTurn!.windows[0]);
    const [first] = freshSetsInTurn([decidingSet(set, 99)], later, 3);
    expect(first!.windows).toEqual([inTurn!.windows[0], ...unused.slice(0, 2)]);
  });

  test("are not more than the windows that decide", () => {
    const few = { ...set, windows: windows.slice(0, 2) };
    expect(freshSetsInTurn([decidingSet(few, 99)], turnOf, 3)[0]!.windows).toEqual(unused.slice(0, 2));
  });
});

describe("windowsInTurn", () => {
  const windows = Array.from({ length: 7 }, (_, i) => i);
  const key = { seed: 3, label: "web" };

  test("lets every window come once before any comes again, in another order each time", () => {
    const row = Array.from(
      { length: 14 },
      (_, start) => windowsInTurn(windows, { start, count: 1 }, key)[0]!,
    );
    const [first, second] = [row.slice(0, 7), row.slice(7)];
    expect(first.toSorted()).toEqual(windows);
    expect(second.toSorted()).toEqual(windows);
    expect(second).not.toEqual(first);
  });

  test("is one row, however it is cut, that seed and label decide", () => {
    fc.assert(
      fc.property(fc.nat({ max: 40 }), fc.integer({ min: 1, max: 7 }), (start, count) => {
        // The first `count` different windows of the row are taken.
        const row = Array.from({ length: 14 }, (_, i) =>
          windowsInTurn(windows, { start: start + i, count: 1 }, key),
        );
        const different = [...new Set(row.flat())];
        expect(windowsInTurn(windows, { start, count }, key)).toEqual(different.slice(0, count));
        expect(different).toHaveLength(7);
      }),
    );
    const all = { start: 0, count: 7 };
    const row = windowsInTurn(windows, all, key);
    expect(windowsInTurn(windows, all, { ...key, seed: 4 })).not.toEqual(row);
    expect(windowsInTurn(windows, all, { ...key, label: "code" })).not.toEqual(row);
  });

  test("gives all there are, when more is asked for, and none of none", () => {
    for (const start of [0, 3]) {
      expect(windowsInTurn(windows, { start, count: 9 }, key).toSorted()).toEqual(windows);
    }
    expect(windowsInTurn([], { start: 0, count: 2 }, key)).toEqual([]);
  });
});

describe("forCheckAlone", () => {
  test("has the windows held out, or else those that a run with fewer windows did not decide on", () => {
    const [first, second, third] = [1, 2, 3].map((id) => Int32Array.of(id)) as [Int32Array, ...Int32Array[]];
    const set = { name: "web", windows: [first, second!, third!], heldOut: [], unused: [] };
    expect(forCheckAlone(set)).toEqual({ ...set, windows: [], heldOut: [second, third] });
    const more = { ...set, windows: [first], heldOut: [second!], unused: [third!] };
    expect(forCheckAlone(more)).toEqual({ ...set, windows: [], heldOut: [second] });
  });
});

describe("learnable", () => {
  test("has the sampled windows first, then others, and never one that is held out", () => {
    const [first, second, third] = [1, 2, 3].map((id) => Int32Array.of(id)) as [Int32Array, ...Int32Array[]];
    const set = { name: "web", windows: [first], heldOut: [second!], unused: [third!] };
    const lots = [0, 1, 2, Number.POSITIVE_INFINITY].map((count) => learnable(set, count).windows);
    expect(lots).toEqual([[], [first], [first, third], [first, third]]);
  });
});

describe("loadTokenSet", () => {
  /** Words of one letter, `a` to `z`, are the ids 0 to 25. */
  function letterTokenizer({ addsBos = false } = {}): Tokenizer {
    const vocab = Object.fromEntries(Array.from("abcdefghijklmnopqrstuvwxyz", (letter, id) => [letter, id]));
    const json = {
      added_tokens: [],
      pre_tokenizer: { type: "WhitespaceSplit" },
      model: { type: "WordLevel", vocab, unk_token: "z" },
      ...(addsBos && {
        added_tokens: [{ id: 26, content: "<s>", special: true }],
        post_processor: {
          type: "TemplateProcessing",
          single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
          pair: [],
          special_tokens: { "<s>": { id: "<s>", ids: [26], tokens: ["<s>"] } },
        },
      }),
    };
    const contents = { "tokenizer.json": json, "tokenizer_config.json": addsBos ? { bos_token: "<s>" } : {} };
    return Tokenizer.fromFiles(
      Object.entries(contents).map(([name, value]) => ({ name, bytes: Buffer.from(JSON.stringify(value)) })),
    );
  }

  test("reads, cuts and samples a set, independently of other sets", async () => {
    const path = join(await temporaryDirectory(), "a.txt");
    const text = `${"a b c d e f g h ".repeat(10)}a b`;
    await writeFile(path, text);
    const options = { samples: 3, seqLen: 5, seed: 7 };
    const set = await loadTokenSet({ name: "web", path }, letterTokenizer(), options);
    const all = cutWindows(
      Int32Array.from({ length: 82 }, (_, i) => i % 8),
      5,
      { where: "text" },
    );
    const chosen = chooseWindows(all, 16, { seed: 7, label: "web" });
    expect(set).toEqual({
      name: "web",
      windows: chosen.slice(0, 3),
      heldOut: chosen.slice(3, 5),
      unused: chosen.slice(5),
      encodingBytes: text.length * letterTokenizer().characterBytes,
    });
    expect(set.windows).toEqual(chooseWindows(all, 3, { seed: 7, label: "web" }));
    const whole = await loadTokenSet({ name: "web", path }, letterTokenizer(), {
      ...options,
      samples: 15,
    });
    expect([whole.windows.length, whole.heldOut.length]).toEqual([15, 1]);
  });

  test("begins every window with BOS where the tokenizer puts it before a text", async () => {
    const path = join(await temporaryDirectory(), "a.txt");
    await writeFile(path, "a b c d ".repeat(10));
    const options = { samples: 3, seqLen: 5, seed: 7 };
    const set = await loadTokenSet({ name: "web", path }, letterTokenizer({ addsBos: true }), options);
    const all = [...set.windows, ...set.heldOut, ...set.unused].map((window) => [...window]);
    expect(all).toEqual(Array.from({ length: 10 }, () => [26, 0, 1, 2, 3]));
  });

  test("names set and file when the text is too short", async () => {
    const path = join(await temporaryDirectory(), "a.txt");
    await writeFile(path, "a b c");
    const options = { samples: 3, seqLen: 8, seed: 0 };
    await expect(loadTokenSet({ name: "web", path }, letterTokenizer(), options)).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: `calibration set web (${path}): expected at least 8 tokens, got 3`,
    });
  });
});
