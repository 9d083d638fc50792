/** Checks `--dtype` against the choices of an export format. */
import { badArgument } from "../base/arguments.ts";

/** @throws GpruneError BAD_ARGUMENT unless the dtype is among the format's choices */
export function requireDtype(dtype: string, choices: readonly string[], format: string): void {
  if (choices.includes(dtype)) return;
  throw badArgument("dtype", `one of ${choices.join(", ")} for the format ${format}`, dtype);
}
