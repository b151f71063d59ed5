// Replaces the changed content, so that the scroll position, the selection and open details are kept.
// Without scripts the browser reloads the page (see the `noscript` in its head).
const every = 5000;
const lost = document.getElementById("lost");
const said = document.getElementById("said");
let at = new Date();

async function refresh() {
  try {
    if (document.hidden) return;
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("main");
    if (!answer.ok || !fresh) throw new Error(answer.status);
    show(fresh);
    document.title = page.title;
    document.getElementById("as-of").replaceWith(page.getElementById("as-of"));
    at = new Date();
    lost.hidden = true;
  } catch (problem) {
    lost.textContent = `No answer since ${at.toLocaleTimeString()}: the page shows the state of that time.`;
    lost.hidden = false;
  } finally {
    setTimeout(refresh, every);
  }
}

function show(fresh) {
  const main = document.querySelector("main");
  if (main.innerHTML === fresh.innerHTML) return;
  // Not while text is selected or a link is pressed.
  if (!getSelection().isCollapsed || main.querySelector(":active")) return;
  for (const open of main.querySelectorAll("details[open]")) {
    fresh.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute("open", "");
  }
  const focused = document.activeElement?.getAttribute("href");
  main.replaceChildren(...fresh.childNodes);
  if (focused) main.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  const verdict = main.querySelector(".banner p")?.textContent.trim();
  if (verdict && verdict !== said.textContent) said.textContent = verdict;
}

setTimeout(refresh, every);
