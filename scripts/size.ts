/**
 * Prints the sizes of files and functions, and fails when one exceeds its budget.
 *
 *   node --import tsx scripts/size.ts [ROOT]
 *
 * | what                                    | warns | fails |
 * |-----------------------------------------|-------|-------|
 * | lines of a file                         | > 400 | > 600 |
 * | lines of a function, its comment aside  |       | > 60  |
 * | positional parameters                   |       | > 3   |
 * | columns of a comment's line of prose    | > 120 |       |
 *
 * A function may be longer with a reason: a comment `// long: reason` on the line above it (or a line `long: reason`
 * in its doc comment). One options object may follow three positional parameters: a destructured one, or one whose
 * type is named Something`Options`. Functions of test files are measured too, except the callbacks handed to
 * `describe` and `test`. Callbacks take the parameters that their caller gives them and are not counted.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import ts from "typescript";
import { parseOptions } from "./clients/options.ts";

const FOLDERS = ["src", "web", "test", "scripts", "bench", "demo"] as const;
const SKIPPED = new Set(["node_modules", "dist", "golden", "model", "results", "texts"]);
const FILE_WARN = 400;
const FILE_LIMIT = 600;
const FUNCTION_LIMIT = 60;
const PARAMETER_LIMIT = 3;
const COMMENT_COLUMNS = 120;
/** A line of prose in a comment; commands and formulas are indented by two spaces or more. */
const PROSE = /^ *(?:\/?\*\*?|\/\/) ?\S/;

interface Finding {
  readonly place: string;
  readonly message: string;
}

interface Measured {
  readonly path: string;
  readonly lines: number;
  /** Lines of every function that has a body. */
  readonly functions: readonly number[];
  readonly warnings: readonly Finding[];
  readonly failures: readonly Finding[];
}

type FunctionNode = ts.FunctionLikeDeclaration & { readonly body: ts.Node };

function filesOf(root: string, folder: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      // src/model is code, demo/model is data.
      if (!SKIPPED.has(entry.name) || path.startsWith(join(root, "src"))) {
        found.push(...filesOf(root, path));
      }
    } else if (/[.]tsx?$/.test(entry.name) && !entry.name.endsWith(".d.ts")) {
      found.push(path);
    }
  }
  return found.sort();
}

function foldersOf(root: string): string[] {
  const present = new Set(
    readdirSync(root, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name),
  );
  return FOLDERS.filter((folder) => present.has(folder)).map((folder) => join(root, folder));
}

function hasBody(node: ts.Node): node is FunctionNode {
  return ts.isFunctionLike(node) && "body" in node && node.body !== undefined;
}

/** A function handed to a call, as in `list.map((x) => x)`: its parameters are the callee's choice. */
function isCallback(node: ts.Node): boolean {
  return ts.isCallExpression(node.parent) || ts.isNewExpression(node.parent);
}

/** The node whose comments are the function's: `export const f = () => {}` starts at `export`. */
function ownerOf(node: ts.Node): ts.Node {
  let owner = node;
  while (
    ts.isVariableDeclaration(owner.parent) ||
    ts.isVariableDeclarationList(owner.parent) ||
    ts.isVariableStatement(owner.parent) ||
    ts.isPropertyAssignment(owner.parent) ||
    ts.isPropertyDeclaration(owner.parent) ||
    ts.isParenthesizedExpression(owner.parent) ||
    ts.isReturnStatement(owner.parent)
  ) {
    owner = owner.parent;
  }
  return owner;
}

function hasReason(source: ts.SourceFile, node: ts.Node): boolean {
  const owner = ownerOf(node);
  const comments = ts.getLeadingCommentRanges(source.text, owner.getFullStart()) ?? [];
  return comments.some(({ pos, end }) => /^[\s/*]*long: \S/m.test(source.text.slice(pos, end)));
}

function nameOf(source: ts.SourceFile, node: ts.SignatureDeclaration): string {
  if (ts.isConstructorDeclaration(node)) {
    return "constructor";
  }
  const named = node.name ?? (ts.isVariableDeclaration(node.parent) ? node.parent.name : undefined);
  return named?.getText(source) ?? "function";
}

function isOptions(source: ts.SourceFile, parameter: ts.ParameterDeclaration): boolean {
  return ts.isObjectBindingPattern(parameter.name) || /Options\b/.test(parameter.type?.getText(source) ?? "");
}

/** Number of positional parameters, without a last options object. */
function positionalCount(source: ts.SourceFile, node: ts.SignatureDeclaration): number {
  const parameters = node.parameters.filter((parameter) => parameter.name.getText(source) !== "this");
  const last = parameters.at(-1);
  return parameters.length - (last !== undefined && isOptions(source, last) ? 1 : 0);
}

function measure(root: string, path: string): Measured {
  const text = readFileSync(path, "utf8");
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const name = relative(root, path);
  const isTest = name.endsWith(".test.ts");
  const lineOf = (position: number): number => source.getLineAndCharacterOfPosition(position).line + 1;
  const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
  const warnings: Finding[] = [];
  const failures: Finding[] = [];
  const functions: number[] = [];

  if (lines > FILE_LIMIT) {
    failures.push({ place: name, message: `${lines} lines, at most ${FILE_LIMIT}` });
  } else if (lines > FILE_WARN) {
    warnings.push({ place: name, message: `${lines} lines, better at most ${FILE_WARN}` });
  }

  for (const [index, line] of text.split("\n").entries()) {
    if (line.length > COMMENT_COLUMNS && PROSE.test(line)) {
      const message = `a comment of ${line.length} columns, better at most ${COMMENT_COLUMNS}`;
      warnings.push({ place: `${name}:${index + 1}`, message });
    }
  }

  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node)) {
      const start = lineOf(node.getStart(source));
      const place = `${name}:${start} ${nameOf(source, node)}`;
      if (!isCallback(node)) {
        const count = positionalCount(source, node);
        if (count > PARAMETER_LIMIT) {
          failures.push({ place, message: `${count} positional parameters, at most ${PARAMETER_LIMIT}` });
        }
      }
      if (hasBody(node) && !(isTest && isCallback(node))) {
        const length = lineOf(node.getEnd()) - start + 1;
        functions.push(length);
        if (length > FUNCTION_LIMIT && !hasReason(source, node)) {
          failures.push({ place, message: `${length} lines, at most ${FUNCTION_LIMIT}` });
        }
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return { path: name, lines, functions, warnings, failures };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Prints a row for each folder of src/ and each other top folder; lines of test files are counted separately. */
function printTable(files: readonly Measured[]): void {
  const groups = new Map<string, { code: number; tests: number; files: number; functions: number[] }>();
  for (const file of files) {
    const folder = dirname(file.path);
    const key = folder.startsWith("src")
      ? folder.split("/").slice(0, 2).join("/")
      : (folder.split("/")[0] ?? folder);
    const group = groups.get(key) ?? { code: 0, tests: 0, files: 0, functions: [] };
    const isTest = file.path.endsWith(".test.ts");
    group[isTest ? "tests" : "code"] += file.lines;
    group.files += 1;
    group.functions.push(...(isTest ? [] : file.functions));
    groups.set(key, group);
  }
  console.log(
    `${"folder".padEnd(16)}${"files".padStart(7)}${"code".padStart(8)}${"tests".padStart(8)}  median function`,
  );
  for (const [key, { code, tests, files: count, functions }] of groups) {
    const cells = [count, code, tests].map((cell, column) => String(cell).padStart(column === 0 ? 7 : 8));
    console.log(`${key.padEnd(16)}${cells.join("")}${String(median(functions)).padStart(8)}`);
  }
}

function main(root: string): number {
  const files = foldersOf(root).flatMap((folder) => filesOf(root, folder).map((path) => measure(root, path)));
  const warnings = files.flatMap((file) => file.warnings);
  const failures = files.flatMap((file) => file.failures);
  printTable(files);
  for (const { place, message } of warnings) {
    console.log(`warning: ${place}: ${message}`);
  }
  for (const { place, message } of failures) {
    console.log(`failure: ${place}: ${message}`);
  }
  const functions = files.flatMap((file) => file.functions);
  console.log(
    `size: ${files.length} files, ${sum(files.map((file) => file.lines))} lines, ${functions.length} functions ` +
      `(median ${median(functions)} lines), ${warnings.length} warnings, ${failures.length} failures`,
  );
  return failures.length === 0 ? 0 : 1;
}

process.exitCode = main(resolve(parseOptions({ allowPositionals: true }).positionals[0] ?? "."));
