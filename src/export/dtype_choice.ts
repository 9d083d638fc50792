/** Checks `--dtype` against the choices of an export format. */
import { GpruneError } from "../errors.ts";

/** @throws GpruneError BAD_ARGUMENT unless the dtype is among the format's choices */
export function requireDtype(dtype: string, choices: readonly string[], format: string): void {
  if (choices.includes(dtype)) return;
  const message = `dtype: expected one of ${choices.join(", ")} for the format ${format}, got ${dtype}`;
  throw new GpruneError("BAD_ARGUMENT", message);
}
