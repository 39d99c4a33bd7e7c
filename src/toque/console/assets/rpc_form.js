// The same call as JSON-RPC 2.0: the operation by its name, its inputs by theirs.

import { h } from "./dom.js";
import { root } from "./document.js";
import { sample } from "./schema.js";

export function rpcForm(api, operation) {
  const named = operation.inputs.filter((input) => input.required || input.place === "body");
  const params = Object.fromEntries(named.map((input) => [input.name, sample(api, input.schema)]));
  const call = { jsonrpc: "2.0", id: 1, method: operation.name, params };
  const text = h("textarea", { spellcheck: "false", "aria-label": "Message" });
  text.value = JSON.stringify(call, null, 2);
  text.rows = Math.min(20, text.value.split("\n").length);
  return {
    element: h("div", {}, h("div", { class: "body" }, h("span", { class: "name" }, "Message"), text)),
    request: () => ({ method: "POST", url: new URL("rpc", root), headers: [["content-type", "application/json"]], body: text.value }),
  };
}
