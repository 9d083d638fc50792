/** `gprune report` */
import { join } from "node:path";
import { badArgument } from "../base/arguments.ts";
import { RUN_FILES } from "../base/file_names.ts";
import { GpruneError, hasCode } from "../errors.ts";
import { kindOfPath } from "../io/files/file.ts";
import { writeFileAtomically } from "../io/files/output_directory.ts";
import { renderComparison } from "../report/comparison.ts";
import { picturesOf } from "../report/gallery.ts";
import { pictureFile } from "../report/picture.ts";
import { renderReport } from "../report/report.ts";
import { type RunFiles, reportData } from "../report/report_data.ts";
import { readRun } from "../report/run_files.ts";
import { print, printJson } from "./terminal.ts";

interface ReportOptions {
  readonly output?: string;
  readonly pictures?: string;
  readonly json?: boolean;
}

export async function reportAction(
  directories: readonly string[],
  { output, pictures, json }: ReportOptions,
): Promise<void> {
  if (output !== undefined) requirePageName(output);
  const runs: RunFiles[] = [];
  for (const directory of directories) runs.push(await readRun(directory));
  const [run] = runs as [RunFiles];
  if (runs.length > 1 && output === undefined) {
    throw new GpruneError("BAD_ARGUMENT", "report: expected -o FILE with several runs, got none", {
      hint: "For example gprune report RUN1 RUN2 -o comparison.html.",
    });
  }
  if (runs.length > 1 && pictures !== undefined) throw badArgument("--pictures", "one run", runs.length);
  const path = output ?? join(directories[0]!, RUN_FILES.report);
  if (pictures !== undefined) await requireDirectory(pictures);
  const page = runs.length === 1 ? await renderReport(run) : await renderComparison(runs);
  await writeFileAtomically(path, page).catch((error: unknown) => {
    throw output === undefined ? withPlaceHint(error, directories[0]!) : error;
  });
  const written = pictures === undefined ? [] : await writePictures(run, pictures);
  if (json) printJson({ report: path, pictures: written });
  else print(path);
}

/** The error of a report that its run's directory does not take, with the option that names another place. */
function withPlaceHint(error: unknown, directory: string): unknown {
  if (!hasCode(error, "OUTPUT_FAILED")) return error;
  const place = `To write it elsewhere: gprune report ${directory} -o report.html.`;
  return error.inOtherWords({ hint: `${error.hint ?? ""} ${place}`.trim() });
}

/**
 * Guards other files against being replaced by a report.
 * @throws GpruneError BAD_ARGUMENT unless the name ends with .html or .htm
 */
function requirePageName(path: string): void {
  if (/\.html?$/i.test(path)) return;
  throw badArgument("--output", "a name that ends with .html", path);
}

/** @throws GpruneError OUTPUT_EXISTS when something other than a directory is there */
async function requireDirectory(path: string): Promise<void> {
  const kind = await kindOfPath(path);
  if (kind === "directory" || kind === "missing") return;
  throw new GpruneError("OUTPUT_EXISTS", `${path}: expected a directory for pictures, got a file`);
}

/** Writes every picture as SVG and as PNG; existing files are replaced. @returns their paths */
async function writePictures(run: RunFiles, directory: string): Promise<readonly string[]> {
  const paths: string[] = [];
  for (const picture of picturesOf(reportData(run))) {
    for (const ending of [".svg", ".png"]) {
      const path = join(directory, `${picture.id}${ending}`);
      await writeFileAtomically(path, await pictureFile(picture, path));
      paths.push(path);
    }
  }
  return paths;
}
