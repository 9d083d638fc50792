/** Checks the choice of `--dtype`, which each format has its own of. */
import { GpruneError } from "../errors.ts";

/** @throws GpruneError BAD_ARGUMENT unless a format has the dtype */
export function requireDtype(dtype: string, choices: readonly string[], format: string): void {
  if (choices.includes(dtype)) return;
  const message = `--dtype: expected one of ${choices.join(", ")} for the format ${format}, got ${dtype}`;
  throw new GpruneError("BAD_ARGUMENT", message);
}
