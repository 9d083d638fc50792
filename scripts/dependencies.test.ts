import { expect, test } from "vitest";
import { dependencyProblems, type LockedPackage, type Manifest } from "./dependencies.ts";

const IGNORING = "save-exact=true\nignore-scripts=true\n";
const problemsOf = (entry: LockedPackage, manifest: Manifest = {}, name = "x"): readonly string[] =>
  dependencyProblems(manifest, { "": {}, [`node_modules/y/node_modules/${name}`]: entry }, IGNORING);

test.each(["MIT", "(Apache-2.0 AND BSD-3-Clause)", "(GPL-3.0 OR MIT)", "MIT OR Apache-2.0"])(
  "%s is permissive",
  (license) => {
    expect(problemsOf({ license })).toEqual([]);
  },
);

test.each(["GPL-3.0", "MIT AND LGPL-2.1", "UNLICENSED", "SEE LICENSE IN FILE", "MPL-2.0", undefined])(
  "%s is not",
  (license) => {
    const entry = license === undefined ? {} : { license };
    expect(problemsOf(entry)).toEqual([`x: expected a permissive licence, got ${license ?? "none"}`]);
  },
);

test("an exception is for the packages it names", () => {
  expect(problemsOf({ license: "MPL-2.0" }, {}, "@resvg/resvg-js-linux-x64-gnu")).toEqual([]);
});

test("install scripts are decided about, and there are none of ours", () => {
  const entry = { license: "MIT", hasInstallScript: true };
  const undecided = ["x: expected allowScripts to forbid its install script, got nothing"];
  expect(problemsOf(entry)).toEqual(undecided);
  expect(problemsOf(entry, { allowScripts: { x: true } })).toEqual(undecided);
  expect(problemsOf(entry, { allowScripts: { x: false } })).toEqual([]);
  expect(problemsOf({ license: "MIT" }, { scripts: { postinstall: "evil", test: "vitest" } })).toEqual([
    "package.json: expected no postinstall script, got one",
  ]);
});

test("install scripts are forbidden to every npm", () => {
  const missing = [".npmrc: expected ignore-scripts=true, got no such line"];
  expect(dependencyProblems({}, {}, "# ignore-scripts=true\n")).toEqual(missing);
  expect(dependencyProblems({}, {}, "ignore-scripts=false\n")).toEqual(missing);
  expect(dependencyProblems({}, {}, IGNORING)).toEqual([]);
});
