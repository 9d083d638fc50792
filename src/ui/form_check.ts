/**
 * Checks of a form before a run is started: whether all files that it names exist, its name is free, and there is text
 * where some is needed.
 */
import { join } from "node:path";
import { z } from "zod";
import { isOwnText, OWN_TEXT } from "../calibrate/text_sets.ts";
import type { RunConfig } from "../config.ts";
import { GpruneError, reasonOf } from "../errors.ts";
import { kindOfPath } from "../io/files/file.ts";
import { parseHubAddress } from "../io/hub/address.ts";
import { mayBeText } from "../io/texts/texts.ts";
import { lacksText } from "../run/inputs.ts";
import type { FieldProblem } from "./api.ts";

/** Gives the reason why a field is refused; null when it is valid. */
type Check = () => Promise<string | null>;

/** A field by its path, and the check of its value. */
type FieldCheck = readonly [path: readonly (string | number)[], check: Check];

/** Checks that a run can start. @throws GpruneError BAD_ARGUMENT naming every field that is wrong */
export async function requireStartable(directory: string, name: string, config: RunConfig): Promise<void> {
  const { model, plan, calibration } = config;
  const checks: readonly FieldCheck[] = [
    [["name"], () => whyTaken(directory, name)],
    [["model"], () => whyNoModel(model)],
    [["calibration"], async () => whyNoSets(config)],
    ...calibration.map((set, index): FieldCheck => [["calibration", index, "path"], () => whyNoText(set)]),
    ...(plan === undefined ? [] : [[["plan"], () => whyNoFile(plan)] satisfies FieldCheck]),
  ];
  const found = await Promise.all(
    checks.map(async ([path, check]) => ({ path, message: await check().catch(reasonOf) })),
  );
  const issues = found.flatMap(({ path, message }) =>
    message === null ? [] : [{ code: "custom" as const, path: [...path], message, input: undefined }],
  );
  if (issues.length > 0) throw refusal(new z.ZodError(issues));
}

/** Validates a value by a schema. @throws GpruneError BAD_ARGUMENT naming every field that is wrong */
export function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw refusal(result.error);
}

/** Fields of the form that an error is about; undefined when it is not about fields. */
export function wrongFields({ cause }: GpruneError): readonly FieldProblem[] | undefined {
  if (!(cause instanceof z.ZodError)) return undefined;
  const fields = cause.issues
    .filter(({ path }) => path.length > 0)
    .map(({ path, message }) => ({ path: path.join("."), message }));
  return fields.length === 0 ? undefined : fields;
}

function refusal(cause: z.ZodError): GpruneError {
  const texts = cause.issues.map(({ path, message }) => `${path.join(".") || "request"}: ${message}`);
  return new GpruneError("BAD_ARGUMENT", texts.join("\n"), { cause });
}

async function whyTaken(directory: string, name: string): Promise<string | null> {
  if ((await kindOfPath(join(directory, name))) !== "missing") {
    return `expected an unused name, got ${name}, which exists`;
  }
  const isKept = (await kindOfPath(join(directory, `${name}.run`))) !== "missing";
  return isKept ? `expected an unused name, got that of an unfinished run, which can be resumed` : null;
}

async function whyNoModel(model: string): Promise<string | null> {
  if ((await kindOfPath(model)) !== "missing" || parseHubAddress(model) !== null) return null;
  return `expected a model, got no such file or directory: ${model}`;
}

function whyNoSets(config: RunConfig): string | null {
  if (!lacksText(config)) return null;
  return `expected at least one set, got none; the path ${OWN_TEXT} stands for text that the model generates`;
}

async function whyNoText(set: RunConfig["calibration"][number]): Promise<string | null> {
  if (isOwnText(set) || (await mayBeText(set.path))) return null;
  return `expected a text, got no such file or directory: ${set.path}`;
}

async function whyNoFile(path: string): Promise<string | null> {
  return (await kindOfPath(path)) === "file" ? null : `expected a plan.json, got no such file: ${path}`;
}
