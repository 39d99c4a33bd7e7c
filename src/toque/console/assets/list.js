// The list at the side: grouped by tag, filtered as one types, walked with the arrow keys.

import { badge, h } from "./dom.js";

export const methodBadge = (operation) =>
  operation.method ? badge(operation.method, `method ${operation.method.toLowerCase()}`) : badge("RPC", "method rpc");

export function listOf(operations) {
  const nav = document.getElementById("list");
  const filter = document.getElementById("filter");
  const entries = operations.map((operation) => ({ operation, link: link(operation) }));
  const tags = [...new Set(operations.map((operation) => operation.tag))];
  const groups = tags.map((tag) => {
    const own = entries.filter((entry) => entry.operation.tag === tag);
    return { own, section: h("section", {}, h("h2", {}, tag), h("ul", {}, own.map((entry) => h("li", {}, entry.link)))) };
  });
  const nothing = h("p", { class: "nothing", hidden: true }, "No operation matches.");
  nav.replaceChildren(...groups.map((group) => group.section), nothing);

  const shown = () => entries.filter((entry) => !entry.link.parentElement.hidden).map((entry) => entry.link);

  function narrow() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { operation, link } of entries) {
      const text = `${operation.name} ${operation.method} ${operation.path} ${operation.kind} ${operation.summary}`.toLowerCase();
      link.parentElement.hidden = !words.every((word) => text.includes(word));
    }
    for (const { own, section } of groups) section.hidden = own.every((entry) => entry.link.parentElement.hidden);
    nothing.hidden = shown().length > 0;
  }

  function walk(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const links = shown();
    const at = links.indexOf(document.activeElement) + step;
    event.preventDefault();
    (links[at] ?? filter).focus();
  }

  filter.addEventListener("input", narrow);
  filter.addEventListener("keydown", (event) => {
    if (event.key === "Enter") shown()[0]?.click();
    walk(event);
  });
  nav.addEventListener("keydown", walk);
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input, textarea, select")) return;
    event.preventDefault();
    filter.focus();
  });

  return {
    mark(name) {
      for (const { operation, link } of entries) {
        if (operation.name === name) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
    },
  };
}

function link(operation) {
  return h("a", { href: `#${encodeURIComponent(operation.name)}`, title: operation.name,
    class: operation.isDeprecated ? "deprecated" : null },
  methodBadge(operation), h("span", {}, operation.path ?? operation.name),
  operation.isPublic ? null : h("span", { class: "lock", title: `For ${operation.access}`, "aria-label": "needs a token" }));
}
