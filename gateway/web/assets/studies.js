import { words } from "./words.js";

const root = "dicom-web/studies";
const page = 50;
const $ = (id) => document.getElementById(id);

let language = pickLanguage();
let offset = 0;
let asked = 0; // only the answer to the newest question is shown
let say = () => "";

function pickLanguage() {
  const wanted = new URLSearchParams(location.search).get("lang");
  const all = [wanted, ...navigator.languages].filter(Boolean).map((l) => l.slice(0, 2).toLowerCase());
  return all.find((l) => Object.hasOwn(words, l)) ?? "en";
}

function translate() {
  document.documentElement.lang = language;
  for (const e of document.querySelectorAll("[data-text]")) e.textContent = words[language][e.dataset.text];
  for (const b of document.querySelectorAll("nav button")) b.setAttribute("aria-pressed", String(b.lang === language));
  $("state").textContent = say();
}

function state(key, values = {}) {
  say = () => Object.entries(values).reduce((t, [k, v]) => t.replace(`{${k}}`, v), words[language][key]);
  $("state").textContent = say();
}

const first = (study, tag) => study[tag]?.Value?.[0] ?? "";
const all = (study, tag) => (study[tag]?.Value ?? []).join(" ");

function personName(study) {
  const name = first(study, "00100010") || {};
  const text = [name.Alphabetic, name.Ideographic, name.Phonetic].filter(Boolean).join(" = ");
  return text.replaceAll("^", " ").trim();
}

const date = (da) => (/^\d{8}$/.test(da) ? `${da.slice(0, 4)}-${da.slice(4, 6)}-${da.slice(6)}` : da);

function link(href, key, label) {
  const a = document.createElement("a");
  a.href = href;
  a.dataset.text = key;
  a.textContent = words[language][key];
  a.setAttribute("aria-describedby", label);
  return a;
}

function row(study) {
  const uid = first(study, "0020000D");
  const tr = document.createElement("tr");
  tr.dataset.study = uid;
  const cell = (text, cls = "") => {
    const td = document.createElement("td");
    td.textContent = text;
    td.className = cls;
    tr.append(td);
    return td;
  };
  const name = cell(personName(study));
  name.id = `study-${uid}`;
  cell(first(study, "00100020"));
  cell(date(String(first(study, "00080020"))));
  cell(all(study, "00080061"));
  cell(first(study, "00081030"));
  cell(String(first(study, "00201208")), "number");
  const get = cell("");
  const base = `${root}/${encodeURIComponent(uid)}`;
  get.append(link(`${base}?accept=application/zip`, "zip", name.id), " ", link(`${base}/metadata`, "metadata", name.id));
  return tr;
}

async function search(append) {
  const question = ++asked;
  if (!append) offset = 0;
  const query = new URLSearchParams({ limit: String(page), offset: String(offset) });
  for (const [key, value] of new FormData($("search"))) {
    if (value.trim()) query.set(key, key === "ModalitiesInStudy" ? value.trim() : `${value.trim()}*`);
  }
  state("loading");
  try {
    const answer = await fetch(`${root}?${query}`, { headers: { Accept: "application/dicom+json" } });
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    const studies = answer.status === 204 ? [] : await answer.json();
    if (question !== asked) return;
    if (!append) $("studies").replaceChildren();
    $("studies").append(...studies.map(row));
    offset += studies.length;
    $("more").hidden = studies.length < page;
    if (offset === 0) state("none");
    else state("found", { n: offset });
  } catch (error) {
    if (question === asked) state("failed", { why: error.message });
  }
}

for (const b of document.querySelectorAll("nav button")) {
  b.addEventListener("click", () => { language = b.lang; translate(); });
}
$("search").addEventListener("submit", (event) => { event.preventDefault(); search(false); });
$("more").addEventListener("click", () => search(true));
translate();
search(false);
