/** `gprune inspect` */
import { type Inspection, inspectModel } from "../evaluate/inspect.ts";
import { openForCommand } from "./models.ts";
import { pairs, print, printJson } from "./terminal.ts";

export async function inspectAction(path: string, { json }: { readonly json?: boolean }): Promise<void> {
  const model = await openForCommand(path);
  try {
    const facts = inspectModel(model);
    if (json) printJson(facts);
    else print(report(facts));
  } finally {
    await model.weights.close();
  }
}

function report(facts: Inspection): string {
  const { parameters, widths } = facts;
  const number = (value: number): string => value.toLocaleString("en");
  const embeddings = facts.tied_embeddings ? "embeddings tied" : "embeddings not tied";
  const biases = facts.output_biases;
  const rows: (readonly [string, string])[] = [
    ["model", facts.model],
    ["family", `${facts.family} (${facts.format}, ${facts.dtype})`],
    ["parameters", `${number(parameters.total)} (${number(parameters.prunable)} prunable)`],
    ["size", `${number(Math.round(facts.bytes / 1e5) / 10)} MB of weights`],
    ["layers", `${facts.layers}, hidden size ${facts.hidden_size}`],
    ["vocabulary", `${number(facts.vocab_size)}, ${embeddings}`],
    ["tokenizer", facts.tokenizer ? "yes" : "none, so texts cannot be tokenized"],
    ["neurons", perLayer(widths.ffn)],
    ...expertRows(facts),
    ["KV groups", perLayer(widths.kv)],
    ["query heads", perLayer(widths.heads)],
    ["head size", perLayer(facts.head_dims)],
    ...sharedKeys(facts.kv_sources),
    ["output biases", biases === 0 ? "none" : `in ${biases} of ${facts.layers} layers`],
    ...Object.entries(facts.runtimes).map(([name, answer]) => [`runs in ${name}`, answer] as const),
  ];
  return pairs(rows);
}

/** Experts by layer, and those of a token; nothing where there are none. */
function expertRows({ experts, active_experts }: Inspection): readonly (readonly [string, string])[] {
  if (!experts.some((count) => count > 0)) return [];
  return [
    ["experts", `${perLayer(experts)}, whose neurons are counted together`],
    ["experts of a token", perLayer(active_experts)],
  ];
}

/** `layers 15 to 34`, `layer 3`, `layers 2, 7`. */
function layersText(layers: readonly number[]): string {
  const [first, last] = [layers[0]!, layers.at(-1)!];
  if (layers.length === 1) return `layer ${first}`;
  const isRange = layers.length > 2 && last - first + 1 === layers.length;
  return `layers ${isRange ? `${first} to ${last}` : layers.join(", ")}`;
}

/** Which layers read the keys and values of others; nothing where none does. */
function sharedKeys(sources: readonly number[]): readonly (readonly [string, string])[] {
  const readers = sources.flatMap((source, layer) => (source === layer ? [] : [layer]));
  if (readers.length === 0) return [];
  const read = [...new Set(readers.map((layer) => sources[layer]!))].sort((a, b) => a - b);
  return [["shared keys", `${layersText(readers)} read those of ${layersText(read)}`]];
}

function perLayer(values: readonly number[]): string {
  const [first] = values;
  return values.every((value) => value === first) ? `${first} in every layer` : values.join(" ");
}
