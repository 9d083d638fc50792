import { expect, test } from "vitest";
import { reportFiles } from "../../test/report_files.ts";
import { runNames } from "./run_names.ts";

const { record } = reportFiles();
const named = (...directories: readonly (string | undefined)[]) =>
  runNames(directories.map((directory) => ({ record, directory })));

test.each([
  [
    ["runs/p1", "runs/p1moved"],
    ["p1", "p1moved"],
  ],
  [
    ["aa/run", "bb/run/", "./c"],
    ["aa/run", "bb/run", "c"],
  ],
  [
    ["x/run", "y/x/run", "z"],
    [expect.stringMatching(/\/x\/run$/), "y/x/run", "z"],
  ],
  [
    ["runs/a", "./runs/a"],
    ["a (1)", "a (2)"],
  ],
  [
    [undefined, undefined, "b"],
    ["code (1)", "code (2)", "b"],
  ],
])("runs in %j are told apart by their directories", (directories, names) => {
  expect(named(...directories)).toEqual(names);
});
