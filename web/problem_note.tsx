/** Message of a problem with its hint, or with its fields. */
import type { Problem } from "../src/ui/api.ts";
import { pathLabel } from "./schema.ts";

export function ProblemNote({ problem: { message, hint, fields } }: { problem: Problem }) {
  return (
    <div class="problem" role="alert">
      {fields === undefined ? (
        <p>{message}</p>
      ) : (
        fields.map(({ path, message: what }) => (
          <p key={path}>
            {pathLabel(path)}: {what}
          </p>
        ))
      )}
      {fields === undefined && hint !== null && <p class="note">{hint}</p>}
    </div>
  );
}
