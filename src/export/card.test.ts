import { describe, expect, test } from "vitest";
import { type CardFacts, modelCard } from "./card.ts";

const FACTS: CardFacts = {
  base: "models/SmolLM2-135M",
  hub: null,
  inherited: {},
  method: "gprune",
  metric: "flap-wifv",
  allocation: "learned",
  recover: "bias",
  sparsity: { asked: 0.3, achieved: 0.2996 },
  parameters: { before: 134_515_008, after: 103_000_000 },
  widths: { ffn: [1000, 900], kv: [3, 2] },
  calibration: { web: { windows: 16, tokens: 8192 } },
  written: [],
  heldOut: { web: { windows: 2, dense: 24.3, pruned: 40.125 } },
  seed: 7,
  runtimes: {
    gprune: "yes",
    transformers: "with trust_remote_code (a reason)",
    vllm: "no (a reason)",
    "llama.cpp": "after an export",
    onnx: "after an export",
    "transformers.js": "after an export",
  },
  remoteCode: true,
  config: "model: models/SmolLM2-135M\nsparsity: 0.3\n",
};

describe("modelCard", () => {
  test("says what the model is, how it was made and how to load it", () => {
    const card = modelCard(FACTS);
    expect(card.startsWith("---\nlibrary_name: transformers\n")).toBe(true);
    expect(card).toContain("\n# SmolLM2-135M, 29.96 % pruned\n");
    expect(card).toContain("| method | gprune, metric flap-wifv, allocation learned, recovery bias |");
    expect(card).toContain("| parameters | 103,000,000 of 134,515,008 |");
    expect(card).toContain("| neurons per layer | 1000, 900 |");
    expect(card).toContain("- `web`: 16 windows, 8192 tokens");
    expect(card).toContain("| `web` | 2 | 24.30 | 40.13 |");
    expect(card).toContain("per_layer_config");
    expect(card).toContain("\n    model: models/SmolLM2-135M\n    sparsity: 0.3\n");
    expect(card).toContain('AutoModelForCausalLM.from_pretrained("PATH", trust_remote_code=True)');
    expect(card).toContain('AutoTokenizer.from_pretrained("PATH", trust_remote_code=True)');
    expect(card).toContain("| transformers | with trust_remote_code (a reason) |");
    const stock = modelCard({ ...FACTS, remoteCode: false });
    expect(stock).toContain('from_pretrained("PATH")');
    expect(stock).not.toContain("trust_remote_code=True");
  });

  test("says which texts the model wrote by itself", () => {
    const calibration = { ...FACTS.calibration, own: { windows: 40, tokens: 20_480 } };
    const lines = modelCard({ ...FACTS, calibration, written: ["own"] }).split("\n");
    expect(lines).toContain("- `web`: 16 windows, 8192 tokens");
    expect(lines).toContain("- `own`: 40 windows, 20480 tokens, written by the base model");
  });

  test("links to a base model on the hub, which refuses cards that name a path", () => {
    const id = "HuggingFaceTB/SmolLM2-135M";
    const card = modelCard({ ...FACTS, base: id, hub: id });
    expect(card.startsWith(`---\nbase_model: "${id}"\nlibrary_name: transformers\n`)).toBe(true);
    expect(modelCard(FACTS)).not.toContain("base_model:");
  });

  test("keeps the licence and the languages of the base model", () => {
    const inherited = {
      license: "other",
      license_name: 'a: "b"',
      license_link: "LICENSE",
      language: ["en", "no"],
    };
    const id = "org/base";
    expect(
      modelCard({ ...FACTS, base: id, hub: id, inherited })
        .split("\n")
        .slice(0, 8),
    ).toEqual([
      "---",
      'license: "other"',
      'license_name: "a: \\"b\\""',
      'license_link: "LICENSE"',
      'language: ["en","no"]',
      'base_model: "org/base"',
      "library_name: transformers",
      "tags: [gprune, pruning, structured-pruning]",
    ]);
  });

  test("of a given plan claims no method", () => {
    const card = modelCard({ ...FACTS, plan: "old/plan.json", calibration: {} });
    expect(card).toContain("| method | the plan `old/plan.json` carried out, recovery bias |");
    expect(card).toContain("## Calibration\n\nNone.\n");
  });

  test("says how many windows least squares had", () => {
    const calibration = { web: { windows: 16, tokens: 8192, refit_windows: 48 } };
    const card = modelCard({ ...FACTS, calibration });
    expect(card).toContain("- `web`: 16 windows, 8192 tokens; least squares: 48 windows\n");
    expect(modelCard(FACTS)).not.toContain("least squares:");
  });

  test("says why there are no perplexities", () => {
    const used = modelCard({ ...FACTS, heldOut: {} });
    expect(used).toContain("No windows of the calibration texts were left to measure on.");
    const none = modelCard({ ...FACTS, heldOut: {}, calibration: {} });
    expect(none).toContain("No texts were given to measure on.");
  });

  test("keeps its form whatever the names hold", () => {
    const base = 'x"|y`\n\n# z <script>';
    const calibration = { "`|\n- a": { windows: 1, tokens: 2 } };
    const card = modelCard({ ...FACTS, base, calibration, config: "```\n# not a heading" });
    expect(card.split("\n").filter((line) => line.startsWith("#"))).toEqual([
      '# x"\\|y\\` \\# z \\<script\\>, 29.96 % pruned',
      "## Calibration",
      "## Loading",
      "## Evaluation",
      "## The run",
    ]);
    expect(card).toContain("| base model | `x\"\\|y' # z <script>` |");
    expect(card).toContain("- `'\\| - a`: 1 windows, 2 tokens");
    expect(card).not.toMatch(/^```/m);
  });

  test.each([
    ["![x](http:evil)", "\\!\\[x\\]\\(http:evil\\)"],
    ["<img src=x onerror=alert(1)>", "\\<img src=x onerror=alert\\(1\\)\\>"],
    ["&lt;script&gt;", "\\&lt;script\\&gt;"],
    ["a\u001b[31m\u202eb", "a\\\\x1b\\[31m\\\\u202eb"],
  ])("has a heading that is only text for a model named %j", (base, title) => {
    // In GFM a backslash before punctuation makes it plain.
    const card = modelCard({ ...FACTS, base, config: base });
    expect(card).toContain(`\n# ${title}, 29.96 % pruned\n`);
  });
});
