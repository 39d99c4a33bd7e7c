// The page: a list of operations, and the one that the address names.

import { h } from "./dom.js";
import { load } from "./document.js";
import { listOf } from "./list.js";
import { operationView } from "./operation.js";
import { overview } from "./overview.js";
import { watchToken } from "./token.js";

const main = document.getElementById("main");
watchToken();

try {
  start(await load());
} catch (error) {
  main.replaceChildren(h("div", { class: "empty" }, h("h1", {}, "Nothing to show"), h("p", {}, String(error.message))));
}

function start({ document: api, operations }) {
  document.getElementById("app-name").textContent = api.info.title;
  document.getElementById("app-version").textContent = api.info.version;
  const list = listOf(operations);

  function show() {
    const name = decodeURIComponent(location.hash.slice(1));
    const found = operations.find((one) => one.name === name);
    document.title = found ? `${found.name} · ${api.info.title}` : `${api.info.title} operations`;
    main.replaceChildren(found ? operationView(api, found) : overview(api, operations));
    list.mark(found?.name);
    scrollTo(0, 0);
  }

  addEventListener("hashchange", () => { show(); main.focus({ preventScroll: true }); });
  show();
}
