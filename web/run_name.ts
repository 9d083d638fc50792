/** Names that the form proposes for new runs. It accepts fewer names than directories may have. */

/** Most characters of a proposed name before its number; the form accepts 100 in all. */
const LONGEST = 90;

/** `small-2` for `small`, or the next free number; characters that the form refuses become dashes. */
export function nextName(id: string, taken: ReadonlySet<string>): string {
  const last = id.split("/").at(-1)!.replace(/-\d+$/, "");
  const allowed = last.replaceAll(/[^A-Za-z0-9._-]+/g, "-").slice(0, LONGEST);
  const base = allowed.replaceAll(/^[^A-Za-z0-9]+|-+$/g, "") || "run";
  let number = 2;
  while (taken.has(`${base}-${number}`)) number += 1;
  return `${base}-${number}`;
}
