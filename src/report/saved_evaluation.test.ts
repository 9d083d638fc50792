import { describe, expect, test } from "vitest";
import { reportFiles } from "../../test/report_files.ts";
import type { Evaluation } from "../evaluate/evaluate.ts";
import {
  addedTo,
  formatEvaluation,
  type MeasuredWith,
  parseEvaluation,
  type SavedEvaluation,
  savedEvaluation,
} from "./saved_evaluation.ts";

interface EvaluationInput {
  readonly texts?: readonly string[];
  readonly tasks?: readonly string[];
  readonly ppl?: number;
  readonly baseline?: string;
  readonly settings?: MeasuredWith;
}

/** A saved evaluation on these texts and tasks. */
function saved({ texts = [], tasks = [], ppl = 10, baseline, settings }: EvaluationInput): SavedEvaluation {
  const of = <T>(names: readonly string[], score: T): Readonly<Record<string, T>> =>
    Object.fromEntries(names.map((name) => [name, score]));
  const evaluation = (model: string): Evaluation => ({
    model,
    texts: of(texts, { ppl, nll: Math.log(ppl), windows: 3, tokens: 30 }),
    tasks: of(tasks, { acc: 0.5, acc_norm: 0.5, stderr: 0.1, acc_norm_stderr: 0.1, n: 10 }),
  });
  const other = baseline === undefined ? undefined : evaluation(baseline);
  return savedEvaluation(evaluation("own"), other, settings ?? { seqLen: 64 });
}

test("has no baseline whose tokens are others", () => {
  const of = (model: string): Evaluation => ({
    model,
    texts: { a: { ppl: 10, nll: Math.log(10), windows: 3, tokens: 30 } },
    tasks: {},
  });
  const apart = { divergence: null, incomparable: "other words" } as const;
  const cut = { ...apart, other_tokens: true } as const;
  const baselines = [apart, cut].map((fromFirst) => {
    return savedEvaluation({ ...of("own"), fromFirst }, of("other"), { seqLen: 64 }).texts[0]!.baseline;
  });
  expect(baselines).toEqual([10, null]);
});

/** Names and perplexities of texts, names of tasks, and names of dropped texts and tasks. */
function namesOf(earlier: SavedEvaluation, now: SavedEvaluation): readonly unknown[] {
  const { evaluation, dropped } = addedTo(earlier, now);
  // It can be read again.
  expect(parseEvaluation(formatEvaluation(evaluation), "here")).toEqual(evaluation);
  return [
    evaluation.texts.map(({ name, ppl }) => `${name} ${ppl}`),
    evaluation.tasks.map(({ name }) => name),
    dropped,
  ];
}

const WIDE: MeasuredWith = { seqLen: 128 };
const ZERO: MeasuredWith = { seqLen: 64, fewShot: { count: 0, seed: 1 } };
const SHOT: MeasuredWith = { seqLen: 64, fewShot: { count: 2, seed: 1 } };

describe("addedTo", () => {
  test("is the evaluation itself when there was none", () => {
    const now = saved({ texts: ["a"] });
    expect(addedTo(null, now)).toEqual({ evaluation: now, dropped: [] });
  });

  test("keeps texts and tasks of other names, and puts those of the same name in their place", () => {
    const earlier = saved({ texts: ["a", "__proto__", "b"], tasks: ["t"], baseline: "dense" });
    const now = saved({ texts: ["c", "a"], tasks: ["u"], ppl: 20, baseline: "dense" });
    const result = [["a 20", "__proto__ 10", "b 10", "c 20"], ["t", "u"], []];
    expect(namesOf(earlier, now)).toEqual(result);
  });

  test("knows a baseline by its weights, and by its name where those were not saved", () => {
    const by = (baseline: string, baselineHash: string | null, text: string): SavedEvaluation =>
      saved({ texts: [text], baseline, settings: { seqLen: 64, baselineHash } });
    const now = by("tw", "f00d", "b");
    expect(namesOf(by("./tw/", "f00d", "a"), now)).toEqual([["a 10", "b 10"], [], []]);
    expect(namesOf(by("tw", "beef", "a"), now)).toEqual([["b 10"], [], ["a"]]);
    expect(namesOf(by("tw", null, "a"), now)).toEqual([["a 10", "b 10"], [], []]);
    expect(namesOf(by("other", null, "a"), now)).toEqual([["b 10"], [], ["a"]]);
  });

  test("keeps texts when only tasks are measured, with whatever settings, and the other way round", () => {
    const texts = saved({ texts: ["a"], settings: { seqLen: 128, limit: 3 } });
    const tasks = saved({ tasks: ["t"], settings: { seqLen: 64, limit: 9, fewShot: { count: 2, seed: 1 } } });
    expect(namesOf(texts, tasks)).toEqual([["a 10"], ["t"], []]);
    for (const { evaluation } of [addedTo(texts, tasks), addedTo(tasks, texts)]) {
      expect(evaluation).toMatchObject({
        seq_len: 128,
        settings: { texts: { limit: 3 }, tasks: { limit: 9, num_fewshot: 2, seed: 1 } },
      });
    }
  });

  test.each<[string, MeasuredWith, readonly unknown[]]>([
    ["tokens in a window", WIDE, [["b 10"], ["t", "u"], ["a"]]],
    ["a limit", { seqLen: 64, limit: 2 }, [["b 10"], ["u"], ["a", "t"]]],
    ["BOS", { seqLen: 64, bos: true }, [["b 10"], ["t", "u"], ["a"]]],
    ["messages", { seqLen: 64, chat: {} }, [["a 10", "b 10"], ["u"], ["t"]]],
    ["solved questions", SHOT, [["a 10", "b 10"], ["u"], ["t"]]],
    [
      "a seed that drew nothing",
      { seqLen: 64, fewShot: { count: 0, seed: 7 } },
      [["a 10", "b 10"], ["t", "u"], []],
    ],
    ["what tasks want themselves", { seqLen: 64, fewShot: { seed: 0 } }, [["a 10", "b 10"], ["u"], ["t"]]],
  ])("drops what %s sets apart", (_, settings, result) => {
    const earlier = saved({ texts: ["a"], tasks: ["t"], settings: ZERO });
    expect(
      namesOf(earlier, saved({ texts: ["b"], tasks: ["u"], settings: { ...ZERO, ...settings } })),
    ).toEqual(result);
  });

  test("drops everything with another baseline", () => {
    const earlier = saved({ texts: ["a", "b"], tasks: ["t"], baseline: "dense" });
    expect(namesOf(earlier, saved({ texts: ["a"] }))).toEqual([["a 10"], [], ["a", "b", "t"]]);
  });

  test("does not mix with texts of a file that does not say how they were measured", () => {
    const { settings: _, ...old } = saved({ texts: ["a"] });
    const earlier = parseEvaluation(JSON.stringify(old), "here");
    expect(namesOf(earlier, saved({ texts: ["b"] }))).toEqual([["b 10"], [], ["a"]]);
    expect(namesOf(earlier, saved({ tasks: ["t"] }))).toEqual([["a 10"], ["t"], []]);
    expect(reportFiles().evaluation?.settings.texts).toEqual({ limit: null, bos: false });
  });
});
