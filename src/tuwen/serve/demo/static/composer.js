// Where questions are written: text, pictures that wait to be sent, the camera, boxes to ask about.

const textarea = h('textarea', { rows: '1', 'w:placeholder': 'placeholder', 'w:title': 'placeholder' });
const pendingRow = h('div.pending');
const KINDS = 'image/png,image/jpeg,image/webp,image/gif,image/bmp';
const chooser = h('input', { type: 'file', accept: KINDS, multiple: true, hidden: true });
const sendButton = button('send', () => (state.view.busy ? trigger('stop') : send()), { kind: 'send' });
const composer = h('div.composer',
  pendingRow,
  h('div.line',
    button('add', () => chooser.click(), { symbol: 'image' }),
    button('camera', openCamera),
    textarea,
    sendButton),
  chooser);

chooser.addEventListener('change', () => { addFiles([...chooser.files]); chooser.value = ''; });
textarea.addEventListener('input', fitText);
textarea.addEventListener('keydown', (event) => {
  // While a word is being composed, Enter chooses it.
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
});
document.addEventListener('paste', (event) => {
  const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith('image/'));
  if (files.length) { event.preventDefault(); addFiles(files); }
});
document.addEventListener('dragover', (event) => {
  if (![...(event.dataTransfer?.types ?? [])].includes('Files')) return;
  event.preventDefault();
  element.classList.add('dropping');
});
document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) element.classList.remove('dropping'); });
document.addEventListener('drop', (event) => {
  element.classList.remove('dropping');
  if (event.dataTransfer?.files.length) { event.preventDefault(); addFiles([...event.dataTransfer.files]); }
});

function fitText() {
  textarea.style.height = 'auto';
  textarea.style.height = `${Math.min(textarea.scrollHeight, 180)}px`;
}

async function addFiles(files) {
  for (const file of files) {
    try {
      await addPicture(file);
    } catch {
      note(`${file.name}: ${word('notPicture')}`);
    }
  }
}

async function addPicture(blob) {
  const data = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = reject;
    reader.readAsDataURL(blob);
  });
  const url = URL.createObjectURL(blob);
  const image = new Image();
  image.src = url;
  await image.decode();
  const name = `p${state.pictures.size + 1}-${Math.random().toString(36).slice(2, 8)}`;
  state.pictures.set(name, { url, data });
  state.pending.push(name);
  showPending();
  textarea.focus();
}

function showPending() {
  pendingRow.replaceChildren(...state.pending.map((name) => {
    const stage = new Stage(name, { onbox: (box) => addRegion(name, box), onclick: () => openPicture(name) });
    stage.setBoxes(regionsOn(name), 'region');
    return h('div.thumb', stage.element, button('remove', () => removePending(name), { symbol: 'close', kind: 'round' }));
  }));
}

function removePending(name) {
  state.pending = state.pending.filter((one) => one !== name);
  state.regions = state.regions.filter((region) => region.picture !== name);
  showPending();
}

const regionsOn = (name) => state.regions.filter((region) => region.picture === name)
  .map(({ box }) => ({ box, label: '', colour: 'var(--accent)' }));

/** Write a box into the question; its markup is made where the model's is read. */
async function addRegion(picture, box) {
  try {
    const { markup } = await ask('markup', { picture, box });
    const all = [...state.view.turns.flatMap((turn) => turn.pictures), ...state.pending];
    const number = all.indexOf(picture) + 1;
    const named = number < all.length ? `${word('picture')}${number} ` : '';
    textarea.setRangeText(named + markup, textarea.selectionStart, textarea.selectionEnd, 'end');
    state.regions.push({ picture, box });
    showPending();
    showRegions();
    fitText();
    textarea.focus();
  } catch (error) {
    note(error.message);
  }
}

function send(text = textarea.value) {
  text = text.trim();
  if (state.view.busy || (!text && !state.pending.length)) return;
  const pictures = Object.fromEntries(state.pending.map((name) => [name, state.pictures.get(name).data]));
  const target = state.regions.at(-1)?.picture ?? '';
  state.unsent = { text, pending: state.pending, regions: state.regions };
  trigger('send', { text, pictures, target, settings: state.settings, system: state.system });
  [state.pending, state.regions] = [[], []];
  textarea.value = '';
  fitText();
  showPending();
  showRegions();
}

async function openCamera() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
  } catch {
    // Without https a phone gives no stream, but its own camera.
    if (matchMedia('(pointer: coarse)').matches) {
      const camera = h('input', { type: 'file', accept: 'image/*', capture: 'environment' });
      camera.addEventListener('change', () => addFiles([...camera.files]));
      camera.click();
    } else note(word('noCamera'));
    return;
  }
  const video = h('video', { autoplay: true, playsinline: true, muted: true });
  video.srcObject = stream;
  const shoot = button('shoot', async () => {
    const canvas = h('canvas', { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext('2d').drawImage(video, 0, 0);
    closeOverlay();
    await addPicture(await new Promise((resolve) => { canvas.toBlob(resolve, 'image/jpeg', 0.92); }));
  }, { label: true, kind: 'primary', symbol: 'camera' });
  openOverlay(h('div.camera', video, shoot), () => stream.getTracks().forEach((track) => track.stop()));
}
