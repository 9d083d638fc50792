/** `gprune inspect` */
import { inspectModel } from "../evaluate/inspect.ts";
import { openModel } from "../model/checkpoint.ts";
import { plainText, print, printJson, table } from "./terminal.ts";

export async function inspectCommand(path: string, { json }: { readonly json?: boolean }): Promise<void> {
  const model = await openModel(path);
  const facts = inspectModel(model);
  await model.weights.close();
  if (json) {
    printJson(facts);
    return;
  }
  const widths = (values: readonly number[]): string => {
    const [first] = values;
    return values.every((value) => value === first) ? `${first} in every layer` : values.join(" ");
  };
  const rows = [
    ["model", plainText(facts.model)],
    ["family", `${facts.family} (${facts.format}, ${facts.dtype})`],
    [
      "parameters",
      `${facts.parameters.total.toLocaleString("en")}, ${facts.parameters.prunable.toLocaleString("en")} of them prunable`,
    ],
    ["layers", `${facts.layers}, hidden size ${facts.hidden_size}, head size ${facts.head_dim}`],
    ["vocabulary", `${facts.vocab_size}${facts.tied_embeddings ? ", embeddings tied" : ""}`],
    ["neurons", widths(facts.widths.ffn)],
    ["KV groups", widths(facts.widths.kv)],
    ["query heads", widths(facts.widths.heads)],
    ...Object.entries(facts.runtimes).map(([name, answer]) => [`runs in ${name}`, answer]),
  ];
  print(rows.map(([key, value]) => table([[key!.padEnd(22), ""]]).padEnd(22) + value!).join("\n"));
}
