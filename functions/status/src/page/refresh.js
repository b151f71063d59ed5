// Brings what has changed, so that nobody's place, selection or open details are lost. Without it
// the page loads itself anew (see the `noscript` in its head).
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
    document.getElementById("told").replaceWith(page.getElementById("told"));
    at = new Date();
    lost.hidden = true;
  } catch (problem) {
    lost.textContent = `No answer since ${at.toLocaleTimeString()}: this is how it was then.`;
    lost.hidden = false;
  } finally {
    setTimeout(refresh, every);
  }
}

function show(fresh) {
  const main = document.querySelector("main");
  if (main.innerHTML === fresh.innerHTML) return;
  // What somebody marks to copy, or presses just now, is left until they are done.
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
