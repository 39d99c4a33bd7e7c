// The bearer token: kept in this tab alone, shown as whom it speaks for.

const KEY = "toque.token";

export const token = () => sessionStorage.getItem(KEY) ?? "";

export function watchToken() {
  const field = document.getElementById("token");
  field.value = token();
  field.addEventListener("input", () => {
    sessionStorage.setItem(KEY, field.value.trim());
    describe();
    dispatchEvent(new Event("token"));
  });
  describe();
}

function describe() {
  const said = document.getElementById("claims");
  const claims = read(token());
  said.className = "";
  if (!token()) said.textContent = "Kept in this tab only. Make one with toque token.";
  else if (!claims) said.textContent = "Not a JWT; sent as it is.";
  else if (claims.exp && claims.exp * 1000 < Date.now()) {
    said.className = "bad";
    said.textContent = `${claims.sub ?? "Nobody"}: expired ${new Date(claims.exp * 1000).toLocaleString()}.`;
  } else said.textContent = [claims.sub, [claims.roles ?? []].flat().join(", ")].filter(Boolean).join(" · ");
}

// Only to show it: whether it holds is the server's to say.
function read(text) {
  try {
    const part = text.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (one) => one.charCodeAt(0))));
  } catch {
    return null;
  }
}
