// Elements, words and icons. All text goes into text nodes or attributes, never into markup.

const state = {
  language: location.hash === '#en' ? 'en' : 'zh',
  pictures: new Map(),
  pending: [],
  regions: [],
  settings: { max_tokens: '512' },
  system: '',
  view: { turns: [], busy: false },
};

const word = (name) => props.words[state.language][name];

/** An element: `h('p.soft', {onclick}, 'text', child)`; attributes that begin with `w:` take a word by its name. */
function h(kind, ...rest) {
  const [tag, ...classes] = kind.split('.');
  const made = document.createElement(tag);
  made.className = classes.join(' ');
  const attributes = rest.length && rest[0]?.constructor === Object ? rest.shift() : {};
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (name.startsWith('w:')) { made.dataset[`word${name.slice(2)}`] = value; }
    else if (value !== false && value != null) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...rest.flat().filter((child) => child != null && child !== false));
  return say(made);
}

/** Put the words of the chosen language into an element and all below it. */
function say(root) {
  for (const one of [root, ...root.querySelectorAll('*')]) {
    const { wordtext, wordtitle, wordplaceholder } = one.dataset;
    if (wordtext) one.textContent = word(wordtext);
    if (wordtitle) { one.title = word(wordtitle); one.setAttribute('aria-label', word(wordtitle)); }
    if (wordplaceholder) one.placeholder = word(wordplaceholder);
  }
  return root;
}

const ICONS = {
  image: 'M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01',
  camera: 'M4 8h4l1.5-2.5h5L16 8h4v11H4zM12 16.5a3.25 3.25 0 1 0 0-6.5 3.25 3.25 0 0 0 0 6.5',
  send: 'M12 19V5M6 11l6-6 6 6',
  stop: 'M7 7h10v10H7z',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  again: 'M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6',
  eye: 'M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6',
  heat: 'M12 21a6 6 0 0 0 6-6c0-4-3.5-5-4-10-3 1.5-5 4-4.5 7-1-.4-1.6-1.3-1.7-2.3C6.6 11 6 13 6 15a6 6 0 0 0 6 6',
  gear: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 9.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5M9 19.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5',
  export: 'M12 4v11M7 10.5l5 5 5-5M5 20h14',
  clear: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6L6 18',
};

function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

function button(name, onclick, { label = false, kind = 'quiet', symbol = name } = {}) {
  const text = label ? h('span', { 'w:text': name }) : null;
  return h(`button.${kind}`, { type: 'button', 'w:title': name, onclick, 'data-name': name }, icon(symbol), text);
}

let hideNote;
function note(text) {
  noteLine.textContent = text;
  noteLine.classList.add('shown');
  clearTimeout(hideNote);
  hideNote = setTimeout(() => noteLine.classList.remove('shown'), 6000);
}
const noteLine = h('div.note', { role: 'status' });

// Questions about the conversation, and what is answered to them.
let asked = 0;
const asking = new Map();
function ask(kind, values) {
  asked += 1;
  const number = asked;
  trigger('look', { kind, ask: number, ...values });
  return new Promise((resolve, reject) => asking.set(number, { resolve, reject }));
}
addEventListener('tuwen-answer', ({ detail }) => {
  const waiting = asking.get(detail.ask);
  asking.delete(detail.ask);
  if (waiting && detail.error) waiting.reject(new Error(detail.error));
  else if (waiting) waiting.resolve(detail);
});
