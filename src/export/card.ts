/** The model card, README.md of an output: what the model is, how it was made, how it does, how to load it. */

import { plainText } from "../base/plain_text.ts";
import type { SetUse } from "../calibrate/windows.ts";
import { type CardFields, frontMatterLines } from "../model/card_fields.ts";
import { MODELLING_FILE } from "../model/hf/config_writer.ts";
import type { Runtimes } from "./runtimes.ts";

/** What a card tells. */
export interface CardFacts {
  /** The base model: its name on the hub, or that of its directory or file, since paths are private. */
  readonly base: string;
  /** `ORG/NAME` of the base model; null for one that is not from the hub, which takes no card that names a path. */
  readonly hub: string | null;
  /** What the base model's card says that holds for this model, too. */
  readonly inherited: CardFields;
  readonly method: string;
  readonly metric: string;
  readonly allocation: string;
  readonly recover: string;
  /** The plan file that was carried out; absent when the method decided. */
  readonly plan?: string | undefined;
  /** Fractions of the prunable parameters. */
  readonly sparsity: { readonly asked: number; readonly achieved: number };
  readonly parameters: { readonly before: number; readonly after: number };
  readonly widths: { readonly ffn: readonly number[]; readonly kv: readonly number[] };
  readonly calibration: Readonly<Record<string, SetUse>>;
  /** Names of sets that the base model wrote by itself. */
  readonly written: readonly string[];
  /** Perplexities on unused windows of the calibration texts, by set. */
  readonly heldOut: Readonly<
    Record<string, { readonly windows: number; readonly dense: number; readonly pruned: number }>
  >;
  readonly seed: number;
  /** Who loads the directory. */
  readonly runtimes: Runtimes;
  /** Whether transformers and vLLM need the modelling file beside config.json. */
  readonly remoteCode: boolean;
  /** Resolved configuration, YAML. */
  readonly config: string;
}

/** What tells a card of ours from others, in the front matter. */
export const CARD_TAG = "gprune";

/** A sentence of cards of directories that have the plan. */
export const PLAN_SENTENCE =
  "`plan.json` holds the kept units and can be carried out again with `gprune prune --plan`. ";

/** A sentence of cards of directories that we can read. */
export const EVALUATION_HINT =
  "`gprune eval PATH --text NAME=FILE --baseline BASE` prints dense and pruned perplexities on other texts.";

const LOAD_STOCK = `The stock classes of transformers load it:

    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained("PATH")`;

const LOAD_REMOTE_CODE = `\`${MODELLING_FILE}\` builds every layer in the widths (\`per_layer_config\`) and with the biases
(\`projection_biases\`) that config.json gives it, from transformers' own layers. It is short: read it, then let
transformers 4.57 or later run it:

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained("PATH", trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained("PATH", trust_remote_code=True)

Without \`trust_remote_code\` transformers refuses the model; AutoTokenizer, which looks into config.json first, asks for
it or fails. vLLM (0.32) serves it through the same file:

    vllm serve PATH --trust-remote-code`;

/** The card as Markdown with Hugging Face front matter. */
export function modelCard(facts: CardFacts): string {
  const { sparsity, parameters, widths } = facts;
  const percent = (fraction: number): string => `${(100 * fraction).toFixed(2)} %`;
  return `---
${frontMatterLines({ ...facts.inherited, ...(facts.hub !== null && { base_model: facts.hub }) })}library_name: transformers
tags: [${CARD_TAG}, pruning, structured-pruning]
---

# ${lastPart(facts.base)}, ${percent(sparsity.achieved)} pruned

Made with gprune by removing whole FFN neurons and whole attention KV groups.

| | |
|---|---|
| base model | ${code(facts.base)} |
| method | ${methodOf(facts)} |
| removed | ${percent(sparsity.achieved)} of the attention and FFN parameters (${facts.plan === undefined ? `asked: ${percent(sparsity.asked)}` : "as the plan says"}) |
| parameters | ${parameters.after.toLocaleString("en")} of ${parameters.before.toLocaleString("en")} |
| neurons per layer | ${widths.ffn.join(", ")} |
| KV groups per layer | ${widths.kv.join(", ")} |
| seed | ${facts.seed} |

## Calibration

${calibrationList(facts)}

## Loading

${facts.remoteCode ? LOAD_REMOTE_CODE : LOAD_STOCK}

| program | loads it |
|---|---|
${Object.entries(facts.runtimes)
  .map(([program, answer]) => `| ${program} | ${answer} |`)
  .join("\n")}

## Evaluation

${heldOutTable(facts)}

${EVALUATION_HINT}

## The run

${PLAN_SENTENCE}The configuration was:

${indented(facts.config.trimEnd())}
`;
}

function methodOf({ plan, method, metric, allocation, recover }: CardFacts): string {
  const decided =
    plan === undefined
      ? `${method}, metric ${metric}, allocation ${allocation}`
      : `the plan ${code(plan)} carried out`;
  return `${decided}, recovery ${recover}`;
}

function calibrationList({ calibration, written }: CardFacts): string {
  const sets = Object.entries(calibration);
  const lines = sets.map(([name, { windows, tokens, refit_windows: refit }]) => {
    const source = written.includes(name) ? ", written by the base model" : "";
    const more = refit === undefined ? "" : `; least squares: ${refit} windows`;
    return `- ${code(name)}: ${windows} windows, ${tokens} tokens${source}${more}`;
  });
  return lines.length === 0 ? "None." : lines.join("\n");
}

function heldOutTable({ heldOut, calibration }: CardFacts): string {
  const sets = Object.entries(heldOut);
  if (sets.length === 0) {
    return Object.keys(calibration).length === 0
      ? "No texts were given to measure on."
      : "No windows of the calibration texts were left to measure on.";
  }
  const rows = sets.map(
    ([name, { windows, dense, pruned }]) =>
      `| ${code(name)} | ${windows} | ${dense.toFixed(2)} | ${pruned.toFixed(2)} |`,
  );
  const head =
    "| held-out calibration text | windows | dense perplexity | pruned perplexity |\n|---|---|---|---|";
  return [head, ...rows].join("\n");
}

/** Inline code on one line of a table, whatever the text holds. */
function code(text: string): string {
  return `\`${plainText(text).replaceAll("`", "'").replaceAll("|", "\\|").replaceAll(/\s+/g, " ")}\``;
}

/** A code block that nothing in the text can end. */
function indented(text: string): string {
  return text.replaceAll(/^/gm, "    ");
}

/** The last part of a path as a heading: no character of it means anything to Markdown or HTML. */
function lastPart(name: string): string {
  const parts = name.split(/[\\/]/).filter((part) => part !== "");
  const title = plainText((parts.at(-1) ?? name).replaceAll(/\s+/g, " "));
  return title.replaceAll(/[\\`*_[\]<>()#&!|~$]/g, "\\$&");
}
