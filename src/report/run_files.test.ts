import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { reportFiles } from "../../test/report_files.ts";
import { weightsHash } from "../model/checkpoint/model_hashes.ts";
import { formatPlan } from "../prune/plan_json.ts";
import { renderReport } from "./report.ts";
import { runDocuments } from "./run_documents.ts";
import { readRun } from "./run_files.ts";
import { formatRunRecord, parseRunRecord } from "./run_record.ts";
import { formatEvaluation, parseEvaluation } from "./saved_evaluation.ts";

const files = reportFiles({ names: ["web", "constructor"] });

describe("readRun", () => {
  test("reads what a run wrote, and the report made from it has the same bytes", async () => {
    const directory = await temporaryDirectory();
    const { record, plan, evaluation } = files;
    const { documents, problem } = await runDocuments({
      record,
      plan: plan!,
      curve: undefined,
      report: true,
    });
    expect(problem).toBeNull();
    for (const [name, text] of documents) await writeFile(join(directory, name), text);
    await writeFile(join(directory, "plan.json"), formatPlan(plan!));
    const read = await readRun(directory);
    expect(read).toEqual({ record, plan, evaluation: null, curve: null, baseHash: null, directory });
    expect(await renderReport(read)).toBe(documents.get("report.html"));
    await writeFile(join(directory, "evaluation.json"), formatEvaluation(evaluation!));
    expect((await readRun(directory)).evaluation).toEqual(evaluation);
    const model = { "config.json": "c", "model.safetensors": "w" };
    await writeFile(join(directory, "facts.json"), JSON.stringify({ facts: { inputs: { model } } }));
    expect((await readRun(directory)).baseHash).toBe(weightsHash(model));
    await writeFile(join(directory, "facts.json"), "{}");
    expect((await readRun(directory)).baseHash).toBeNull();
  });

  test("says what is missing or something else", async () => {
    const directory = await temporaryDirectory();
    await expect(readRun(directory)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: `${directory}: expected an output of gprune prune, got no run.json`,
    });
    await expect(readRun(join(directory, "none"))).rejects.toThrow("got no such directory");
    await writeFile(join(directory, "run.json"), formatRunRecord(files.record));
    await writeFile(join(directory, "training.json"), "[1]");
    await expect(readRun(directory)).rejects.toThrow(
      "training.json: expected the loss curve of a distillation",
    );
  });
});

describe("files that are something else", () => {
  test.each([
    ["{}", "expected the record of a run, got something else"],
    ['{"format": "gprune-run", "version": 2}', "expected the record of a run, got version 2"],
    ['{"format": "gprune-run", "version": {"toString": 1}}', "expected the record of a run, got version {"],
    ["[", "expected JSON"],
  ])("run.json: %s", (text, message) => {
    expect(() => parseRunRecord(text, "run.json")).toThrow(`run.json: ${message}`);
  });

  test("run.json of other layers than its widths have, and of units from nowhere", () => {
    const { widths, unit_parameters: cost } = files.record;
    for (const wrong of [
      { widths: { ...widths, before: { ...widths.before, kv: widths.before.kv.slice(1) } } },
      { unit_parameters: { ...cost, ffn: cost.ffn.slice(1) } },
      { widths: { ...widths, after: { ...widths.after, ffn: widths.before.ffn.map((units) => units + 1) } } },
      { widths: { ...widths, before: { ...widths.before, kv: widths.before.kv.map(() => 0) } } },
    ]) {
      const text = formatRunRecord({ ...files.record, ...wrong });
      expect(() => parseRunRecord(text, "run.json")).toThrow("widths: expected widths before and after");
    }
  });

  test.each(["metric", "allocation", "seed"])(
    "run.json with a record for %s, which would become no word",
    (name) => {
      const settings = { ...files.record.settings, [name]: { toString: 1 } };
      const text = formatRunRecord({ ...files.record, settings });
      expect(() => parseRunRecord(text, "run.json")).toThrow(
        `run.json: expected the record of a run, got version 1 (settings.${name}: expected a word or a number)`,
      );
    },
  );

  test("evaluation.json", () => {
    expect(() => parseEvaluation("{}", "evaluation.json")).toThrow(
      "evaluation.json: expected a saved evaluation, got something else (format: ",
    );
  });

  test("evaluation.json with a divergence of no layers", () => {
    const [text] = files.evaluation!.texts;
    const divergence = { ...text!.divergence!, layers: [] };
    const wrong = formatEvaluation({ ...files.evaluation!, texts: [{ ...text!, divergence }] });
    expect(() => parseEvaluation(wrong, "evaluation.json")).toThrow("(texts.0.divergence.layers: ");
  });
});

describe("runDocuments", () => {
  test("keeps the record when the report cannot be drawn, and says why", async () => {
    const record = { ...files.record, widths: { ...files.record.widths, after: { ffn: [], kv: [] } } };
    const written = await runDocuments({ record, plan: files.plan!, curve: undefined, report: true });
    expect([...written.documents.keys()]).toEqual(["run.json"]);
    expect(written.problem).toContain("widths.after.ffn");
  });

  test("draws nothing that was not asked for", async () => {
    const { record, plan } = files;
    const written = await runDocuments({ record, plan: plan!, curve: undefined, report: false });
    expect([...written.documents.keys()]).toEqual(["run.json"]);
    expect(written.problem).toBeNull();
  });
});
