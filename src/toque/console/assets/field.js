// One input of a form, of the kind that fits its schema.

import { h } from "./dom.js";

let made = 0;

export function field(name, { schema, isList, start, isRequired, hint }) {
  const id = `field-${(made += 1)}`;
  const input = control(id, schema, isList, start, isRequired);
  return {
    element: h("div", { class: "field" },
      h("label", { for: id }, h("code", {}, name), isRequired ? h("span", { class: "required" }, "required") : null),
      input, h("p", { class: "hint" }, hint + (isList ? " · one a line" : ""))),
    value: () => input.value,
  };
}

function control(id, schema, isList, start, isRequired) {
  const common = { id, required: isRequired, autocomplete: "off", spellcheck: "false" };
  const choices = schema.enum ?? (schema.type === "boolean" ? [true, false] : null);
  if (choices && !isList) {
    const options = [...(isRequired ? [] : [""]), ...choices].map((one) => h("option", { value: String(one) }, String(one)));
    return h("select", common, options);
  }
  if (isList) return h("textarea", { ...common, rows: "2", value: [start].flat().join("\n") });
  return h("input", { ...common, type: "text", value: String(start ?? ""),
    inputmode: { integer: "numeric", number: "decimal" }[schema.type] });
}

export function formatChoice(label, mediaTypes) {
  const id = `field-${(made += 1)}`;
  const select = h("select", { id }, mediaTypes.map((one) => h("option", { value: one }, one)));
  const element = h("div", { class: "format" }, h("label", { for: id }, label), select);
  element.hidden = mediaTypes.length === 0;
  return { element, value: () => select.value };
}
