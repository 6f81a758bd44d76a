import { words } from "./words.js";

const root = "dicom-web/studies";
const page = 50;
const $ = (id) => document.getElementById(id);

let language = pickLanguage();
let question = new URLSearchParams(); // whose answers are in the table, whatever the form says meanwhile
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
  $("languages").setAttribute("aria-label", words[language].language);
  $("operations").search = `?lang=${language}`;
  for (const e of document.querySelectorAll("[data-text]")) e.textContent = words[language][e.dataset.text];
  for (const b of $("languages").children) b.setAttribute("aria-pressed", String(b.lang === language));
  $("state").textContent = say();
}

function state(what) {
  say = what;
  $("state").textContent = say();
}

// shown says how many studies there are in the table.
function shown(n) {
  const key = new Intl.PluralRules(language).select(n) === "one" ? "foundOne" : "found";
  return words[language][key].replace("{n}", n.toLocaleString(language));
}

const first = (study, tag) => study[tag]?.Value?.[0] ?? "";
const all = (study, tag) => (study[tag]?.Value ?? []).join(" ");

function personName(study) {
  const name = first(study, "00100010") || {};
  const text = [name.Alphabetic, name.Ideographic, name.Phonetic].filter(Boolean).join(" = ");
  return text.replaceAll("^", " ").trim();
}

// patientID has its issuer: the PatientIDs of two sites may be the same.
function patientID(study) {
  const issuer = first(study, "00100021") || (first(study, "00100024") || {})["00400032"]?.Value?.[0] || "";
  return [first(study, "00100020"), issuer && `(${issuer})`].filter(Boolean).join(" ");
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
  cell(patientID(study));
  cell(date(String(first(study, "00080020"))));
  cell(all(study, "00080061"));
  cell(first(study, "00081030"));
  cell(String(first(study, "00201208")), "number");
  const get = cell("");
  const base = `${root}/${encodeURIComponent(uid)}`;
  get.append(link(`${base}?accept=application/zip`, "zip", name.id), " ", link(`${base}/metadata`, "metadata", name.id));
  return tr;
}

// begin asks what the form says, and takes away what answered another question.
function begin() {
  question = new URLSearchParams({ limit: String(page) });
  for (const [key, value] of new FormData($("search"))) {
    if (value.trim()) question.set(key, key === "ModalitiesInStudy" ? value.trim() : `${value.trim()}*`);
  }
  offset = 0;
  $("studies").replaceChildren();
  $("more").hidden = true;
  next();
}

// next asks for what follows in the answer to the question.
async function next() {
  const mine = ++asked;
  question.set("offset", String(offset));
  state(() => words[language].loading);
  try {
    const answer = await fetch(`${root}?${question}`, { headers: { Accept: "application/dicom+json" } });
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    const studies = answer.status === 204 ? [] : await answer.json();
    if (mine !== asked) return;
    $("studies").append(...studies.map(row));
    offset += studies.length;
    $("more").hidden = studies.length < page;
    const n = offset;
    state(() => (n === 0 ? words[language].none : shown(n)));
  } catch (error) {
    if (mine === asked) state(() => words[language].failed.replace("{why}", () => error.message));
  }
}

for (const b of $("languages").children) {
  b.addEventListener("click", () => { language = b.lang; translate(); });
}
$("search").addEventListener("submit", (event) => { event.preventDefault(); begin(); });
$("more").addEventListener("click", next);
translate();
begin();
