"""Flickr30k: captions in one sentence, on the test pictures of Karpathy's split.

Young et al. 2014, "From Image Descriptions to Visual Denotations".
"""

from __future__ import annotations

from tuwen.evaluate.benchmark import BENCHMARKS, Published
from tuwen.evaluate.benchmarks._captions import Captions


@BENCHMARKS.register("flickr30k")
class Flickr30k(Captions):
    """Flickr30k, Karpathy's test split, or its Chinese translation in the same layout."""

    name = "flickr30k"
    title = "Flickr30k (Karpathy test)"
    summary = "A caption in one sentence, compared with five that people wrote (CIDEr); METEOR and SPICE are left out."
    summary_zh = "一句话图片描述，与五条人工描述比较 (CIDEr)；不含需要 Java 的 METEOR 和 SPICE。"
    homepage = "https://shannon.cs.illinois.edu/DenotationGraph"
    files = {
        "flickr30k_karpathy_test.json": "pictures and their captions in COCO's layout (Qwen-VL's file)",
        "images": "pictures",
    }
    references = ("flickr30k_karpathy_test.json",)
    picture_folders = ("images", "flickr30k-images", "flickr30k_images")
    published = (
        Published(system="Qwen-VL", values={"CIDEr": 85.8}, source="Qwen-VL README", note="style qwen, zero-shot"),
        Published(system="Qwen-VL-Chat", values={"CIDEr": 81.0}, source="Qwen-VL README", note="style qwen, zero-shot"),
    )
