/** Form field of one setting, by its schema: a text, a number, a choice, a switch, or a list of objects. */
import { type Entries, type Entry, type FieldProblems, labelOf, type Property } from "./schema.ts";

interface FieldProps {
  readonly name: string;
  readonly property: Property;
  readonly isRequired: boolean;
  readonly entry: Entry;
  /** Problems of all fields of the form. */
  readonly problems: FieldProblems;
  readonly onChange: (entry: Entry) => void;
  /** Prefix of the name in paths, for fields of list items. */
  readonly prefix?: string;
}

export function Field({ entry, prefix = "", ...field }: FieldProps) {
  if (typeof entry !== "string") return <ListField {...field} items={entry} />;
  const { name, property, problems } = field;
  const path = `${prefix}${name}`;
  const id = `field-${path.replaceAll(".", "-")}`;
  const problem = problems.get(path);
  return (
    <div class="field">
      <label for={id}>{labelOf(name)}</label>
      <Control {...field} id={id} entry={entry} isWrong={problem !== undefined} />
      <p class="note" id={`${id}-note`}>
        {property.description}
      </p>
      <FieldProblemNote id={id} problem={problem} />
    </div>
  );
}

/** Problem of the field with an id, which refers to it by `aria-describedby`. */
export function FieldProblemNote({ id, problem }: { id: string; problem: string | undefined }) {
  if (problem === undefined) return null;
  return (
    <p class="wrong" id={`${id}-problem`}>
      {problem}
    </p>
  );
}

/** ARIA attributes of a control with a note, and a problem if it is wrong. */
export function described(id: string, isWrong: boolean) {
  return {
    "aria-describedby": isWrong ? `${id}-note ${id}-problem` : `${id}-note`,
    ...(isWrong && { "aria-invalid": true }),
  };
}

interface ControlProps extends Omit<FieldProps, "entry" | "prefix" | "problems"> {
  readonly id: string;
  readonly entry: string;
  readonly isWrong: boolean;
}

function Control({ id, property, isRequired, entry, isWrong, onChange }: ControlProps) {
  const shared = {
    id,
    value: entry,
    required: isRequired,
    ...described(id, isWrong),
    onInput: (event: { readonly currentTarget: HTMLInputElement | HTMLSelectElement }) =>
      onChange(event.currentTarget.value),
  };
  const choices = property.type === "boolean" ? ["true", "false"] : property.enum;
  if (choices !== undefined) {
    const words: Readonly<Record<string, string>> =
      property.type === "boolean" ? { true: "yes", false: "no" } : {};
    const unsaid =
      property.default === undefined
        ? "chosen automatically"
        : `${words[`${property.default}`] ?? property.default} (default)`;
    return (
      <select {...shared}>
        {!isRequired && <option value="">{unsaid}</option>}
        {choices
          .filter((choice) => choice !== String(property.default) || choice === entry)
          .map((choice) => (
            <option key={choice} value={choice}>
              {words[choice] ?? choice}
            </option>
          ))}
      </select>
    );
  }
  const placeholder = property.default === undefined ? "" : String(property.default);
  if (property.type !== "number" && property.type !== "integer") {
    return <input {...shared} placeholder={placeholder} autocomplete="off" spellcheck={false} />;
  }
  const max = property.maximum ?? property.exclusiveMaximum;
  return (
    <input
      {...shared}
      type="number"
      inputMode="decimal"
      placeholder={placeholder}
      step={property.type === "integer" ? 1 : "any"}
      min={property.minimum ?? property.exclusiveMinimum}
      {...(max !== undefined && max < Number.MAX_SAFE_INTEGER && { max })}
    />
  );
}

type ListFieldProps = Omit<FieldProps, "entry" | "prefix"> & { readonly items: readonly Entries[] };

function ListField({ name, property, items, problems, onChange }: ListFieldProps) {
  const { properties, required = [] } = property.items!;
  const change = (index: number, changed: Entries): void =>
    onChange(items.map((item, other) => (other === index ? changed : item)));
  return (
    <div class="list">
      <p class="note">
        {property.description}; use several of different kinds to keep the model general.{" "}
        {required.map((field) => `${labelOf(field)}: ${properties[field]?.description}.`).join(" ")}
      </p>
      {problems.has(name) && (
        <p class="wrong" tabIndex={-1}>
          {problems.get(name)}
        </p>
      )}
      {items.map((item, index) => (
        <fieldset key={index} class="item">
          <legend>
            {labelOf(name)} {index + 1}
          </legend>
          {Object.entries(properties).map(([field, own]) => (
            <Field
              key={field}
              name={field}
              property={own}
              prefix={`${name}.${index}.`}
              problems={problems}
              isRequired={required.includes(field)}
              entry={item[field] ?? ""}
              onChange={(entry) => change(index, { ...item, [field]: entry })}
            />
          ))}
          <button
            type="button"
            class="action"
            onClick={() => onChange(items.filter((_, other) => other !== index))}
          >
            Remove
            <span class="unseen">
              {" "}
              {labelOf(name)} {index + 1}
            </span>
          </button>
        </fieldset>
      ))}
      <button type="button" class="action" onClick={() => onChange([...items, {}])}>
        Add a set
      </button>
    </div>
  );
}
