/** One setting of a run as its schema describes it: a text, a number, a choice, a switch, or a list of such. */
import { type Entries, type Entry, labelOf, type Property } from "./schema.ts";

interface FieldProps {
  readonly name: string;
  readonly property: Property;
  readonly isRequired: boolean;
  readonly entry: Entry;
  readonly onChange: (entry: Entry) => void;
  /** Before the name in ids; fields of list items have one. */
  readonly prefix?: string;
}

export function Field({ entry, prefix = "", ...field }: FieldProps) {
  if (typeof entry !== "string") return <ListField {...field} items={entry} />;
  const { name, property } = field;
  const id = `field-${prefix}${name}`;
  return (
    <div class="field">
      <label for={id}>{labelOf(name)}</label>
      <Control {...field} id={id} entry={entry} />
      <p class="note" id={`${id}-note`}>
        {property.description}
      </p>
    </div>
  );
}

interface ControlProps extends Omit<FieldProps, "entry" | "prefix"> {
  readonly id: string;
  readonly entry: string;
}

function Control({ id, property, isRequired, entry, onChange }: ControlProps) {
  const shared = {
    id,
    value: entry,
    required: isRequired,
    "aria-describedby": `${id}-note`,
    onInput: (event: { readonly currentTarget: HTMLInputElement | HTMLSelectElement }) =>
      onChange(event.currentTarget.value),
  };
  const choices = property.type === "boolean" ? ["true", "false"] : property.enum;
  if (choices !== undefined) {
    const words: Readonly<Record<string, string>> =
      property.type === "boolean" ? { true: "yes", false: "no" } : {};
    const unsaid =
      property.default === undefined
        ? "what fits the method"
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

function ListField({ name, property, items, onChange }: ListFieldProps) {
  const { properties, required = [] } = property.items!;
  const change = (index: number, changed: Entries): void =>
    onChange(items.map((item, other) => (other === index ? changed : item)));
  return (
    <div class="list">
      <p class="note">
        {property.description}; several of different kinds keep the model general.{" "}
        {required.map((field) => `${labelOf(field)}: ${properties[field]?.description}.`).join(" ")}
      </p>
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
              prefix={`${name}-${index}-`}
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
