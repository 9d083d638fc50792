/**
 * The program of the child process that computes units for a worker (unit_process.ts): settings come as its only
 * argument, jobs as messages, each of which it answers. It exits when its worker does.
 */
import { GpruneError, type PlainError } from "../errors.ts";
import { compileOnMainThread } from "../io/files/machine.ts";
import { removeScratch } from "../io/files/scratch.ts";
import { openStore } from "../io/store/open_store.ts";
import type { Store } from "../io/store/store.ts";
import { UnitComputer } from "./compute.ts";
import { patiently, patientStore } from "./patient_store.ts";
import type { UnitJob } from "./unit.ts";
import type { ChildSettings, UnitAnswer } from "./unit_messages.ts";

compileOnMainThread();
const { store, scratch, ...settings } = JSON.parse(process.argv[2]!) as ChildSettings;
let computer: UnitComputer | null = null;

async function answerTo(job: UnitJob): Promise<UnitAnswer> {
  let atModel = false;
  try {
    const open = (): Promise<Store> => openStore(store, scratch);
    computer ??= new UnitComputer({ store: patientStore(await patiently(open)), ...settings });
    atModel = true;
    await computer.open(job);
    atModel = false;
    return { type: "done", objects: await computer.compute(job) };
  } catch (error) {
    return { type: "failed", failure: failureOf(error), atModel };
  }
}

function failureOf(error: unknown): PlainError {
  if (error instanceof GpruneError) return error.plain;
  return {
    code: "INTERNAL",
    message: error instanceof Error ? (error.stack ?? error.message) : String(error),
  };
}

process.on("disconnect", () => {
  // A worker that was killed has not removed it.
  removeScratch(scratch);
  process.exit();
});
// Ctrl-C reaches the whole group of processes; the worker decides what it means.
process.on("SIGINT", () => {});
process.on("message", async (job) => process.send?.(await answerTo(job as UnitJob)));
