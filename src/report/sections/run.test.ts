import { expect, test } from "vitest";
import { reportFiles } from "../../../test/report_files.ts";
import { type ReportData, reportData } from "../report_data.ts";
import type { RunRecord } from "../run_record.ts";
import { runSection } from "./run.ts";

/** The markup of the run section for these settings. */
function sectionOf(settings: object): string {
  const { record, ...files } = reportFiles();
  const all = { ...record.settings, ...settings } as RunRecord["settings"];
  const data: ReportData = reportData({ ...files, record: { ...record, settings: all } });
  return runSection(data, new Map())!.body.markup.replaceAll("&#39;", "'");
}

test("says the commands that run it again, quoted for a shell", () => {
  const section = sectionOf({ output: "my runs/it's one/" });
  const path = (name: string): string => `'my runs/it'\\''s one${name}'`;
  const again = `gprune prune --config ${path("/gprune.yaml")}`;
  expect(section).toContain(`<code>${again} -o ${path("-again")}</code>`);
  expect(section).toContain(`<code>${again} --plan ${path("/plan.json")} -o ${path("-replay")}</code>`);
});

test("lists what was asked as the command line has it, and no defaults", () => {
  const section = sectionOf({
    seqLen: 64,
    requireDevice: false,
    deviceDtype: "f16",
    robust: true,
    refine: false,
  });
  for (const option of ["--seq-len</code></dt><dd>64", "--device-dtype</code></dt><dd>f16"]) {
    expect(section).toContain(`<code>${option}</dd>`);
  }
  expect(section).toContain("<code>--robust</code></dt><dd></dd>");
  expect(section).toContain("<code>--no-refine</code></dt><dd></dd>");
  expect(section).not.toMatch(/require|metric<|deviceDtype/);
});
