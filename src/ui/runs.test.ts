import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { reportFiles } from "../../test/report_files.ts";
import { formatRunRecord } from "../report/run_record.ts";
import { problemOf, Runs } from "./runs.ts";
import type { RunEnding } from "./start_run.ts";

test("a run that failed keeps the settings that were asked for, and says where their paths lead from", async () => {
  const root = await temporaryDirectory();
  const problem = { code: "NOT_FOUND", message: "none", hint: null };
  const ending = Promise.resolve({ state: "failed", problem } as const);
  const runs = new Runs(root, () => ({ ending, stop: () => {} }));
  const settings = { model: "hf://a/m", calibration: [{ name: "own", path: "self" }] };
  await runs.start({ name: "small", settings: { ...settings, output: "elsewhere" } });
  await ending;
  const { live, workingDirectory } = await runs.state();
  expect(live).toMatchObject({ id: "small", state: "failed", failure: problem });
  expect(live?.settings).toEqual(settings);
  expect(workingDirectory).toBe(process.cwd());
});

test("a run that ends while the directory is looked at is in the list when somebody asks again", async () => {
  const root = await temporaryDirectory();
  let end: (ending: RunEnding) => void = () => {};
  const ending = new Promise<RunEnding>((resolve) => {
    end = resolve;
  });
  const runs = new Runs(root, () => ({ ending, stop: () => {} }));
  const calibration = [{ name: "own", path: "self" }];
  await runs.start({ name: "small", settings: { model: "hf://a/m", calibration } });
  // The run ends while the list is being read.
  const before = runs.state();
  end({ state: "finished" });
  await before;
  await mkdir(join(root, "small"));
  await writeFile(join(root, "small", "run.json"), formatRunRecord(reportFiles().record));
  expect((await runs.state()).runs).toMatchObject([{ id: "small", state: "finished" }]);
});

test("a list that has aged is answered with at once, and whoever listens hears of the new one", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const root = await temporaryDirectory();
  const runs = new Runs(root, () => ({ ending: new Promise(() => {}), stop: () => {} }));
  await runs.state();
  await mkdir(join(root, "small"));
  await writeFile(join(root, "small", "run.json"), formatRunRecord(reportFiles().record));
  vi.advanceTimersByTime(60_000);
  const heard = new Promise<void>((resolve) => void runs.onChange(resolve));
  expect((await runs.state()).runs).toEqual([]);
  await heard;
  expect((await runs.state()).runs).toMatchObject([{ id: "small", state: "finished" }]);
});

test("of more runs than a list has, their number is known", async () => {
  const root = await temporaryDirectory();
  const record = formatRunRecord(reportFiles().record);
  for (let index = 0; index < 502; index += 1) {
    await mkdir(join(root, `r${index}`));
    await writeFile(join(root, `r${index}`, "run.json"), record);
  }
  const runs = new Runs(root, () => ({ ending: new Promise(() => {}), stop: () => {} }));
  const { runs: shown, total } = await runs.state();
  expect([shown.length, total]).toEqual([500, 502]);
});

test("a form that names what is not there is refused with every field that is wrong, and nothing is started", async () => {
  const root = await temporaryDirectory();
  const runs = new Runs(root, () => {
    throw new Error("started");
  });
  const text = join(root, "web.txt");
  await writeFile(text, "text");
  for (const name of ["done", "half.run"]) await mkdir(join(root, name));
  const right = { model: root, calibration: [{ name: "web", path: text }] };
  const refused = async (name: string, settings: object): Promise<readonly unknown[]> => {
    const problem = problemOf(await runs.start({ name, settings }).catch((error: unknown) => error));
    return [problem.code, ...(problem.fields ?? []).flatMap(({ path, message }) => [path, message])];
  };
  const there = expect.stringContaining("expected an unused name");
  expect(await refused("done", right)).toEqual(["BAD_ARGUMENT", "name", there]);
  expect(await refused("half", right)).toEqual([
    "BAD_ARGUMENT",
    "name",
    expect.stringContaining("unfinished"),
  ]);
  for (const name of ["a/b", "small.run", "small.", "small ", 'a"b', "a:b", "a?"])
    expect(await refused(name, right)).toEqual([
      "BAD_ARGUMENT",
      "name",
      expect.stringContaining("expected letters"),
    ]);
  for (const name of ["CON", "nul.small", "com1"])
    expect(await refused(name, right)).toEqual([
      "BAD_ARGUMENT",
      "name",
      "expected a name that Windows takes, too, got that of a device",
    ]);
  const sets = [...right.calibration, { name: "own", path: "self" }, { name: "code", path: "nope.txt" }];
  const none = { model: "nowhere", calibration: sets, plan: "plan.json" };
  expect(await refused("new", none)).toEqual([
    "BAD_ARGUMENT",
    ...["model", "expected a model, got no such file or directory: nowhere"],
    ...["calibration.2.path", "expected a text, got no such file or directory: nope.txt"],
    ...["plan", "expected a plan.json, got no such file: plan.json"],
  ]);
  const address = { ...right, model: "hf://nobody" };
  expect(await refused("new", address)).toEqual(["BAD_ARGUMENT", "model", expect.stringContaining("hf://")]);
  const textless = { model: root, calibration: [] };
  const noSets = expect.stringContaining("expected at least one set, got none");
  expect(await refused("new", textless)).toEqual(["BAD_ARGUMENT", "calibration", noSets]);
  const ofWeights = { ...textless, model: "nowhere", method: "none", metric: "magnitude", recover: "none" };
  for (const needless of [ofWeights, { ...textless, model: "nowhere", ownText: "always" }])
    expect(await refused("new", needless)).toEqual([
      "BAD_ARGUMENT",
      "model",
      expect.stringContaining("nowhere"),
    ]);
  const alone = { ...right, method: "none", allocation: "curves", rounds: 0 };
  expect(await refused("new", alone)).toEqual([
    "BAD_CONFIG",
    ...["rounds", expect.stringContaining(">=1")],
    ...["allocation", expect.stringContaining("learned and curves need method gprune")],
  ]);
  expect((await runs.state()).live).toBeNull();
});

test("a new run like another begins with what is no default", async () => {
  const root = await temporaryDirectory();
  const { record } = reportFiles();
  const settings = {
    model: "m",
    method: "gprune",
    allocation: "learned",
    samples: 40,
    sparsity: 0.4,
    rounds: 8,
  };
  await mkdir(join(root, "small"));
  await writeFile(join(root, "small", "run.json"), formatRunRecord({ ...record, settings }));
  const [run] = (await new Runs(root, () => ({ ending: new Promise(() => {}), stop: () => {} })).state())
    .runs;
  // Two sets of weight 2; the model was too large for a set of its own text.
  const calibration = ["web", "code"].map((name) => ({ name, path: `texts/${name}`, weight: 2 }));
  expect(run?.settings).toEqual({ model: "m", sparsity: 0.4, calibration });
});

test("what files say of a run turns nothing around on the page, and its settings stay as they are", async () => {
  const root = await temporaryDirectory();
  const { record } = reportFiles();
  const turning = "models/\u202ebew";
  const settings = { ...record.settings, model: turning, metric: "x\u2066" };
  const held_out = record.held_out.slice(0, 1).map((text) => ({ ...text, name: "\u202edeb" }));
  const id = "\u202ellams";
  await mkdir(join(root, id));
  const turned = { ...record, base: turning, settings, held_out };
  await writeFile(join(root, id, "run.json"), formatRunRecord(turned));
  const runs = new Runs(root, () => ({ ending: new Promise(() => {}), stop: () => {} }));
  const [run] = (await runs.state()).runs;
  const how = expect.stringContaining("x\\u2066");
  expect(run).toMatchObject({
    id,
    name: "\\u202ellams",
    base: "models/\\u202ebew",
    how,
    settings: { model: turning },
  });
  expect(run?.outcome?.perplexity?.on).toBe("held-out text \\u202edeb");
  await expect(runs.resume({ id })).rejects.toThrow("got \\u202ellams");
});

test.each([
  ["allocation", {}],
  ["metric", { plan: "plan.json" }],
])(
  "a run whose record has something odd for %s is shown as damaged and has no report",
  async (name, also) => {
    const root = await temporaryDirectory();
    const { record } = reportFiles();
    const settings = { ...record.settings, ...also, [name]: { toString: 1 } };
    await mkdir(join(root, "odd"));
    await writeFile(join(root, "odd", "run.json"), formatRunRecord({ ...record, settings }));
    const runs = new Runs(root, () => ({ ending: new Promise(() => {}), stop: () => {} }));
    const note = expect.stringContaining(`settings.${name}: expected a word or a number`);
    expect((await runs.state()).runs).toMatchObject([{ id: "odd", state: "damaged", note }]);
    await expect(runs.report("odd")).rejects.toMatchObject({ code: "NOT_FOUND" });
  },
);
