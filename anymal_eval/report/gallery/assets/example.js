"use strict";
// One example in full: media, question, references, every run's answer, the prompt.
const AnyMALExample = (() => {
  const { make, isolated, block } = AnyMALText;

  // Answers that several people gave, as in VQA, with a bar of how many gave each.
  function counted(example, near) {
    const times = new Map();
    for (const each of example.references) times.set(each, (times.get(each) ?? 0) + 1);
    const most = Math.max(...times.values());
    const list = make("ul", most > 1 ? "references counted" : "references");
    for (const [each, count] of [...times].sort(([, one], [, other]) => other - one)) {
      const marks = near.get(each) ?? [];
      const text = isolated("span", "reference-text", each);
      list.append(most > 1
        ? make("li", "", text, AnyMALAnswers.meter(count / example.references.length), make("span", "count", `${count} of ${example.references.length}`), marks.length ? make("span", "nears", ...marks) : null)
        : make("li", "", text, ...marks));
    }
    return list;
  }

  function references(example, order, index) {
    if (example.options.length && !AnyMALAnswers.GRADED.includes(example.kind)) return AnyMALAnswers.options(example, order, index);
    if (example.references === null) return make("p", "quiet", "This split has no public answers.");
    const near = new Map();
    const unique = [...new Set(example.references)];
    for (const at of order) {
      const answer = example.sides[at]?.state === "error" ? "" : (example.sides[at]?.answer ?? "");
      const found = answer ? AnyMALWords.nearest(answer, unique) : null;
      const short = found && Math.min(found.from.length, found.to.length) < AnyMALAnswers.SENTENCE;
      if (!found || (short && found.edits)) continue;
      const mark = AnyMALAnswers.run(index, at);
      mark.classList.add("near");
      mark.title = `nearest to the answer of ${index.runs[at]}`;
      near.set(found.text, [...(near.get(found.text) ?? []), mark]);
    }
    return counted(example, near);
  }

  function asked(example, order, index) {
    const box = make("div", "asked");
    for (const [name, value] of Object.entries(example.context)) {
      if (value) box.append(make("h4", "minor", name), block(value, name));
    }
    const options = example.options.length && !AnyMALAnswers.GRADED.includes(example.kind);
    box.append(make("h4", "minor", options ? "Options" : "References"), references(example, order, index));
    return box;
  }

  function turn(message) {
    const box = make("div", "turn", make("h4", "minor", message.role));
    const words = make("pre", "words");
    words.dir = "auto";
    for (const part of message.parts) {
      words.append(typeof part === "string" ? make("span", "", part) : make("span", "token", `${part.kind} ${part.medium}: ${part.name}`));
    }
    box.append(words);
    return box;
  }

  // The prompts after the chat templates: what the models read, special tokens and media marked.
  function sent(example, index) {
    const silent = index.runs.filter((_, at) => example.sides[at] && !example.sent.some(({ runs }) => runs.includes(at)));
    const boxes = example.sent.map(({ runs, parts, tokens, special }) => {
      const words = make("pre", "words sent");
      words.dir = "auto";
      for (const [piece, marked] of parts) words.append(make("span", marked ? "token" : "", piece));
      words.tabIndex = 0;
      words.setAttribute("role", "region");
      words.setAttribute("aria-label", "Prompt after the chat template, " + runs.map((at) => index.runs[at]).join(", "));
      const names = runs.map((at) => AnyMALAnswers.run(index, at));
      const count = `${tokens.toLocaleString("en")} tokens, ${special.toLocaleString("en")} of them special or of media, which are marked`;
      return make("div", "turn", make("p", "quiet readers", ...names, make("span", "", count)), words);
    });
    const why = silent.length ? `Not recorded for ${silent.join(", ")}: a server or a Ray worker does not give it, and some models have no template.` : "";
    return make("div", "", make("h4", "minor", "After the chat template"), ...boxes, why ? make("p", "quiet", why) : null);
  }

  function prompt(example, index) {
    const box = make("details", "prompt", make("summary", "", "The exact prompt"));
    box.addEventListener("toggle", () => (opened = box.open));
    box.open = opened;
    if (example.prompt) {
      const { messages, prefix, candidates, how, frames } = example.prompt;
      box.append(...messages.map(turn));
      if (prefix) box.append(make("h4", "minor", "the answer begins"), block(prefix, "Beginning of the answer"));
      if (candidates.length) box.append(make("h4", "minor", "candidates"), block(candidates.join(" | "), "Candidates"));
      const read = index.reading ? `Read: ${index.reading}.` : "";
      box.append(make("p", "quiet", `${how[0].toUpperCase()}${how.slice(1)}${frames ? `; ${frames} frames of each clip` : ""}. ${read}`));
    } else {
      box.append(make("p", "note", "The words of this model are not known without loading it; the run's manifest holds their hash."));
    }
    box.append(sent(example, index));
    const others = index.runs.filter((_, at) => !index.sameWords[at]);
    if (others.length) box.append(make("p", "note", `The prompts of ${others.join(", ")} are not the same.`));
    return box;
  }

  let opened = false; // whether the prompt is open, which stays from one example to the next

  // The run that is compared with comes first, then the one that is judged, then all others.
  function ordered(index, [own, base]) {
    return [...new Set([base, own, ...index.runs.keys()])];
  }

  // Fills the element with an example; what was there before is gone, its players stopped.
  function show(element, example, index, pair = [0, index.base]) {
    const title = isolated("h3", "", example.id);
    title.id = "example-title";
    const key = example.key ? isolated("span", "badge", `key: ${example.key}`) : null;
    const groups = make("p", "groups", key, ...Object.entries(example.groups).map(([name, value]) => isolated("span", "badge", `${name.replaceAll("_", " ")}: ${value}`)));
    const [base, order] = [pair[1], ordered(index, pair)];
    const media = !example.media.length ? null : make("div", example.media.length > 1 ? "media several" : "media", ...example.media.map(AnyMALMedia.show));
    const cards = order.map((at) => AnyMALAnswers.card(example, at, base, index));
    const narrow = example.media.length === 1 && example.media[0].kind === "image" && example.media[0].width < 160;
    const compared = cards.some((each) => each.querySelector(".nearest"));
    const rule = make("p", "quiet marking", "Marked: ", make("span", "extra", "words that the nearest reference lacks"), " and ", make("span", "missing", "words that the answer lacks"), ". The nearest reference needs the fewest words added, removed or replaced, in lower case and without punctuation; of equal ones it is the first.");
    element.replaceChildren(
      make("div", "example-head", title, groups),
      ...(example.question ? [isolated("p", "question", example.question)] : []),
      make("div", "example-top " + (narrow ? "narrow" : media ? "wide" : ""), media, asked(example, order, index)),
      make("div", "answers", ...cards),
      ...(compared ? [rule] : []),
      prompt(example, index),
    );
    element.setAttribute("aria-labelledby", title.id);
  }

  return { show, wave: AnyMALMedia.wave };
})();
