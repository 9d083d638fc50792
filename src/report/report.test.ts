import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { type ReportFilesOptions, reportFiles } from "../../test/report_files.ts";
import { renderComparison } from "./comparison.ts";
import { renderReport } from "./report.ts";
import { type RunFiles, reportData } from "./report_data.ts";

const render = (options: ReportFilesOptions = {}): Promise<string> => renderReport(reportFiles(options));

/** The content of an element. */
function contents(page: string, tag: string): string[] {
  return Array.from(page.matchAll(new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`, "g")), (match) => match[1]!);
}

function ids(page: string): string[] {
  return Array.from(page.matchAll(/\sid="([^"]*)"/g), (match) => match[1]!);
}

/** Everything that no page may contain: anything that runs, loads or links elsewhere. */
function expectSelfContained(page: string): void {
  const hash = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
  const [styles, scripts] = [contents(page, "style"), contents(page, "script")];
  expect([styles.length, scripts.length]).toEqual([1, 1]);
  const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(page)![1]!;
  expect(policy.replaceAll("&#39;", "'")).toBe(
    `default-src 'none'; style-src ${hash(styles[0]!)}; script-src ${hash(scripts[0]!)}; base-uri 'none'; form-action 'none'`,
  );
  const body = page.replace(styles[0]!, "").replace(scripts[0]!, "");
  const tag = /<(\/?[a-z][a-z0-9]*)((?:\s[\w:-]+(?:="[^"]*")?)*)\s?\/?>/gi;
  // No remainder could be read as another tag.
  expect(body.replace("<!doctype html>", "").replaceAll(tag, "").match(/[<>]/g)).toBeNull();
  const tags = Array.from(body.matchAll(tag), ([, name, attributes]) => [name!, attributes!] as const);
  const forbidden = ["a", "base", "embed", "form", "iframe", "image", "img", "link", "object", "use"];
  expect(tags.filter(([name, rest]) => forbidden.includes(name) && !/ href="#[a-z]+"/.test(rest))).toEqual(
    [],
  );
  const attributes = tags.flatMap(([, rest]) =>
    Array.from(rest.matchAll(/\s([\w:-]+)(?:=|(?=\s)|$)(?:"[^"]*")?/g), ([, name]) => name!),
  );
  expect(attributes.filter((name) => /^(?:on|style|src|xlink)/.test(name))).toEqual([]);
  expect(new Set(ids(page)).size).toBe(ids(page).length);
}

describe("renderReport", () => {
  test("shows everything the files have", async () => {
    const page = await render({ trained: true });
    expectSelfContained(page);
    const figures = [
      "composition",
      "sparsity",
      "widths-ffn",
      "widths-kv",
      "held-out",
      "texts",
      "tasks",
      "layer-error",
      "sensitivity",
      "sigma",
      "kendall",
      "sets",
      "profiles",
      "reliability",
      "rounds",
      "training",
      "timings",
    ];
    expect(ids(page)).toEqual(expect.arrayContaining(figures));
    expect(page.match(/<svg /g)).toHaveLength(figures.length);
    expect(page.match(/<svg role="img" aria-label="[^"]{20,}"/g)).toHaveLength(figures.length);
    for (const text of [
      "39.8 %",
      "asked 40.0 %",
      "2.90 K",
      "×1.45",
      "1 min 23 s",
      "0.54 GB",
      "2 January 2026, 03:04 UTC",
    ]) {
      expect(page.replaceAll("\u00a0", " ")).toContain(text);
    }
    expect(page.replaceAll("\u00a0", " ")).toContain(
      "dense model&#39;s in 75.0 % of the cases; KL 0.500 nats per token.",
    );
  });

  test("names a baseline that is not the model the run pruned", async () => {
    const [dense, other] = await Promise.all([
      render({ baseline: "./models/web/" }),
      render({ baseline: "runs/b1" }),
    ]);
    expect(dense).toContain("geometric mean of 2 evaluation texts<");
    expect(dense).not.toContain("against");
    expect(other).not.toContain("dense model&#39;s");
    expect(other).toContain("geometric mean of 2 evaluation texts against b1<");
    expect(other).toContain("Perplexity rises most against b1 on code");
    expect(other).toContain("The most probable next token is b1&#39;s in");
    expect(other).toContain("Labels: ratio to b1.");
    expect(other).toContain("Perplexity from baseline to pruned: ");
  });

  test("knows the model the run pruned by its weights, whatever a baseline is called", () => {
    const by = (baseline: string, baseline_sha256: string): string | null => {
      const { evaluation, ...files } = reportFiles({ baseline });
      return reportData({ ...files, evaluation: { ...evaluation!, baseline_sha256 }, baseHash: "f00d" })
        .otherBaseline;
    };
    expect(by("elsewhere/copy", "f00d")).toBeNull();
    expect(by("models/web", "beef")).toBe("models/web");
  });

  test("says where perplexity falls least when it falls everywhere", async () => {
    const files = reportFiles();
    const texts = files.evaluation!.texts.map((text) => ({ ...text, ppl: text.baseline! / text.ppl }));
    const page = await renderReport({ ...files, evaluation: { ...files.evaluation!, texts } });
    expect(page).toMatch(/Perplexity falls least on \w+ \(×0\.\d+\) and most on \w+ \(×0\.\d+\)\./);
  });

  test("shows what a parameter of a large model is worth", async () => {
    const files = reportFiles();
    const moves = [
      { space: "layers.0.ffn", from: 9000, to: 9010, exchanged: 321, worth: 0.000_012_35 },
      { space: "layers.1.kv", from: 3, to: 2 },
    ];
    const provenance = { ...files.plan!.provenance, moves };
    const page = await renderReport({ ...files, plan: { ...files.plan!, provenance } });
    expect(page).toContain("0.00001235<");
    expect(page).toContain(">321<");
  });

  test("does not say that embeddings and norms are all that stays, as convolutions do, too", async () => {
    const page = await render();
    expect(page).toContain(">embeddings, others<");
    expect(page).not.toContain("embeddings, norms");
  });

  test("shows what is known of attention alone", async () => {
    const files = reportFiles();
    const plan = JSON.parse(JSON.stringify(files.plan), (key, value) => {
      if (key === "ffn" && Array.isArray(value?.[0])) return [];
      if (key !== "spaces" && key !== "profiles") return value;
      return value.filter(({ space }: { readonly space: string }) => space.endsWith(".kv"));
    });
    const page = await renderReport({ ...files, plan });
    expect(ids(page)).toEqual(expect.arrayContaining(["reliability", "rounds"]));
    expect(ids(page)).not.toContain("kendall");
  });

  test("says which set the model wrote by itself", async () => {
    const files = reportFiles();
    const [first, ...others] = files.record.calibration;
    const calibration = [{ ...first!, path: "self", weight: 4 / 3 }, ...others];
    const page = await renderReport({ ...files, record: { ...files.record, calibration } });
    expect(page).toContain("generated by the model");
    expect(page).toContain(">1.33333<");
    expect(page).toContain("<code>texts/code</code>");
    expect(page).not.toContain("<code>self</code>");
  });

  test("says how many windows least squares had, where it had any", async () => {
    const files = reportFiles();
    const without = files.record.calibration.map(({ refit_windows: _, ...set }) => set);
    const bare = await renderReport({ ...files, record: { ...files.record, calibration: without } });
    const page = await renderReport(files);
    for (const text of ["Windows of least squares", "1,234"]) {
      expect([page.includes(text), bare.includes(text)]).toEqual([true, false]);
    }
  });

  test("says that neurons are those of all experts, where there are any", async () => {
    const files = reportFiles();
    const record = { ...files.record, experts: files.record.widths.before.ffn.map(() => 2) };
    const [page, bare] = [await renderReport({ ...files, record }), await renderReport(files)];
    for (const text of ["neurons are those of all experts", "Neurons are those of all experts"]) {
      expect([page.includes(text), bare.includes(text)]).toEqual([true, false]);
    }
  });

  test("has sets in the order they were given, and one minus sign", async () => {
    const page = await render({ names: ["web", "code"] });
    expect(page).toContain("first to last of 2 rounds: web 2.20 to 2.40, code ");
    expect(page).toMatch(/>web<\/th><th [^>]*>code<\/th>/);
    expect(/>-\d/.exec(page)).toBeNull();
  });

  test("is a function of the files", async () => {
    expect(await render()).toBe(await render());
  });

  test("leaves out what the files have not", async () => {
    const { record } = reportFiles();
    const page = await renderReport({
      record: { ...record, calibration: [], held_out: [], timings: [], tokens_per_second: null },
      plan: null,
      evaluation: null,
      curve: null,
    });
    expectSelfContained(page);
    expect(page.match(/<figure id="[^"]*"/g)).toEqual(
      ["composition", "sparsity", "widths-ffn", "widths-kv"].map((id) => `<figure id="${id}"`),
    );
    expect(/NaN|undefined|Infinity|\[object|tokens\/s/.exec(page)).toBeNull();
    expect(await render()).toContain("1,235 tokens/s");
  });

  test("leaves out grounds that cannot be read", async () => {
    const files = reportFiles();
    const provenance = { ...files.plan!.provenance, spaces: "edited", rounds: [{ sparsity: "much" }] };
    const page = await renderReport({ ...files, plan: { ...files.plan!, provenance } });
    expectSelfContained(page);
    expect(ids(page)).not.toContain("why");
    expect(ids(page)).toContain("texts");
  });

  test.each([
    ["markup", "</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>'],
    ["keys of objects", "__proto__", "constructor"],
    ["entities and quotes", "&lt;b&gt;' onload='x", 'a" style="color:red'],
    ["templates and expressions", ["$", "{alert(1)}"].join(""), "datum.value; {{x}} #{y}"],
    ["a policy", "'unsafe-inline' https:", "http://example.org/x.css"],
    ["invisible marks", "a\u202eb\u0000c\ud800", "\u2066x\u200e\u001b[31m"],
    ["many letters", "x".repeat(3000), "字".repeat(500)],
  ])("is not led astray by names that are %s", async (_, first, second) => {
    const page = await render({ names: [first, second], trained: true });
    expectSelfContained(page);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    expect(/[\u0000-\u0009\u000b-\u001f\u202a-\u202e\u2066-\u2069]|\p{Surrogate}/u.exec(page)).toBeNull();
    expect(/NaN|undefined|\[object/.exec(page)).toBeNull();
  });
});

describe("renderComparison", () => {
  test("refuses to compare a run with nothing", async () => {
    for (const runs of [[], [reportFiles()]]) {
      await expect(renderComparison(runs)).rejects.toMatchObject({
        code: "BAD_ARGUMENT",
        message: `runs: expected at least two, got ${runs.length}`,
      });
    }
  });

  test("says what every run is compared with", async () => {
    const page = async (...runs: readonly ReportFilesOptions[]) =>
      (await renderComparison(runs.map(reportFiles))).replaceAll("&#39;", "'");
    const whose = (text: string): string => `Evaluation texts: perplexity, and times ${text}`;
    const dense = await page({}, {});
    expect(dense).toContain(whose("the dense model's"));
    const other = await page({ baseline: "runs/b1" }, { baseline: "runs/b1" });
    expect(other).toContain(whose("b1's"));
    expect(other).toContain("Held-out calibration text: perplexity, and times the dense model's");
    expect(other).toContain("Perplexity as a multiple of b1's, logarithmic; 1 is as good.");
    const list = "(code (1): models/a; code (2): models/b)";
    const apart = await page({ base: "models/a" }, { base: "models/b" });
    expect(apart).toContain(whose(`that of the run's own baseline ${list}`));
    expect(apart).toContain(
      `Perplexity as a multiple of that of the run's own baseline ${list}, logarithmic`,
    );
    expect(apart).not.toContain("the dense model's");
  });

  test("calls a run the best on held-out texts that are the same in all runs alone", async () => {
    const told = async (...runs: readonly RunFiles[]): Promise<string | undefined> =>
      /<li>([^<]*held-out[^<]*)<\/li>/.exec(await renderComparison(runs))?.[1];
    const files = reportFiles();
    const heldOut = files.record.held_out;
    const changed = (change: (text: (typeof heldOut)[number], index: number) => object): RunFiles => {
      const held_out = heldOut.map((text, index) => ({ ...text, ...change(text, index) }));
      return { ...files, record: { ...files.record, held_out } };
    };
    const better = changed(({ pruned }) => ({ pruned: pruned / 1.2 }));
    expect(await told(files, better)).toMatch(
      /^Best relative to the dense model on held-out text: code \(2\), /,
    );
    // One of two texts differs between the runs, and would have made the first run the best.
    const other = changed((text, index) =>
      index === 0 ? { pruned: text.pruned / 1.2 } : { dense: text.dense / 2 },
    );
    expect(await told(files, other)).toMatch(
      /^Best relative to the dense model on held-out text that is the same in all runs \(web\): code \(2\), /,
    );
    const none = (why: string): string =>
      `No best run on held-out text, since no text is certain to be the same in all runs: ${why}.`;
    const fewer = changed(() => ({ windows: 1 }));
    expect(await told(files, fewer)).toBe(none("web, code (windows 2 and 1)"));
    expect(await told(files, reportFiles({ names: ["a", "b"] }))).toBe(
      none("web, code, a, b (not in all runs)"),
    );
    // Another model with the same perplexity shows that the text is the same; of one measured run none is the best.
    expect(await told(files, reportFiles({ base: "models/b" }))).toMatch(/^Best .* held-out text: /);
    expect(await told(files, { ...files, record: { ...files.record, held_out: [] } })).toBeUndefined();
  });

  test("calls a run the best on evaluation texts, and shows what tasks gave", async () => {
    const files = reportFiles();
    const texts = files.evaluation!.texts.map((text) => ({ ...text, ppl: text.ppl / 1.2 }));
    const better = { ...files, evaluation: { ...files.evaluation!, texts } };
    const page = await renderComparison([files, better]);
    expect(page).toContain("Best relative to the dense model on evaluation texts: code (2), perplexity ×");
    expect(page).toContain("Tasks: accuracy with standard errors");
    expect(page).toContain("0.500 ± 0.100");
    expect(page).not.toContain("not for certain");
    const fewer = files.evaluation!.tasks.map((task) => ({ ...task, n: 5 }));
    const other = { ...files, evaluation: { ...files.evaluation!, tasks: fewer } };
    expect(await renderComparison([files, other])).toContain(
      "Not the same in all runs, or not for certain: web (questions 10 and 5).",
    );
  });

  test("tells how tasks were asked, whichever run does not say it", async () => {
    const files = reportFiles();
    const asked = (num_fewshot: number | null): RunFiles => {
      const tasks =
        num_fewshot === null ? null : { limit: null, num_fewshot, seed: null, chat: false, system: null };
      const evaluation = files.evaluation!;
      return { ...files, evaluation: { ...evaluation, settings: { ...evaluation.settings, tasks } } };
    };
    const [older, none, five] = [asked(null), asked(0), asked(5)];
    for (const runs of [
      [older, none, five],
      [none, older, five],
      [five, none, older],
    ] as const) {
      expect(await renderComparison(runs)).toMatch(/not for certain: web \(few-shot examples /);
    }
  });

  test("has means in one column of texts alone that compare", async () => {
    const files = reportFiles();
    const { record } = files;
    const longer = { ...files, record: { ...record, settings: { ...record.settings, samples: 9 } } };
    const [alike, unlike] = await Promise.all([
      renderComparison([files, files]),
      renderComparison([files, longer]),
    ]);
    expect(alike).toContain("Held-out text: geometric mean of web, code.");
    expect(alike).toContain('colspan="2">Held-out text<');
    expect(unlike).toContain("Held-out text: means do not compare: web, code (--samples ? and 9).");
    expect(unlike).not.toContain('colspan="2">Held-out text<');
  });

  test("has a row for each of many runs, which differ in colour or mark", async () => {
    const runs = Array.from({ length: 12 }, (_, index) => ({
      ...reportFiles(),
      directory: `runs/r${index}`,
    }));
    const page = await renderComparison(runs);
    expect(page).toContain('<th scope="row">r11</th>');
    const line = /<path d="[^"]*" stroke="(var\(--series-\d)[^>]*?(stroke-dasharray="[^"]*")/g;
    const marks = Array.from(page.matchAll(line), ([, color, dash]) => `${color} ${dash}`);
    expect(new Set(marks).size).toBe(12);
  });

  test("sets runs beside each other and tells equal names apart", async () => {
    const hostile = reportFiles({ names: ["<b>web</b>", "__proto__"] });
    const page = await renderComparison([reportFiles(), hostile, reportFiles()]);
    expectSelfContained(page);
    expect(page).toContain("code (1)");
    expect(page).toContain("code (2)");
    expect(page).toContain("&lt;b&gt;web&lt;/b&gt;");
    expect(ids(page)).toEqual(
      expect.arrayContaining(["compare-held-out", "compare-texts", "compare-sparsity", "compare-ffn"]),
    );
  });
});
