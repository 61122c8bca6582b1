"use strict";
// The files of data of a task's page: scripts that call receive() with their name and a string of JSON. The page names
// the first ones itself; others are loaded when they are needed. One that is missing or damaged is a message.
const AnyMALFiles = (() => {
  const own = [...document.querySelectorAll('script[src*="/data/"]')];
  const folder = own[0].getAttribute("src").replace(/[^/]*$/, "");
  const files = new Map(); // name -> { promise, resolve, reject }
  const NO_TEXTS = { q: "", r: "", l: "", a: [], t: null };
  let index = null;

  function expected(name) {
    if (files.has(name)) return files.get(name);
    const entry = {};
    entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    entry.promise.catch(() => {}); // whoever waits for it says so
    files.set(name, entry);
    return entry;
  }

  function failed(name, script, what) {
    const path = script.getAttribute("src").replace("../", "");
    const error = new Error(`${path} is ${what}. Copy the whole folder of the report again, or write it again with anymal-eval report.`);
    expected(name).reject(error); // what was received before stays so
  }

  function watch(name, script) {
    script.addEventListener("error", () => failed(name, script, "missing"));
    script.addEventListener("load", () => failed(name, script, "damaged"));
  }

  function file(name) {
    if (files.has(name)) return files.get(name).promise;
    const script = document.createElement("script");
    script.src = folder + (/^\d+$/.test(name) ? "chunk-" + name : name) + ".js";
    watch(name, script);
    document.head.append(script);
    return expected(name).promise;
  }

  function receive(name, text) {
    let content = null;
    try {
      content = JSON.parse(text);
    } catch {
      return; // the end of its loading finds it damaged
    }
    expected(name).resolve(content);
  }

  // The place ``at`` of a file; one of another report is shorter.
  async function item(name, at) {
    const found = (await file(name))[at];
    if (found === undefined) throw new Error(`${folder.replace("../", "")}${name}.js is of another report. Write the report again with anymal-eval report.`);
    return found;
  }

  async function start() {
    index = await files.get("index").promise;
    return index;
  }

  const row = (place) => item("rows-" + Math.floor(place / index.rows), place % index.rows);

  // The texts of rows of the list, and what is wrong with a file of them; without texts a row has its id and its scores.
  async function rows(places) {
    let problem = null;
    const found = await Promise.all(places.map((place) => row(place).catch((error) => {
      problem = error;
      return NO_TEXTS;
    })));
    return { rows: found, problem };
  }

  async function details(place) {
    let chunk = 0;
    while (chunk + 1 < index.chunks.length && index.chunks[chunk + 1] <= place) chunk += 1;
    return item(String(chunk), place - index.chunks[chunk]);
  }

  // The texts that the search covers, in small letters; they are read when there is something to search.
  let haystack = null;
  async function texts(progress) {
    if (haystack) return { texts: haystack, problem: null };
    const made = [];
    let problem = null;
    for (let at = 0; at < index.ids.length; at += index.rows) {
      progress(at, index.ids.length);
      const part = await rows(Array.from({ length: Math.min(index.rows, index.ids.length - at) }, (_, each) => at + each));
      problem ??= part.problem;
      for (const each of part.rows) made.push([index.ids[made.length], each.q, each.r, ...each.a.filter(Boolean)].join("\n").toLowerCase());
    }
    if (!problem) haystack = made;
    return { texts: made, problem };
  }

  for (const script of own) {
    const name = script.getAttribute("src").match(/([^/]*)\.js$/)[1].replace("chunk-", "");
    expected(name);
    watch(name, script);
  }
  return { start, receive, rows, details, texts };
})();
