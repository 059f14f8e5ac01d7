"""COCO captions: pictures of everyday scenes, described in one sentence.

Chen et al. 2015, "Microsoft COCO Captions: Data Collection and Evaluation Server".
"""

from __future__ import annotations

from tuwen.evaluate.benchmark import BENCHMARKS
from tuwen.evaluate.benchmarks._captions import Captions


@BENCHMARKS.register("coco_caption")
class CocoCaption(Captions):
    """COCO captions: Karpathy's test split, or a validation set."""

    name = "coco_caption"
    title = "COCO Caption"
    summary = "A caption in one sentence, compared with five that people wrote (CIDEr); METEOR and SPICE are left out."
    summary_zh = "一句话图片描述，与五条人工描述比较 (CIDEr)；不含需要 Java 的 METEOR 和 SPICE。"
    homepage = "https://cocodataset.org"
    files = {
        "coco_karpathy_test.json": "pictures and captions, as BLIP lists them or in COCO's layout; without it, COCO's "
        "own annotations/captions_val2014.json or annotations/captions_val2017.json",
        "val2014": "pictures; for val2017 the folder of that name",
    }
    references = (
        "coco_karpathy_test.json",
        "annotations/captions_val2014.json",
        "captions_val2014.json",
        "annotations/captions_val2017.json",
        "captions_val2017.json",
    )
    picture_folders = ("val2014", "val2017", "images", "images/val2014")
