/** Program that attempts a run, and kills itself at the N-th fail point: `fault_child.ts N RUN`. */
import { armFailPoints } from "../src/io/files/fail_points.ts";
import { attempt, type FaultRun } from "./fault_run.ts";
import { failingAt, WRITING } from "./fault_walk.ts";

const [n, run] = process.argv.slice(2);
armFailPoints(
  failingAt(Number(n), { points: WRITING }, () => {
    process.kill(process.pid, "SIGKILL");
    return undefined;
  }).hook,
);
await attempt(JSON.parse(run!) as FaultRun);
