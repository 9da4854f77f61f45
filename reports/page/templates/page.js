"use strict";
// The table works without this script. With it a reader can sort and filter it and open its rows. The state is in the URL.
const FIELDS = ["scenario", "preset", "method", "attack", "label"];
const form = document.querySelector("form.controls");
const sections = [...document.querySelectorAll("section.board")];
const tables = sections.map((section) => section.querySelector("table.leaderboard"));
const rows = tables.map((table) => [...table.tBodies].filter((body) => body.dataset.name));
const accuracies = JSON.parse(document.getElementById("data").textContent);
// Not by rank: of few seeds, a row may share the rank of much better ones.
const FIRST = { sort: "worst", order: "descending" };
const state = { ...FIRST, open: [] };
for (const field of FIELDS) state[field] = "";

// Only cells of the leaderboard: the details of its rows hold tables too.
const headers = (table) => [...table.tHead.rows[0].cells];

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// -- sorting ----------------------------------------------------------------------------------------------------------

function valueOf(body, key) {
  const text = body.rows[0].querySelector(`[data-key="${key}"]`)?.dataset.value ?? "";
  return key === "label" || text === "" ? text : Number(text);
}

function compare(a, b, key, sign) {
  const [x, y] = [valueOf(a, key), valueOf(b, key)];
  // Missing values come last in both orders; equal values stay in the order that the table came in.
  if (x === "" || y === "") return (x === "") - (y === "");
  return sign * (typeof x === "string" ? x.localeCompare(y) : x - y);
}

function sort() {
  const sign = state.order === "ascending" ? 1 : -1;
  tables.forEach((table, k) => {
    const line = table.querySelector("tbody.line");
    const above = rows[k].filter((body) => body.classList.contains("ranked"));
    const below = rows[k].filter((body) => !body.classList.contains("ranked"));
    for (const part of [above, below]) part.sort((a, b) => compare(a, b, state.sort, sign));
    const wanted = [...above, ...(line ? [line] : []), ...below];
    // A moved element loses the focus, so an element in its place is not moved.
    if (wanted.some((body, i) => body !== table.tBodies[i])) table.append(...wanted);
    above.forEach((body, i) => body.classList.toggle("same", i > 0 && valueOf(body, "rank") === valueOf(above[i - 1], "rank")));
    for (const header of headers(table)) {
      if (header.dataset.key === state.sort) header.setAttribute("aria-sort", state.order);
      else header.removeAttribute("aria-sort");
    }
  });
}

function sortBy(header) {
  const { key, first } = header.dataset;
  const other = state.order === "ascending" ? "descending" : "ascending";
  state.order = state.sort === key ? other : first;
  state.sort = key;
  show();
}

// -- filters ----------------------------------------------------------------------------------------------------------

function filter() {
  let shown = 0;
  const wanted = state.label.toLowerCase();
  sections.forEach((section, k) => {
    let here = 0;
    for (const body of rows[k]) {
      const { method, scenario, label } = body.dataset;
      body.hidden = (state.method && method !== state.method) || (state.scenario && scenario !== state.scenario)
        || !label.toLowerCase().includes(wanted);
      if (!body.hidden) here += 1;
    }
    section.hidden = here === 0 || (state.preset !== "" && section.dataset.preset !== state.preset);
    const line = section.querySelector("tbody.line");
    if (line) line.hidden = rows[k].every((body) => body.hidden || body.classList.contains("ranked"));
    if (!section.hidden) shown += here;
  });
  const all = rows.flat().length;
  const words = shown === all ? `${all} rows` : `${shown} of ${all} rows`;
  form.querySelector("output").textContent = shown ? words : "No row matches these filters.";
}

function showAttack() {
  tables.forEach((table, k) => {
    const { names, cells } = accuracies[k];
    const attack = state.attack;
    const header = headers(table).find((each) => each.dataset.key === "attack");
    header.firstElementChild.textContent = `ACC ${names[attack] ?? attack}`;
    const columns = headers(table).length - (attack ? 0 : 1);
    for (const cell of table.querySelectorAll(":scope > tbody > tr > [colspan]")) cell.colSpan = columns;
    header.hidden = !attack;
    rows[k].forEach((body, i) => {
      const [value, low, high] = cells[attack]?.[i] ?? [];
      const cell = body.rows[0].querySelector('[data-key="attack"]');
      cell.hidden = !attack;
      cell.dataset.value = value ?? "";
      cell.replaceChildren(value === undefined ? "n/a" : value.toFixed(1));
      if (low === undefined) return;
      cell.append(" ", element("span", { className: "beside", textContent: `[${low.toFixed(1)}, ${high.toFixed(1)}]` }));
    });
  });
}

// -- details ----------------------------------------------------------------------------------------------------------

function showDetails() {
  for (const body of rows.flat()) {
    const isOpen = state.open.includes(body.dataset.name);
    body.querySelector(".detail").classList.toggle("open", isOpen);
    body.querySelector("[aria-expanded]").setAttribute("aria-expanded", String(isOpen));
  }
}

function toggle(name) {
  state.open = state.open.includes(name) ? state.open.filter((each) => each !== name) : [...state.open, name];
  show();
}

function closeOnEscape(event) {
  if (event.key !== "Escape" || event.defaultPrevented || event.target.closest("form")) return;
  const name = event.target.closest("tbody.row")?.dataset.name;
  const closed = state.open.includes(name) ? name : state.open.at(-1);
  if (closed === undefined) return;
  toggle(closed);
  rows.flat().find((body) => body.dataset.name === closed).querySelector("[aria-expanded]").focus();
}

async function copy(button) {
  const code = button.parentElement.querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    // Without the right to the clipboard the command is selected, and the reader copies it.
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

// The tab key passes by boxes that need no scrolling.
function fitScrollers() {
  for (const box of document.querySelectorAll(".scroll:not([role=img])")) {
    box.tabIndex = box.scrollWidth > box.clientWidth ? 0 : -1;
  }
}

// -- state ------------------------------------------------------------------------------------------------------------

function show() {
  for (const field of FIELDS) form.elements[field].value = state[field];
  showAttack();
  sort();
  filter();
  showDetails();
  fitScrollers();
  const words = new URLSearchParams();
  for (const field of FIELDS) if (state[field]) words.set(field, state[field]);
  if (state.sort !== FIRST.sort || state.order !== FIRST.order) {
    words.set("sort", state.sort);
    words.set("order", state.order);
  }
  for (const name of state.open) words.append("open", name);
  const hash = words.size ? `#${words}` : location.pathname + location.search;
  try { history.replaceState(null, "", hash); } catch { /* a page in a frame may not: the view is just not in the URL */ }
}

function restore() {
  const words = new URLSearchParams(location.hash.slice(1));
  const known = (field, value) => [...form.elements[field].options].some((option) => option.value === value);
  for (const field of FIELDS) {
    const value = words.get(field) ?? "";
    state[field] = field === "label" || known(field, value) ? value : "";
  }
  const keys = tables.flatMap((table) => headers(table).map((header) => header.dataset.key));
  const sort = words.get("sort");
  const order = words.get("order") === "descending" ? "descending" : "ascending";
  Object.assign(state, keys.includes(sort) && (sort !== "attack" || state.attack) ? { sort, order } : FIRST);
  const names = rows.flat().map((body) => body.dataset.name);
  state.open = words.getAll("open").filter((name) => names.includes(name));
  show();
}

// An anchor of the page itself (#board-2) is a place, not a view.
const isAnchor = () => location.hash.length > 1 && !location.hash.includes("=");

function start() {
  for (const header of tables.flatMap(headers)) {
    const button = element("button", { type: "button" }, ...header.childNodes);
    button.addEventListener("click", () => sortBy(header));
    header.append(button);
  }
  for (const body of rows.flat()) {
    const label = body.querySelector("th");
    const button = element("button", { type: "button" }, ...label.childNodes);
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-controls", `detail-${body.dataset.name}`);
    button.addEventListener("click", () => toggle(body.dataset.name));
    label.append(button);
    body.querySelector("details").open = true;
  }
  for (const box of document.querySelectorAll(".command")) {
    const button = element("button", { type: "button", textContent: "Copy" });
    button.setAttribute("aria-label", "Copy the command");
    button.addEventListener("click", () => copy(button));
    box.append(button);
  }
  form.hidden = false;
  form.addEventListener("input", () => {
    for (const field of FIELDS) state[field] = form.elements[field].value;
    if (!state.attack && state.sort === "attack") Object.assign(state, FIRST);
    show();
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    Object.assign(state, FIRST, { open: [] });
    for (const field of FIELDS) state[field] = "";
    show();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", closeOnEscape);
  addEventListener("hashchange", () => { if (!isAnchor()) restore(); });
  addEventListener("resize", fitScrollers);
  if (!isAnchor()) restore();
  else { const place = location.hash; show(); location.replace(place); }
}

function startTheme() {
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const button = element("button", { type: "button" });
  const name = () => { button.textContent = isDark() ? "Light colours" : "Dark colours"; };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* forgotten with the page */ }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
  document.querySelector(".title").append(button);
}

startTheme();
if (form) start();
