/** The program of the thread that renders templates for render.ts. It answers for each record, up to one that fails. */
import { parentPort, workerData } from "node:worker_threads";
import type { RenderAnswer, RenderRequest } from "./render.ts";
import { compileTemplate } from "./template.ts";

const { templates, records } = workerData as RenderRequest;
const answer = (message: RenderAnswer): void => parentPort?.postMessage(message);
const compiled = templates.map(compileTemplate);
for (const [record, values] of records.entries()) {
  try {
    answer({ record, texts: compiled.map((render) => render(values)) });
  } catch (error) {
    answer({ record, problem: error instanceof Error ? error.message : String(error) });
    break;
  }
}
