/** The model card (README.md) of an output: the model, how it was made, how well it does and how to load it. */

import { plainText } from "../base/plain_text.ts";
import type { SetUse } from "../calibrate/windows.ts";
import { type CardFields, frontMatterLines } from "../model/card_fields.ts";
import { MODELLING_FILE } from "../model/hf/config_writer.ts";
import type { ProgramSupport } from "./program_support.ts";

/** Contents of a model card. */
export interface CardFacts {
  /** The base model: its name on the hub, or that of its directory or file, since paths are private. */
  readonly base: string;
  /** `ORG/NAME` of a base model from the hub; null for any other, since the hub rejects a path as `base_model`. */
  readonly hub: string | null;
  /** Licence and languages from the base model's card, which hold for this model too. */
  readonly inherited: CardFields;
  readonly method: string;
  readonly metric: string;
  readonly allocation: string;
  readonly recover: string;
  /** The plan file that was applied; absent when the method made the plan. */
  readonly plan?: string | undefined;
  /** Fractions of the prunable parameters. */
  readonly sparsity: { readonly asked: number; readonly achieved: number };
  readonly parameters: { readonly before: number; readonly after: number };
  readonly widths: { readonly ffn: readonly number[]; readonly kv: readonly number[] };
  /** Experts by layer, whose neurons widths count together; absent for models without any. */
  readonly experts?: readonly number[] | undefined;
  readonly calibration: Readonly<Record<string, SetUse>>;
  /** Names of the calibration sets that the base model generated. */
  readonly written: readonly string[];
  /** Perplexities on unused windows of the calibration texts, by set. */
  readonly heldOut: Readonly<
    Record<string, { readonly windows: number; readonly dense: number; readonly pruned: number }>
  >;
  readonly seed: number;
  /** Which programs load the directory. */
  readonly runtimes: ProgramSupport;
  /** Whether transformers and vLLM need the modelling file beside config.json. */
  readonly remoteCode: boolean;
  /** The resolved run configuration as YAML. */
  readonly config: string;
}

/** The front matter tag by which gprune recognises a card that it wrote. */
export const CARD_TAG = "gprune";

/** The card's sentence on plan.json; `copiedCard` removes it from copies without the plan. */
export const PLAN_SENTENCE = "`plan.json` lists the kept units; `gprune prune --plan` applies it again. ";

/** The card's sentence on evaluation; `copiedCard` removes it from copies that gprune cannot read. */
export const EVALUATION_HINT =
  "`gprune eval PATH --text NAME=FILE --baseline BASE` prints the perplexities of the dense and the pruned model on other texts.";

const LOAD_STOCK = `The stock classes of transformers load this model:

    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained("PATH")`;

const LOAD_REMOTE_CODE = `\`${MODELLING_FILE}\` builds every layer from transformers' own layers, with the widths
(\`per_layer_config\`) and biases (\`projection_biases\`) in config.json. It is short: read it before you let
transformers 4.57 or later (a later version where the table below names one) run it:

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained("PATH", trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained("PATH", trust_remote_code=True)

Without \`trust_remote_code\`, transformers refuses the model; AutoTokenizer, which reads config.json first, asks for
it or fails.`;

const SERVE_REMOTE_CODE = `vLLM 0.32 serves the model with the same file:

    vllm serve PATH --trust-remote-code`;

/** The card as Markdown with Hugging Face front matter. */
export function modelCard(facts: CardFacts): string {
  const { sparsity, parameters, widths, experts } = facts;
  const percent = (fraction: number): string => `${(100 * fraction).toFixed(2)} %`;
  return `---
${frontMatterLines({ ...facts.inherited, ...(facts.hub !== null && { base_model: facts.hub }) })}library_name: transformers
tags: [${CARD_TAG}, pruning, structured-pruning]
---

# ${headingOf(facts.base)}, ${percent(sparsity.achieved)} pruned

Made with gprune by removing whole FFN neurons and whole attention KV groups.

| | |
|---|---|
| base model | ${code(facts.base)} |
| method | ${methodOf(facts)} |
| removed | ${percent(sparsity.achieved)} of the attention and FFN parameters (${facts.plan === undefined ? `asked: ${percent(sparsity.asked)}` : "by the given plan"}) |
| parameters | ${parameters.after.toLocaleString("en")} of ${parameters.before.toLocaleString("en")} |
| neurons per layer | ${widths.ffn.join(", ")}${experts === undefined ? "" : " (of all experts together)"} |
| KV groups per layer | ${widths.kv.join(", ")} |
| seed | ${facts.seed} |

## Calibration

${calibrationList(facts)}

## Loading

${loadingOf(facts)}

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

/** How to load the directory; vLLM has no way to load some families' layers. */
function loadingOf({ remoteCode, runtimes: { vllm } }: CardFacts): string {
  if (!remoteCode) return LOAD_STOCK;
  return vllm.startsWith("no ") ? LOAD_REMOTE_CODE : `${LOAD_REMOTE_CODE}\n\n${SERVE_REMOTE_CODE}`;
}

function methodOf({ plan, method, metric, allocation, recover }: CardFacts): string {
  const decision =
    plan === undefined ? `${method}, metric ${metric}, allocation ${allocation}` : `given plan ${code(plan)}`;
  return `${decision}, recovery ${recover}`;
}

function calibrationList({ calibration, written }: CardFacts): string {
  const sets = Object.entries(calibration);
  const lines = sets.map(([name, { windows, tokens, refit_windows: refit }]) => {
    const source = written.includes(name) ? ", generated by the base model" : "";
    const more = refit === undefined ? "" : `; least squares ${refit} windows`;
    return `- ${code(name)}: ${windows} windows, ${tokens.toLocaleString("en")} tokens${source}${more}`;
  });
  return lines.length === 0 ? "None." : lines.join("\n");
}

function heldOutTable({ heldOut, calibration }: CardFacts): string {
  const sets = Object.entries(heldOut);
  if (sets.length === 0) {
    return Object.keys(calibration).length === 0
      ? "Perplexity was not measured: no texts were given."
      : "Perplexity was not measured: no windows of the calibration texts were left.";
  }
  const rows = sets.map(
    ([name, { windows, dense, pruned }]) =>
      `| ${code(name)} | ${windows} | ${dense.toFixed(2)} | ${pruned.toFixed(2)} |`,
  );
  const head =
    "| held-out calibration text | windows | dense perplexity | pruned perplexity |\n|---|---|---|---|";
  return [head, ...rows].join("\n");
}

/** The text as inline code that fits into one table cell: no backquotes, escaped bars, no line breaks. */
function code(text: string): string {
  return `\`${plainText(text).replaceAll("`", "'").replaceAll("|", "\\|").replaceAll(/\s+/g, " ")}\``;
}

/** The text as an indented code block, which nothing in the text can end. */
function indented(text: string): string {
  return text.replaceAll(/^/gm, "    ");
}

/** The last part of a path as the text of a heading, with everything escaped that Markdown or HTML would interpret. */
function headingOf(name: string): string {
  const parts = name.split(/[\\/]/).filter((part) => part !== "");
  const title = plainText((parts.at(-1) ?? name).replaceAll(/\s+/g, " "));
  return title.replaceAll(/[\\`*_[\]<>()#&!|~$]/g, "\\$&");
}
