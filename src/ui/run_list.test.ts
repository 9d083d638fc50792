import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { type ReportFilesOptions, reportFiles } from "../../test/report_files.ts";
import { readRun } from "../report/run_files.ts";
import { formatRunRecord } from "../report/run_record.ts";
import { formatEvaluation } from "../report/saved_evaluation.ts";
import { type KnownRuns, listRuns } from "./run_list.ts";

/** Makes a progress directory whose manifest has these facts. */
async function withProgress(
  directory: string,
  { facts, limits }: { readonly facts: unknown; readonly limits?: object },
): Promise<void> {
  await mkdir(directory);
  const content = { format: "gprune-run", version: 1, facts, written: null, limits, entries: {} };
  await writeFile(join(directory, "manifest.json"), JSON.stringify(content));
}

test("says with what budget an unfinished run is to go on", async () => {
  const root = await temporaryDirectory();
  const facts = { settings: { model: "models/a", output: "out", recover: "none" } };
  await withProgress(join(root, "a.run"), { facts, limits: { maxMemory: 4e9, threads: 2 } });
  await withProgress(join(root, "b.run"), { facts });
  const runs = await listRuns(root);
  const settings = { model: "models/a", recover: "none", dtype: "auto" };
  expect(Object.fromEntries(runs.map((run) => [run.id, run.settings]))).toEqual({
    a: { ...settings, maxMemory: 4e9, threads: 2 },
    b: settings,
  });
});

test("lists unfinished runs, but no exports and evaluations that keep their progress likewise", async () => {
  const root = await temporaryDirectory();
  const settings = { model: "models/a", method: "gprune", metric: "magnitude", recover: "none" };
  await withProgress(join(root, "run.run"), { facts: { settings } });
  await withProgress(join(root, "export.run"), {
    facts: { export: { dtype: "BF16" }, model: {}, versions: {} },
  });
  await withProgress(join(root, "scores.run"), { facts: { evaluation: "scores by what they depend on" } });
  await withProgress(join(root, "odd.run"), { facts: { something: "else" } });
  const runs = await listRuns(root);
  expect(runs.map(({ id, state, base }) => [id, state, base]).sort()).toEqual([
    ["odd.run", "damaged", ""],
    ["run", "unfinished", "models/a"],
  ]);
});

test("reads a finished run again only when one of its files has changed", async () => {
  const root = await temporaryDirectory();
  const { record, evaluation } = reportFiles();
  for (const name of ["a", "b"]) {
    await mkdir(join(root, name));
    await writeFile(join(root, name, "run.json"), formatRunRecord(record));
  }
  const known: KnownRuns = new Map();
  const list = async (): Promise<ReadonlyMap<string, unknown>> =>
    new Map((await listRuns(root, known)).map((run) => [run.id, run]));
  const first = await list();
  await writeFile(join(root, "b", "evaluation.json"), formatEvaluation(evaluation!));
  const second = await list();
  expect(second.get("a")).toBe(first.get("a"));
  expect(second.get("b")).not.toEqual(first.get("b"));
  // The same number of bytes.
  await writeFile(join(root, "a", "run.json"), formatRunRecord({ ...record, base: "models/mob" }));
  expect((await list()).get("a")).toMatchObject({ base: "models/mob" });
  await rm(join(root, "b"), { recursive: true });
  await list();
  expect([...known.keys()]).toEqual(["a"]);
});

test("a new run like one whose sets only checked the result has them, too", async () => {
  const root = await temporaryDirectory();
  const { record } = reportFiles();
  const unlearned = { ...record, calibration: [] };
  const { calibration: _, ...before } = record.settings;
  for (const [name, one] of Object.entries({ now: unlearned, old: { ...record, settings: before } })) {
    await mkdir(join(root, name));
    await writeFile(join(root, name, "run.json"), formatRunRecord(one));
  }
  const sets = ["web", "code"].map((name) => ({ name, path: `texts/${name}`, weight: 2 }));
  const runs = await listRuns(root);
  expect(Object.fromEntries(runs.map(({ id, settings }) => [id, settings!.calibration]))).toEqual({
    now: sets,
    old: sets,
  });
});

test("shows the perplexity that a run's report shows, and says of which texts it is", async () => {
  const root = await temporaryDirectory();
  const write = async (name: string, evaluation: string | null, options: ReportFilesOptions = {}) => {
    const { record, evaluation: own } = reportFiles(options);
    await mkdir(join(root, name));
    await writeFile(join(root, name, "run.json"), formatRunRecord(record));
    const text = evaluation ?? formatEvaluation(own!);
    if (text !== "") await writeFile(join(root, name, "evaluation.json"), text);
  };
  await write("held-out", "");
  await write("evaluated", null);
  await write("against", null, { baseline: "models/teacher" });
  await write("odd", "{}");
  const runs = new Map((await listRuns(root)).map((run) => [run.id, run]));
  const shown = (id: string): unknown => {
    const { dense, pruned, on } = runs.get(id)!.outcome!.perplexity!;
    return [(pruned / dense).toFixed(2), on];
  };
  expect(shown("held-out")).toEqual(["1.52", "geometric mean of 2 held-out texts"]);
  expect(shown("evaluated")).toEqual(["1.45", "geometric mean of 2 evaluation texts"]);
  expect(shown("against")).toEqual(["1.45", "geometric mean of 2 evaluation texts against teacher"]);
  expect(shown("odd")).toEqual(shown("held-out"));
  expect(runs.get("odd")).toMatchObject({
    state: "finished",
    note: expect.stringContaining("evaluation.json"),
  });
});

test("the list and the report read the same records and refuse the same ones", async () => {
  const root = await temporaryDirectory();
  const text = formatRunRecord(reportFiles().record);
  await writeFile(join(root, "record"), text);
  for (const name of ["whole", "bytes", "large", "link"]) await mkdir(join(root, name));
  await writeFile(join(root, "whole", "run.json"), text);
  await writeFile(
    join(root, "bytes", "run.json"),
    Buffer.from(text.replace('"base": "', '"base": "\xff'), "latin1"),
  );
  await writeFile(join(root, "large", "run.json"), text.padEnd(2 ** 24 + 1));
  await symlink(join(root, "record"), join(root, "link", "run.json"));
  const notes: Record<string, string | null> = {};
  for (const { id, note } of await listRuns(root)) {
    notes[id] = note;
    const read = readRun(join(root, id));
    await (note === null ? read : expect(read).rejects.toThrow(note));
  }
  expect(notes).toEqual({
    whole: null,
    bytes: expect.stringContaining("expected text in UTF-8"),
    large: expect.stringContaining("bytes"),
    link: expect.stringContaining("got a link to"),
  });
});
