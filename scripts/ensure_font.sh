#!/bin/sh
# Chinese pictures need a Chinese font. Install one where that is possible, else say how.
set -u
font() { .venv/bin/python -c 'from tuwen.data.synth.fonts import find_font; print(find_font())' 2>/dev/null; }
if font >/dev/null; then exit 0; fi
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    echo "installing a Chinese font (fonts-noto-cjk)"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq fonts-noto-cjk >/dev/null 2>&1
fi
font >/dev/null || echo "no Chinese font was found: install fonts-noto-cjk, or set TUWEN_FONT to a .ttf, .otf or .ttc file"
exit 0
