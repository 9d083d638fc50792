import { expect, test } from "vitest";
import { reportFiles } from "../../test/report_files.ts";

test("a record lists sets in the order given, also those whose names are numbers", () => {
  const names = ["2024", "7"] as const;
  const { calibration, held_out } = reportFiles({ names }).record;
  for (const sets of [calibration, held_out]) expect(sets.map(({ name }) => name)).toEqual(names);
});
