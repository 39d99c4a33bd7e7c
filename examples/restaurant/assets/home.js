// The commands on the page name the server that shows it, whatever its port.

const code = document.querySelector("pre code");
code.textContent = code.textContent.replaceAll("http://localhost:8000", location.origin);
