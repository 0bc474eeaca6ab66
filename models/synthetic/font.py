"""The font of the captions: the characters of the phrase bank out of Noto Sans SC, so that no system font is needed.

`python -m models.synthetic.font` makes the subset again, after a change of the phrases, from the development package
pylopdf-fonts-zh-cn (SIL Open Font License 1.1, see assets/OFL.txt).
"""

from __future__ import annotations

import string
import sys
from pathlib import Path

SUBSET = Path(__file__).parent / "assets" / "NotoSansSC-subset.otf"
PUNCTUATION = "，。！？：；、（）《》“”‘’…—·～"


def make_subset(source: Path, target: Path, characters: frozenset[str]) -> None:
    """Write the glyphs of `characters`, ASCII and common punctuation; alternates and hints are left out."""
    from fontTools import subset

    options = subset.Options(
        hinting=False, layout_features=[], notdef_outline=True, name_IDs=[0, 1, 2, 3, 4, 6, 13, 14]
    )
    font = subset.load_font(str(source), options)
    worker = subset.Subsetter(options)
    worker.populate(text="".join(sorted(characters)) + string.printable.strip() + " " + PUNCTUATION)
    worker.subset(font)
    subset.save_font(font, str(target), options)


def _main() -> None:
    import pylopdf_fonts_zh_cn

    from models.synthetic.language import all_characters

    source = Path(pylopdf_fonts_zh_cn.__file__).parent / "NotoSansSC-Regular.otf"
    make_subset(source, SUBSET, all_characters())
    sys.stdout.write(f"{SUBSET}: {SUBSET.stat().st_size} bytes\n")


if __name__ == "__main__":
    _main()
