// What opens beside or over the conversation: settings, what the model saw, attention, a picture in full.

const panelTitle = h('h2');
const panelBody = h('div.body');
const panel = h('aside.panel', { hidden: true }, h('header', panelTitle, button('close', closePanel)), panelBody);
const overlay = h('div.overlay', { hidden: true, onclick: (event) => { if (event.target === overlay) closeOverlay(); } });
let onOverlayClosed = null;
let redrawPanel = null;

function openPanel(title, draw) {
  panelTitle.dataset.wordtext = title;
  redrawPanel = () => { say(panelTitle); panelBody.replaceChildren(...[draw()].flat()); };
  redrawPanel();
  panel.hidden = false;
}

function closePanel() { panel.hidden = true; redrawPanel = null; }

function openOverlay(child, closed = null) {
  overlay.replaceChildren(child, button('close', closeOverlay, { kind: 'round' }));
  onOverlayClosed = closed;
  overlay.hidden = false;
}

function closeOverlay() {
  overlay.hidden = true;
  overlay.replaceChildren();
  onOverlayClosed?.();
  onOverlayClosed = null;
}

addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  if (!overlay.hidden) closeOverlay();
  else closePanel();
});

/** A picture in full, to draw a box on. */
function openPicture(name, boxes = []) {
  const stage = new Stage(name, { onbox: (box) => { closeOverlay(); addRegion(name, box); } });
  stage.setBoxes([...boxes, ...regionsOn(name)]);
  // Small ones are enlarged, so that fingers can draw on them.
  stage.image.decode().then(() => {
    const { naturalWidth: width, naturalHeight: height } = stage.image;
    stage.image.style.width = `${width * Math.min(3, 0.9 * innerWidth / width, 0.8 * innerHeight / height)}px`;
  });
  openOverlay(h('div.full', stage.element, h('p', { 'w:text': 'boxHint' })));
}

function openSettings() {
  const number = (name, attributes, hint) => h('label.setting',
    h('span', { 'w:text': name }),
    h('input', {
      type: 'number', name, value: state.settings[name] ?? '', 'w:placeholder': hint ?? 'modelDefault', ...attributes,
      oninput: (event) => { state.settings[name] = event.target.value; },
    }));
  const remember = (event) => { state.system = event.target.value; };
  openPanel('settings', () => [
    number('temperature', { min: 0, max: 5, step: 0.1 }),
    number('top_p', { min: 0.01, max: 1, step: 0.05 }),
    number('top_k', { min: 1, step: 1 }),
    number('repetition_penalty', { min: 0.5, max: 3, step: 0.05 }),
    number('max_tokens', { min: 1, step: 1 }),
    number('seed', { step: 1 }, 'seedHint'),
    h('label.setting.tall', h('span', { 'w:text': 'system' }),
      h('textarea', { rows: '4', 'w:placeholder': 'modelDefault', oninput: remember }, state.system)),
    h('p.soft', { 'w:text': 'private' }),
    h('p.soft', `图文 Tuwen ${props.version}`),
  ]);
}

async function openAnswer(title, kind, turn, speaker, draw) {
  openPanel(title, () => h('p.soft', { 'w:text': 'computing' }));
  const mine = redrawPanel;
  let drawn;
  try {
    const found = await ask(kind, { turn, speaker });
    drawn = () => draw(found);
  } catch (error) {
    drawn = () => h('p.wrongly', error.message);
  }
  if (redrawPanel === mine) openPanel(title, drawn);
}

function drawSeen(found) {
  const count = (name, value) => h('div.count', h('b', value.toLocaleString('en')), h('span', { 'w:text': name }));
  const pictures = found.pictures.map((picture) => h('figure',
    picture.tiles && h('div.tiles', { style: `--columns: ${picture.columns}` },
      picture.tiles.map((tile) => h('img', { src: tile, alt: '' }))),
    h('figcaption', picture.tiles ? `${picture.size} → ${picture.tiling} → ${picture.tokens} ` : picture.size,
      picture.tiles && h('span', { 'w:text': 'imageTokens' }))));
  return [
    h('div.counts',
      count('tokens', found.tokens),
      count('imageTokens', found.imageTokens),
      count('textTokens', found.tokens - found.imageTokens)),
    pictures.length > 0 && h('h3', { 'w:text': 'seenPictures' }),
    !found.cut && h('p.soft', { 'w:text': 'notCut' }),
    ...pictures,
    h('h3', { 'w:text': 'seenPrompt' }),
    h('p.key', ['control', 'image', 'text'].map((kind) => h(`span.${kind}`, { 'w:text': kind }))),
    h('div.prompt', found.spans.map((span) => h(`span.${span.kind}`, span.text))),
  ].filter(Boolean);
}

function drawAttention(found) {
  const maps = found.pictures.map((picture) => Uint8Array.from(atob(picture.maps), (sign) => sign.charCodeAt(0)));
  const stages = found.pictures.map((picture) => new Stage(picture.name));
  const canvases = stages.map((stage) => { const canvas = h('canvas.heat'); stage.layer.append(canvas); return canvas; });
  const share = h('p.share');
  let [group, chosen] = [0, null];
  function show(which) {
    const all = found.words.map((_, number) => number);
    const numbers = which == null ? all : [which];
    found.pictures.forEach((picture, index) => {
      paint(canvases[index], picture, maps[index], numbers.map((number) => group * found.words.length + number));
    });
    const shares = numbers.map((number) => found.pictures.reduce((sum, one) => sum + one.shares[group][number], 0));
    const mean = shares.reduce((sum, one) => sum + one, 0) / shares.length;
    const shown = which == null ? word('wholeAnswer') : found.words[which].trim() || '␣';
    share.replaceChildren(h('b', shown), ` ${(100 * mean).toFixed(1)}% ${word('share')}`);
    spans.forEach((span, number) => span.classList.toggle('lit', number === which));
  }
  const spans = found.words.map((text, number) => h('span', { tabindex: '0',
    onpointerenter: () => show(number), onpointerleave: () => show(chosen), onfocus: () => show(number),
    onclick: () => { chosen = chosen === number ? null : number; show(chosen); } }, text));
  const name = ([first, last], index) => (index ? [...new Set([first, last])].join('–') : word('allLayers'));
  const choices = found.groups.map((range, index) => h('button.choice', { type: 'button', onclick: () => choose(index) },
    name(range, index)));
  function choose(index) {
    group = index;
    choices.forEach((choice, number) => choice.classList.toggle('lit', number === index));
    show(chosen);
  }
  choose(0);
  return [
    h('p.soft', { 'w:text': 'attentionWhich' }),
    h('p.soft', `${found.layers} ${word('layers')} × ${found.heads} ${word('attentionHeads')}`),
    h('div.layers', h('span', { 'w:text': 'layers' }), choices),
    ...stages.map((stage) => stage.element), share, h('div.words', spans),
  ];
}

/** Levels of the chosen words as a veil: dark where nobody looks, clear and warm where they do. */
function paint(canvas, { rows, columns }, map, numbers) {
  const size = rows * columns;
  const level = new Float32Array(size);
  for (const number of numbers) {
    for (let cell = 0; cell < size; cell += 1) level[cell] += map[number * size + cell];
  }
  const peak = Math.max(...level, 1);
  [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext('2d');
  const veil = context.createImageData(columns, rows);
  level.forEach((value, cell) => {
    const heat = value / peak;
    veil.data.set([255 * Math.min(1, 1.6 * heat), 150 * heat ** 2, 40 * (1 - heat), 190 - 120 * heat], 4 * cell);
  });
  context.putImageData(veil, 0, 0);
}
