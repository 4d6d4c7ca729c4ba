// What the pages do better with JavaScript; each of them is complete without it.
// Updates: the same address is fetched again, and the regions that say so are morphed.
const SECONDS = 3;
const CALM = 30; // after failures it asks at most every so many seconds
const REFUSED = [401, 403, 404]; // a session, a right or a page that is no more, or a proxy that knows no better yet
const PAUSED = "relations-paused";
const body = document.body;
const control = document.querySelector("[data-live-control]");
let [timer, failures] = [0, 0];
let trouble = "away"; // why the last one failed: a state
let fetching = null;

const regions = (root) => [...root.querySelectorAll("[data-live-region]")];
const isPaused = () => sessionStorage.getItem(PAUSED) === "yes";
const isSelecting = () => Boolean(document.querySelector("input[name=job]:checked:not([type=hidden])"));
const FIELDS = ":is(input:not([type=checkbox], [type=hidden]), textarea)";
const hasTyped = (where) =>
  [...document.querySelectorAll(`${where} ${FIELDS}`)].some((field) => field.value !== field.defaultValue);
const isEditing = () =>
  Boolean(document.querySelector("form[data-sent]")) ||
  Boolean(document.activeElement?.closest("[data-live-region] form, [data-live-region] details[open]")) ||
  hasTyped("[data-live-region]");

function show(state) {
  const shown = control.querySelector("[data-live-state]");
  const text = shown.dataset[state] ?? "";
  body.dataset.state = state; // by which what is no longer known to be so looks like that
  if (shown.textContent !== text) shown.textContent = text;
  const toggle = control.querySelector("[data-live-toggle]");
  toggle.setAttribute("aria-pressed", String(isPaused()));
  toggle.textContent = isPaused() ? toggle.dataset.resume : toggle.dataset.pause;
}

function stop() {
  clearTimeout(timer);
  fetching?.abort();
  fetching = null;
}

function plan() {
  stop();
  if (isPaused()) return show("paused");
  if (document.hidden) return;
  show(failures ? trouble : isSelecting() ? "waiting" : isEditing() ? "editing" : "live");
  timer = setTimeout(update, Math.min(CALM, SECONDS * 2 ** failures) * 1000);
}

async function update() {
  const asked = (fetching = new AbortController());
  try {
    const options = { signal: asked.signal, headers: { Accept: "text/html" }, cache: "no-store", redirect: "manual" };
    const answer = await fetch(body.dataset.here, options);
    if (!answer.ok && answer.type !== "opaqueredirect") throw REFUSED.includes(answer.status) ? "refused" : String(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    // No page of ours: to sign in, here or where a proxy has it done, which may be another host.
    if (!regions(fresh).length) return hasTyped("main") ? show("ended") : location.replace(body.dataset.here);
    failures = 0;
    if (asked.signal.aborted || isPaused() || isSelecting() || isEditing()) return plan();
    morph(fresh);
  } catch (error) {
    if (asked.signal.aborted) return;
    failures += 1;
    trouble = error === "refused" ? error : "away";
  }
  plan();
}

function morph(fresh) {
  for (const region of regions(document)) {
    const next = fresh.getElementById(region.id);
    if (!next) continue;
    Idiomorph.morph(region, next, {
      ignoreActiveValue: true,
      callbacks: {
        // What a person opened stays open; what was added here stays, and keeps the focus.
        beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
        beforeNodeRemoved: (node) => !isOurs(node),
        beforeNodeMorphed: (node) => !node.matches?.("th.tick:has(input)"),
      },
    });
  }
  addCopiers(document);
  addSelectAll();
}

const isOurs = (node) => node.classList?.contains("copier") && node.previousElementSibling?.dataset.copyText === node.dataset.copies;

// Ids copy with one click.
function addCopiers(root) {
  for (const code of root.querySelectorAll("[data-copy-text]")) {
    if (code.nextElementSibling?.classList.contains("copier") || !navigator.clipboard) continue;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "copier", textContent: body.dataset.copy });
    button.dataset.copies = code.dataset.copyText;
    button.setAttribute("aria-label", `${body.dataset.copy}: ${code.dataset.copyText}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.dataset.copyText);
      button.textContent = body.dataset.copied;
      setTimeout(() => (button.textContent = body.dataset.copy), 1500);
    });
    code.after(button);
  }
}

// A tick in the head selects the page; a form is sent once.
function addSelectAll() {
  const head = document.querySelector("th.tick");
  if (!head || head.querySelector("input")) return;
  const all = Object.assign(document.createElement("input"), { type: "checkbox" });
  all.setAttribute("aria-label", head.textContent.trim());
  head.replaceChildren(all);
  const boxes = "input[name=job][type=checkbox]";
  all.addEventListener("change", () => document.querySelectorAll(boxes).forEach((box) => (box.checked = all.checked)));
}

document.addEventListener("submit", (event) => {
  if (event.target.method !== "post" || event.defaultPrevented) return;
  if (event.target.dataset.sent) return event.preventDefault();
  event.target.dataset.sent = "yes";
  setTimeout(release, 15_000); // whoever stopped waiting may try again
});
const release = () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent);
addEventListener("pageshow", release);
// A proxy whose session has ended leads forms to another host, which the policy forbids; the page may be led there.
addEventListener("securitypolicyviolation", (event) => event.effectiveDirective === "form-action" && location.replace(body.dataset.here));
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  event.preventDefault();
  document.getElementById("q")?.focus();
});

// On a phone the menu and the tabs are wider than the screen.
for (const here of document.querySelectorAll("nav [aria-current]")) {
  here.parentElement.scrollLeft = here.offsetLeft - (here.parentElement.clientWidth - here.clientWidth) / 2;
}

// A page that a form made is asked for again by the address of the one above.
if (new URL(body.dataset.here, location.href).href !== location.href.split("#")[0]) history.replaceState(null, "", body.dataset.here);

addCopiers(document);
addSelectAll();
if (control) {
  control.hidden = false;
  control.querySelector("[data-live-toggle]").addEventListener("click", () => {
    sessionStorage.setItem(PAUSED, isPaused() ? "no" : "yes");
    plan();
  });
  document.addEventListener("change", plan);
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : plan()));
  plan();
}
