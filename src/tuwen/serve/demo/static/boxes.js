// A picture with boxes on it, on which new ones can be drawn; and words in the colours of their boxes.

const FAR = 6;

class Stage {
  /** `onbox(box)` is called with left, top, right, bottom as fractions; `onclick()` where nothing was drawn. */
  constructor(name, { onbox, onclick } = {}) {
    this.name = name;
    this.frames = [];
    this.layer = h('div.layer');
    this.image = h('img', { src: state.pictures.get(name)?.url ?? '', alt: '', draggable: 'false' });
    this.element = h('div.stage', { 'data-picture': name, 'w:title': onbox ? 'boxHint' : '' }, this.image, this.layer);
    if (onbox) this.listen(onbox, onclick);
  }

  setBoxes(boxes, kind = '') {
    boxes.slice(this.frames.length).forEach((box) => {
      const frame = h(`i.frame.fresh${kind && `.${kind}`}`, { title: box.label || '' });
      frame.style.setProperty('--colour', box.colour);
      place(frame, box.box);
      if (box.label) frame.append(h('b', box.label));
      // A label above the picture's edge would be cut off.
      if (box.box[1] < 0.08) frame.classList.add('low');
      this.layer.append(frame);
      this.frames.push(frame);
    });
    this.frames.splice(boxes.length).forEach((frame) => frame.remove());
  }

  light(numbers) {
    this.layer.classList.toggle('dim', numbers.length > 0);
    this.frames.forEach((frame, number) => frame.classList.toggle('lit', numbers.includes(number)));
  }

  listen(onbox, onclick) {
    let start = null;
    const frame = h('i.frame.drawing');
    const at = (event) => {
      const { left, top, width, height } = this.layer.getBoundingClientRect();
      return [clamp((event.clientX - left) / width), clamp((event.clientY - top) / height)];
    };
    const box = (event) => {
      const [x, y] = at(event);
      return [Math.min(x, start.x), Math.min(y, start.y), Math.max(x, start.x), Math.max(y, start.y)];
    };
    const far = (event) => Math.hypot(event.clientX - start.left, event.clientY - start.top) > FAR;
    this.layer.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      const [x, y] = at(event);
      start = { x, y, left: event.clientX, top: event.clientY };
      this.layer.setPointerCapture(event.pointerId);
    });
    this.layer.addEventListener('pointermove', (event) => {
      if (!start || !far(event)) return;
      place(frame, box(event));
      this.layer.append(frame);
    });
    this.layer.addEventListener('pointerup', (event) => {
      if (!start) return;
      frame.remove();
      if (far(event)) onbox(box(event));
      else onclick?.();
      start = null;
    });
    this.layer.addEventListener('pointercancel', () => { start = null; frame.remove(); });
  }
}

const clamp = (value) => Math.min(1, Math.max(0, value));

function place(frame, [left, top, right, bottom]) {
  const style = { left, top, width: right - left, height: bottom - top };
  for (const [side, value] of Object.entries(style)) frame.style[side] = `${100 * value}%`;
}

/** A text's pieces; pointing at words lights up their boxes on the stages that `stages()` gives. */
function words(segments, boxes, stages) {
  return segments.map((segment) => {
    if (!segment.boxes.length) return document.createTextNode(segment.text);
    const light = (on) => () => stages().forEach((stage) => stage.light(on ? segment.boxes : []));
    const lights = { onpointerenter: light(true), onpointerleave: light(false), onfocus: light(true), onblur: light(false) };
    const made = h('mark', { tabindex: '0', ...lights }, segment.text || '▢');
    made.style.setProperty('--colour', boxes[segment.boxes[0]].colour);
    made.title = segment.boxes.map((number) => boxes[number].box.map((side) => side.toFixed(3)).join(', ')).join(' · ');
    return made;
  });
}
