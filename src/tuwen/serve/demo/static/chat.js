// The conversation, and all of the page around it.

class ReplyView {
  constructor(turn, speaker) {
    this.stages = [];
    this.said = h('div.said');
    this.figure = h('div.figure');
    this.state = h('span.state');
    const act = (title, kind, draw) => () => openAnswer(title, kind, turn, speaker, draw);
    this.copy = button('copy', () => navigator.clipboard.writeText(this.plain).then(() => note(word('copied'))));
    this.again = button('again', () => trigger('again', { settings: state.settings, system: state.system }));
    this.acts = h('div.acts', this.copy, this.again,
      button('seen', act('seen', 'seen', drawSeen), { label: true, symbol: 'eye' }),
      button('attention', act('attentionTitle', 'attention', drawAttention), { label: true, symbol: 'heat' }));
    const name = props.models.length > 1 ? h('h3', props.models[speaker]) : null;
    this.element = h('article.reply', name, this.said, this.figure, h('footer', this.acts, this.state));
  }

  update(reply, turn, last) {
    const now = JSON.stringify([reply, turn.figure, turn.seed, last, state.language]);
    if (now === this.shown) return;
    this.shown = now;
    this.plain = reply.segments.map((segment) => segment.text).join('');
    this.said.replaceChildren(...words(reply.segments, reply.boxes, () => this.stages));
    if (!reply.done) this.said.append(h('span.caret', reply.segments.length ? '' : word('waiting')));
    if (reply.error) this.said.append(h('p.wrongly', reply.error));
    this.draw(reply.boxes, turn.figure);
    // The words that were pointed at are gone.
    this.stages.forEach((stage) => stage.light([]));
    this.acts.hidden = !reply.done;
    this.again.hidden = !last;
    const parts = [`${reply.tokens} ${word('tokens')}`, `${reply.seconds} s`];
    if (reply.first != null) parts.push(`${word('first')} ${reply.first} s`);
    if (reply.done && !turn.greedy) parts.push(`${word('seed').toLowerCase()} ${turn.seed}`);
    if (['length', 'cancelled'].includes(reply.reason)) parts.push(word(reply.reason));
    this.state.textContent = parts.join(' · ');
  }

  draw(boxes, figure) {
    if (!boxes.length || !figure) { this.figure.replaceChildren(); this.stages = []; return; }
    if (this.stages[0]?.name !== figure) {
      const onclick = () => openPicture(figure, this.boxes);
      this.stages = [new Stage(figure, { onbox: (box) => addRegion(figure, box), onclick })];
      this.figure.replaceChildren(this.stages[0].element);
    }
    this.boxes = boxes;
    this.stages[0].setBoxes(boxes);
  }
}

class TurnView {
  constructor(turn, place) {
    const own = turn.pictures.map((name) => {
      const boxes = name === turn.figure ? turn.boxes : [];
      const stage = new Stage(name, { onbox: (box) => addRegion(name, box), onclick: () => openPicture(name, boxes) });
      stage.setBoxes(boxes);
      return stage;
    });
    this.stages = own;
    this.replies = turn.replies.map((_, speaker) => new ReplyView(place, speaker));
    const text = turn.segments.length > 0 && h('div.text', words(turn.segments, turn.boxes, () => own));
    this.element = h('section.turn',
      h('div.question', own.length > 0 && h('div.shots', own.map((stage) => stage.element)), text),
      h('div.replies', this.replies.map((reply) => reply.element)));
  }

  update(turn, last) {
    this.replies.forEach((view, speaker) => view.update(turn.replies[speaker], turn, last));
  }
}

let turnViews = [];
const turnList = h('div.turns');
const greeting = h('div.greeting',
  h('div.mark', '图文'), h('h1', { 'w:text': 'greeting' }), h('p', { 'w:text': 'hint' }),
  props.examples.length > 0 && h('h2', { 'w:text': 'examples' }),
  h('div.examples', props.examples.map((example) => {
    const picture = h('img', { src: example.picture, alt: '' });
    const made = h('button.example', { type: 'button', onclick: () => tryExample(example) }, picture, h('span'));
    made.example = example;
    return made;
  })));
const main = h('main', greeting, turnList);
const languageButton = h('button.quiet', { type: 'button', 'data-name': 'language', onclick: switchLanguage },
  h('span', { 'w:text': 'other' }));
const header = h('header.bar',
  h('div.title', h('b', '图文'), h('span', props.models.join(' · '))),
  button('clear', () => trigger('forget'), { label: true }),
  button('export', exportPage, { label: true }),
  button('settings', openSettings, { label: true, symbol: 'gear' }),
  languageButton);

async function tryExample(example) {
  await addPicture(await fetchData(example.picture));
  send(example[state.language]);
}

/** The bytes of a data: URL. */
function fetchData(url) {
  const [head, text] = url.split(',');
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(';')[0] });
}

async function exportPage() {
  try {
    const { html } = await ask('export', {});
    const url = URL.createObjectURL(new Blob([html], { type: 'text/html' }));
    const link = h('a', { href: url, download: 'tuwen-conversation.html' });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  } catch (error) {
    note(error.message);
  }
}

function switchLanguage() {
  state.language = state.language === 'zh' ? 'en' : 'zh';
  history.replaceState(null, '', state.language === 'en' ? '#en' : location.pathname);
  showLanguage();
}

function showLanguage() {
  document.documentElement.lang = state.language;
  say(element);
  greeting.querySelectorAll('.example').forEach((one) => { one.lastChild.textContent = one.example[state.language]; });
  showView();
  redrawPanel?.();
}

function showRegions() {
  for (const view of turnViews) view.stages.forEach((stage) => {
    stage.layer.querySelectorAll('.region').forEach((frame) => frame.remove());
    const sketch = new Stage(stage.name);
    sketch.setBoxes(regionsOn(stage.name), 'region');
    stage.layer.append(...sketch.frames);
  });
}

function showView() {
  const { turns, busy } = state.view;
  const atEnd = main.scrollHeight - main.scrollTop - main.clientHeight < 120;
  if (turns.length < turnViews.length) { turnViews = []; turnList.replaceChildren(); }
  const fresh = turns.length > turnViews.length;
  turns.slice(turnViews.length).forEach((turn) => {
    const view = new TurnView(turn, turnViews.length);
    turnViews.push(view);
    turnList.append(view.element);
  });
  turns.forEach((turn, place) => turnViews[place].update(turn, place === turns.length - 1 && !busy));
  greeting.hidden = turns.length > 0;
  element.classList.toggle('begun', turns.length > 0);
  sendButton.replaceChildren(icon(busy ? 'stop' : 'send'));
  sendButton.dataset.wordtitle = busy ? 'stop' : 'send';
  sendButton.dataset.name = busy ? 'stop' : 'send';
  say(sendButton);
  if (turns.length && (atEnd || fresh)) main.scrollTop = main.scrollHeight;
}

function refused(value) {
  note(value.refused);
  if (!state.unsent || textarea.value || state.pending.length) return;
  // What was refused can be mended and sent again.
  textarea.value = state.unsent.text;
  [state.pending, state.regions] = [state.unsent.pending, state.unsent.regions];
  showPending();
}

element.classList.add('tw');
element.replaceChildren(
  header,
  h('div.middle', h('div.column', main, composer), panel),
  overlay,
  h('div.dropzone', { 'w:text': 'drop' }),
  noteLine,
);
watch('value', () => {
  state.view = props.value;
  showView();
  if (props.value.refused) refused(props.value);
});
showLanguage();
