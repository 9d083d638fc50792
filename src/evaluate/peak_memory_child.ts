/**
 * The program of the process that peak_memory.ts measures: receives a request as a message, answers with its own peak
 * memory, and exits, at the latest when its parent does.
 */
import { GpruneError, reasonOf } from "../errors.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { compileOnMainThread, peakResidentBytes } from "../io/files/machine.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { answerOnce } from "./latency.ts";
import type { PeakAnswer, PeakProblem, PeakRequest } from "./peak_memory.ts";

async function answerTo({ path, spec, threads, device, ...workload }: PeakRequest): Promise<PeakAnswer> {
  const model = await openModel(path);
  if (JSON.stringify(model.spec) !== JSON.stringify(spec)) return { peak: null };
  await answerOnce(new DecoderRunner(model, new Runtime({ threads, device })), workload);
  return { peak: peakResidentBytes() };
}

function problemOf(error: unknown): PeakProblem {
  if (error instanceof GpruneError) return error.plain;
  return { message: reasonOf(error) };
}

compileOnMainThread();
process.once("disconnect", () => process.exit());
process.once("message", async (request) => {
  const answer = await answerTo(request as PeakRequest).catch((error) => ({ problem: problemOf(error) }));
  process.send!(answer, () => process.disconnect());
});
