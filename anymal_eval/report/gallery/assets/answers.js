"use strict";
// Every run's answer to one example: its score and change, its words beside the nearest reference, its thinking.
const AnyMALAnswers = (() => {
  const { make, isolated, block, number } = AnyMALText;
  const STATES = { error: "error", empty: "empty answer", unparsable: "no option could be read" };
  const SENTENCE = 3; // words from which the parts of an answer are compared, and not the answer alone
  const GRADED = ["caption", "short_answer"];

  // A run by its mark, which is that of the plots, and its name.
  function run(index, at) {
    const [shape, colour] = index.marks[at];
    const path = AnyMALMedia.svg("path", { d: shape, transform: "translate(7 7)", class: "mark-shape" });
    const mark = AnyMALMedia.svg("svg", { width: 14, height: 14, class: "key-mark", "aria-hidden": "true" }, path);
    const found = make("span", `run c${colour}`, mark, isolated("bdi", "", index.runs[at]));
    found.title = index.runs[at];
    return found;
  }

  function signed(value) {
    const text = (100 * value).toFixed(1);
    return value > 0 ? `+${text}` : text.replace("-", "−");
  }

  // A change of a score, coloured by whether it is for the better; an arrow says the same without colour.
  function change(now, before, metric) {
    if (now === null || before === null || now === undefined || before === undefined) return null;
    const by = now - before;
    if (Math.abs(by) < 1e-9) return make("span", "change", "no change");
    const better = by > 0 === (metric?.better !== "lower");
    return make("span", `change ${better ? "rise" : "fall"}`, `${by > 0 ? "▲" : "▼"} ${signed(by)}`);
  }

  function meter(share, classes) {
    const filled = make("span", "meter-fill");
    filled.style.width = `${Math.min(100, Math.max(0, 100 * share)).toFixed(1)}%`;
    const found = make("span", "meter " + (classes ?? ""), filled);
    found.setAttribute("aria-hidden", "true");
    return found;
  }

  // Neighbouring words of a comparison that are not kept, as spans of the text.
  function unkept(words, classes) {
    const spans = [];
    words.forEach((word, at) => {
      if (word.kept) return;
      if (at && !words[at - 1].kept) spans[spans.length - 1].end = word.end;
      else spans.push({ start: word.start, end: word.end, classes });
    });
    return spans;
  }

  function labelled(label, ...content) {
    return make("div", "part", make("h5", "", label), ...content);
  }

  function folded(label, content) {
    const box = make("details", "fold", make("summary", "", `${label}, ${content.length.toLocaleString("en")} characters`));
    box.append(block(content, label));
    return box;
  }

  // The words that a run removed from the base's answer and those that it added, where there is a sentence to compare.
  function differences(from, to, name) {
    const found = AnyMALWords.compare(from, to);
    if (found === null || Math.min(found.from.length, found.to.length) < SENTENCE) return null;
    if (found.edits === 0) return make("p", "quiet", "same words as ", isolated("bdi", "", name));
    const box = make("p", "words difference");
    box.dir = "auto";
    const put = (kind, words) => {
      if (words.length) box.append(box.childElementCount ? " " : "", make(kind, "", words.join(" ")));
    };
    let held = { del: [], ins: [], span: [] };
    const flush = (kinds) => kinds.forEach((kind) => put(kind, held[kind].splice(0)));
    for (const [a, b] of found.steps) {
      const kind = a < 0 ? "ins" : b < 0 ? "del" : "span";
      flush(kind === "span" ? ["del", "ins"] : ["span"]);
      held[kind].push(b < 0 ? from.slice(found.from[a].start, found.from[a].end) : to.slice(found.to[b].start, found.to[b].end));
    }
    flush(["span", "del", "ins"]);
    return labelled("Changes from " + name, box);
  }

  function badges(example, side) {
    const found = [];
    if (side.state !== "ok") found.push(make("span", "badge " + side.state, STATES[side.state] ?? side.state));
    else if (side.outcome) found.push(make("span", "badge " + side.outcome, side.outcome === "partly" ? "partly right" : side.outcome));
    const limit = example.prompt && side.new_tokens ? ` of ${example.prompt.limit} tokens` : "";
    if (side.finish === "length" || side.notes?.includes("cut")) found.push(make("span", "badge cut", `cut at the limit${limit}`));
    if (side.notes?.includes("template")) found.push(make("span", "badge cut", "holds tokens of the template"));
    return found;
  }

  // The headline's score with a bar, and its change from the base.
  function score(side, before, index) {
    const [id, metric] = Object.entries(index.metrics).find(([, each]) => each.headline) ?? [];
    if (!metric || side.score === null) return null;
    const name = make("span", "score-name", metric.name);
    name.title = `${id}, x100; the bar ends at ${number(metric.top)}`;
    return make("div", "headline-score", name, make("strong", "score-value", number(side.score)), change(side.score, before?.score, metric), meter(side.score / (metric.top || 1)));
  }

  function more(side, before, index) {
    const list = make("dl", "scores");
    for (const [id, value] of Object.entries(side.scores)) {
      const metric = index.metrics[id];
      if (metric?.headline) continue;
      const name = make("dt", "", metric?.name ?? id);
      name.title = id + ", x100";
      const by = value === before?.scores?.[id] ? null : change(value, before?.scores?.[id], metric);
      list.append(make("div", "", name, make("dd", "", number(value), " ", by)));
    }
    if (side.p_yes !== undefined) list.append(make("div", "", make("dt", "", "P(yes)"), make("dd", "", side.p_yes.toFixed(3))));
    const ended = { stop: "ended by itself", length: "cut at the limit", ranked: "options ranked" }[side.finish];
    const tokens = [["", side.new_tokens, "new tokens"], ["prompt of ", side.prompt_tokens, "tokens"]].filter(([, count]) => count !== undefined).map(([before, count, after]) => `${before}${count.toLocaleString("en")} ${after}`);
    const facts = [ended, ...tokens].filter(Boolean).join(" · ");
    return [list.childElementCount ? list : null, facts ? make("p", "quiet", facts) : null];
  }

  function ranked(example, side) {
    const labels = example.prompt?.candidates ?? [];
    const table = make("table", "ranked", make("caption", "", "log p of each candidate"));
    side.raw.forEach((value, at) => {
      const head = isolated("th", "", labels[at] ?? String(at + 1));
      head.scope = "row";
      table.append(make("tr", "", head, make("td", "number", logarithm(value, 3))));
    });
    return table;
  }

  // What is shown as the answer: as it was read, or what the model wrote where no option could be read from it.
  function shownText(side) {
    return side.answer || (side.state === "unparsable" && typeof side.raw === "string" ? side.raw : "");
  }

  function answered(example, side, name) {
    const text = shownText(side);
    const unique = [...new Set(example.references ?? [])];
    const near = GRADED.includes(example.kind) && text ? AnyMALWords.nearest(text, unique) : null;
    const shown = block(text, "Answer of " + name, near ? unkept(near.from, "extra") : []);
    if (!text) shown.classList.add("none");
    const people = example.references?.length > unique.length || unique.length === 1 ? example.references : [];
    if (near && Math.min(near.from.length, near.to.length) < SENTENCE) {
      const gave = people.filter((each) => AnyMALWords.compare(text, each)?.edits === 0).length;
      return [shown, make("p", "quiet", people.length > 1 ? `given by ${gave} of ${people.length} people` : near.edits ? "not the reference" : "the reference")];
    }
    const found = [shown];
    if (near?.edits) {
      const which = unique.length > 1 ? `Nearest reference, ${near.place + 1} of ${unique.length}` : "The reference";
      found.push(labelled(`${which}: ${near.edits} ${near.edits === 1 ? "edit" : "edits"}`, make("div", "nearest", block(near.text, "Nearest reference", unkept(near.to, "missing")))));
    } else if (near) {
      found.push(make("p", "quiet", unique.length > 1 ? `same words as reference ${near.place + 1} of ${unique.length}` : "same words as the reference"));
    }
    return found;
  }

  // One run's card; ``base`` is the number of the run that it is compared with.
  function card(example, at, base, index) {
    const [side, name] = [example.sides[at], index.runs[at]];
    const before = base !== at ? (example.sides[base] ?? null) : null;
    const title = make("h4", "", run(index, at));
    title.id = "side-" + at;
    const box = make("section", "answer", make("div", "answer-head", title));
    box.setAttribute("aria-labelledby", title.id);
    if (side === null) {
      box.append(make("p", "quiet", "This run does not hold this example."));
      return box;
    }
    box.firstElementChild.append(...badges(example, side));
    // Parts in the same order in every card, so that they stand side by side.
    const put = (...parts) => box.append(make("div", "slot", ...parts));
    const graded = GRADED.includes(example.kind);
    const raw = side.raw ?? "";
    if (side.state === "error") {
      put();
      put(labelled(side.failure ? `Error: ${side.failure}` : "Error", block(String(side.answer ?? ""), "Error of " + name)));
    } else {
      const [shown, near] = answered(example, side, name);
      put(graded ? score(side, before, index) : null);
      put(shown);
      put(near);
      put(graded && before && before.state !== "error" && side.answer && before.answer ? differences(before.answer, side.answer, index.runs[base]) : null);
    }
    put(
      Array.isArray(raw) && (side.state === "error" || raw.length !== example.options.length) ? ranked(example, side) : null,
      side.thinking ? folded("Thinking", side.thinking) : null,
      raw && !Array.isArray(raw) && raw !== shownText(side) ? folded("Raw output", raw) : null,
    );
    put(...more(side, before, index));
    return box;
  }

  // The probability of each option among all, from the log-probabilities that the run ranked.
  function shares(example, side) {
    if (example.kind === "yes_no" && side.p_yes !== undefined) return [1 - side.p_yes, side.p_yes];
    const divided = example.prompt?.perToken && side.option_tokens ? side.raw.map((value, at) => value / Math.max(1, side.option_tokens[at])) : side.raw;
    const top = Math.max(...divided);
    const odds = divided.map((value) => Math.exp(value - top));
    const all = odds.reduce((sum, each) => sum + each, 0);
    return odds.map((each) => each / all);
  }

  function logarithm(value, digits = 2) {
    if (!Number.isFinite(value)) return String(value);
    return value.toFixed(digits).replace(/^-(0\.0+)$/, "$1").replace("-", "−");
  }

  // An option's log p; over how many tokens, where that is recorded.
  function log(side, place) {
    const found = make("span", "log", logarithm(side.raw[place]));
    const tokens = side.option_tokens?.[place];
    if (tokens !== undefined) found.title = `log p of ${tokens} token${tokens === 1 ? "" : "s"}`;
    return found;
  }

  // The options with the label marked, every run's choice, and how likely each run took each option to be.
  function options(example, order, index) {
    const list = make("ol", "options");
    const weighed = new Map();
    for (const at of order) {
      const side = example.sides[at];
      if (side && side.state !== "error" && Array.isArray(side.raw) && side.raw.length === example.options.length) weighed.set(at, shares(example, side));
    }
    example.options.forEach((option, place) => {
      const takers = order.filter((at) => example.sides[at]?.state === "ok" && example.sides[at].choice === place);
      const gold = place === example.label;
      const letter = example.kind === "choice" ? make("span", "letter", String.fromCharCode(65 + (place % 26))) : null;
      const head = make("div", "option-head", letter, isolated("span", "option-text", option), gold ? make("span", "badge right", "label") : null);
      const runs = make("div", "option-runs");
      for (const at of order.filter((each) => weighed.has(each) || takers.includes(each))) {
        const share = weighed.get(at)?.[place];
        const word = gold ? "right" : example.label === null ? "" : "wrong";
        const who = make("div", "option-who", run(index, at), takers.includes(at) ? make("span", "chosen " + word, "chosen") : null);
        const cell = make("div", "option-run", who);
        if (share !== undefined) cell.append(meter(share, `of-run c${index.marks[at][1]}`), make("span", "share", `${(100 * share).toFixed(0)} %`), log(example.sides[at], place));
        runs.append(cell);
      }
      list.append(make("li", "option" + (gold ? " gold" : ""), head, runs.childElementCount ? runs : null));
    });
    return make("div", "", list, weighed.size ? make("p", "quiet legend", `Bars: each option's share of the probability of all${example.prompt?.perToken && [...weighed.keys()].every((at) => example.sides[at].option_tokens) ? ", by its log p a token" : ""}. The last number is its log p.`) : null);
  }

  return { card, options, meter, run, GRADED, SENTENCE };
})();
