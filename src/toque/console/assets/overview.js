// What the app is, and everything it offers, on one page.

import { badge, h, prose } from "./dom.js";
import { methodBadge } from "./list.js";

export function overview(api, operations) {
  const queries = operations.filter((one) => one.kind === "query").length;
  const counts = `${operations.length} operations: ${queries} queries, ${operations.length - queries} commands.`;
  return h("article", { class: "overview" },
    h("header", {}, h("h1", {}, api.info.title), h("p", { class: "lead" }, counts)),
    prose(api.info.description),
    h("div", { class: "table" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Operation", "", "What it does", "For"].map((word) => h("th", { scope: "col" }, word)))),
      h("tbody", {}, operations.map(row)))),
    h("p", { class: "lead" }, "The same as data: ", h("a", { href: "openapi.json" }, "openapi.json"), "."));
}

function row(operation) {
  const address = h("a", { href: `#${encodeURIComponent(operation.name)}` }, methodBadge(operation),
    h("code", {}, operation.path ?? operation.name));
  return h("tr", {}, h("td", {}, address), h("td", {}, badge(operation.kind, operation.kind)),
    h("td", {}, operation.summary), h("td", { class: "muted" }, operation.access));
}
