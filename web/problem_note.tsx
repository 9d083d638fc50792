/** Why something did not work, and what to do. */
import type { Problem } from "../src/ui/api.ts";

export function ProblemNote({ problem }: { problem: Problem }) {
  return (
    <div class="problem" role="alert">
      <p>{problem.message}</p>
      {problem.hint !== null && <p class="note">{problem.hint}</p>}
    </div>
  );
}
