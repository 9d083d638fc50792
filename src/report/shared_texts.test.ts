import { expect, test } from "vitest";
import { reportFiles } from "../../test/report_files.ts";
import { type RunFiles, reportData } from "./report_data.ts";
import type { RunRecord } from "./run_record.ts";
import { sharedTexts, type TextKind } from "./shared_texts.ts";

const files = reportFiles();
const shared = (which: TextKind, ...runs: readonly RunFiles[]) =>
  sharedTexts(
    runs.map((run, index) => ({ name: `${index}`, data: reportData(run) })),
    which,
  );

/** The run with another record. */
function recorded(change: (record: RunRecord) => Partial<RunRecord>): RunFiles {
  return { ...files, record: { ...files.record, ...change(files.record) } };
}

const denser = (factor: number) =>
  recorded(({ held_out }) => ({
    held_out: held_out.map((text) => ({ ...text, dense: text.dense * factor })),
  }));
const withSettings = (more: object) =>
  recorded(({ settings }) => ({ settings: { ...settings, ...more } as RunRecord["settings"] }));
const elsewhere = (run: RunFiles): RunFiles => ({ ...run, record: { ...run.record, base: "other/model" } });

test.each<[string, RunFiles, string | null]>([
  ["itself", files, null],
  ["a run on another machine", denser(1 + 1e-4), null],
  ["a run on other text", denser(1.1), "the dense model has different perplexities on it"],
  ["the same model elsewhere", elsewhere(files), null],
  [
    "a model that is not quite the same",
    elsewhere(denser(1 + 1e-4)),
    "different models, web and other/model",
  ],
  ["a run with other windows", withSettings({ samples: 8 }), "--samples ? and 8"],
  ["other windows", withSettings({ seqLen: 64, seed: 1 }), "--seq-len ? and 64; --seed ? and 1"],
  [
    "a model of another size",
    recorded(({ parameters }) => ({ parameters: { ...parameters, before: 6000 } })),
    "parameters of the dense model 5000 and 6000",
  ],
])("held-out text beside that of %s", (_, other, reason) => {
  const all = ["web", "code"];
  expect(shared("heldOut", files, other)).toEqual(
    reason === null ? { names: all, others: null } : { names: [], others: `web, code (${reason})` },
  );
});

test("many texts that are not the same are named by the first few", () => {
  const many = (dense: number) =>
    recorded(() => ({
      held_out: Array.from({ length: 70 }, (_, t) => ({ name: `t${t}`, windows: 2, dense, pruned: 20 })),
    }));
  expect(shared("heldOut", many(10), many(11)).others).toMatch(
    /^t0, t1, .*, and 62 more \(the dense model has/,
  );
});

test("evaluation texts are the same where the baseline says so", () => {
  const evaluation = files.evaluation!;
  const changed = (more: object): RunFiles => ({ ...files, evaluation: { ...evaluation, ...more } });
  expect(shared("texts", files, files).names).toEqual(["web", "code"]);
  expect(shared("texts", files, changed({ seq_len: 32 })).others).toBe("web, code (--seq-len 64 and 32)");
  const [web, code] = evaluation.texts;
  expect(shared("texts", files, changed({ texts: [web, { ...code, baseline: null }] }))).toEqual({
    names: ["web"],
    others: "code (not in all runs)",
  });
  // One run alone is compared with nothing.
  expect(shared("texts", files, { ...files, evaluation: null }).others).toBeNull();
});
