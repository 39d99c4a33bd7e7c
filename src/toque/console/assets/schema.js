// JSON Schema for people: a word for a type, a tree of fields, and an example to begin with.

import { h, prose } from "./dom.js";
import { resolve } from "./document.js";

export function typeWord(document, schema) {
  const name = schema?.$ref?.split("/").pop();
  const found = resolve(document, schema);
  if (found.enum) return found.enum.map((one) => JSON.stringify(one)).join(" | ");
  if ("const" in found) return JSON.stringify(found.const);
  const arms = found.anyOf ?? found.oneOf;
  if (arms) return arms.map((arm) => typeWord(document, arm)).join(" | ");
  if (found.prefixItems) return `[${found.prefixItems.map((one) => typeWord(document, one)).join(", ")}]`;
  if (found.type === "array") return `${typeWord(document, found.items || {})}[]`;
  if (found.type === "object" && !found.properties && found.additionalProperties)
    return `{string: ${typeWord(document, found.additionalProperties)}}`;
  if (found.type === "object") return name ?? found.title ?? "object";
  return found.format ?? found.type ?? "anything";
}

const BOUNDS = [["minimum", "≥"], ["exclusiveMinimum", ">"], ["maximum", "≤"], ["exclusiveMaximum", "<"],
  ["multipleOf", "multiple of"], ["minLength", "length ≥"], ["maxLength", "length ≤"],
  ["minItems", "items ≥"], ["maxItems", "items ≤"], ["pattern", "matches"]];

export function limits(schema) {
  // A bound that no number here can pass is only the format's own.
  const isSaid = (bound) => bound !== undefined && !(Math.abs(bound) > Number.MAX_SAFE_INTEGER);
  // A format says more to people than the pattern that goes with it.
  const bounds = BOUNDS.filter(([word]) => !(word === "pattern" && schema.format));
  const said = bounds.filter(([word]) => isSaid(schema[word])).map(([word, sign]) => `${sign} ${schema[word]}`);
  if (schema.default !== undefined) said.push(`default ${JSON.stringify(schema.default)}`);
  return said.join(", ");
}

// The objects in a schema, each with its fields; a type that holds itself is not opened twice.
export function schemaTree(document, schema, open = []) {
  const ref = schema?.$ref;
  const found = resolve(document, schema);
  if (ref && open.includes(ref)) return null;
  const within = ref ? [...open, ref] : open;
  if (found.properties) {
    const required = new Set(found.required ?? []);
    return h("ul", { class: "tree" }, Object.entries(found.properties).map(([name, inner]) =>
      fieldRow(document, name, inner, required.has(name), within)));
  }
  const parts = [found.items, ...(found.anyOf ?? found.oneOf ?? []), found.additionalProperties];
  const inner = parts.filter((part) => part && typeof part === "object");
  return inner.map((part) => schemaTree(document, part, within)).find((tree) => tree !== null) ?? null;
}

export function fieldRow(document, name, schema, isRequired, open = []) {
  const found = { ...resolve(document, schema), ...schema };
  const nested = schemaTree(document, schema, open);
  const line = [
    h("code", { class: "field" }, name),
    h("span", { class: "type" }, typeWord(document, schema)),
    isRequired ? h("span", { class: "required" }, "required") : null,
    h("span", { class: "limits" }, limits(found)),
  ];
  const doc = schema.description ? h("div", { class: "doc" }, prose(schema.description)) : null;
  if (!nested) return h("li", {}, h("div", { class: "row" }, line), doc);
  return h("li", {}, h("details", { open: open.length < 2 }, h("summary", { class: "row" }, line), doc, nested));
}

const SAMPLES = {
  uuid: "00000000-0000-4000-8000-000000000001", "date-time": "2026-01-31T12:00:00Z", date: "2026-01-31",
  time: "12:00:00", duration: "PT15M", decimal: "1.00", email: "ana@example.com", uri: "https://example.com/",
};

export function sample(document, schema, open = []) {
  const ref = schema?.$ref;
  const found = resolve(document, schema);
  if (ref && open.includes(ref)) return null;
  const within = ref ? [...open, ref] : open;
  if (found.default !== undefined && found.default !== null) return found.default;
  if (found.examples?.length) return found.examples[0];
  if (found.enum) return found.enum[0];
  if ("const" in found) return found.const;
  const arm = (found.anyOf ?? found.oneOf)?.find((one) => one.type !== "null");
  if (arm) return sample(document, arm, within);
  if (found.properties) {
    // What is optional is left out where the example is nested: what stays shows what must be there.
    const required = found.required ?? [];
    const names = required.length && open.length ? required : Object.keys(found.properties);
    return Object.fromEntries(names.map((name) => [name, sample(document, found.properties[name], within)]));
  }
  if (found.prefixItems) return found.prefixItems.map((one) => sample(document, one, within));
  if (found.type === "array") return [sample(document, found.items || {}, within)];
  if (found.type === "object") return {};
  if (found.type === "integer" || found.type === "number") return found.minimum ?? (found.exclusiveMinimum ?? 0) + 1;
  if (found.type === "boolean") return false;
  if (found.type === "null") return null;
  return SAMPLES[found.format] ?? "text".padEnd(found.minLength ?? 0, ".").slice(0, found.maxLength);
}
