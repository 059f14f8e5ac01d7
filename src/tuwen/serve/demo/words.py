"""The page's words in both languages."""

from __future__ import annotations

# Name → Chinese, English. The page looks them up itself, so that changing the language asks the server nothing.
WORDS: dict[str, tuple[str, str]] = {
    "other": ("English", "中文"),
    "greeting": ("给我看张图吧", "Show me a picture"),
    "hint": (
        "拖进来、粘贴、拍照或选择文件，一次可以放好几张；在图上拖出一个框，就能问框里的东西。",
        "Drag pictures in, paste, take or choose them, as many as you like; draw a box on one to ask what is in it.",
    ),
    "examples": ("试试这些", "Try one of these"),
    "placeholder": ("问点什么……", "Ask something…"),
    "send": ("发送", "Send"),
    "stop": ("停止", "Stop"),
    "add": ("添加图片", "Add pictures"),
    "camera": ("拍照", "Camera"),
    "shoot": ("拍下", "Take it"),
    "remove": ("移除", "Remove"),
    "drop": ("松手即可添加图片", "Drop to add the pictures"),
    "again": ("重新生成", "Regenerate"),
    "copy": ("复制", "Copy"),
    "copied": ("已复制", "Copied"),
    "seen": ("模型看到了什么", "What the model saw"),
    "attention": ("注意力", "Attention"),
    "settings": ("设置", "Settings"),
    "export": ("导出", "Export"),
    "clear": ("新对话", "New chat"),
    "close": ("关闭", "Close"),
    "waiting": ("正在看……", "Looking…"),
    "boxHint": ("在图上拖出一个框", "Drag a box on the picture"),
    "picture": ("图", "Picture "),
    "tokens": ("词元", "tokens"),
    "imageTokens": ("图片词元", "image tokens"),
    "textTokens": ("文本词元", "text tokens"),
    "seed": ("种子", "Seed"),
    "first": ("首字", "first"),
    "length": ("到达长度上限", "length limit"),
    "cancelled": ("已停止", "stopped"),
    "seenPictures": ("模型看到的图片", "Pictures as the model sees them"),
    "seenPrompt": ("提示词原文", "The exact prompt"),
    "notCut": ("这个模型的处理器不说明它怎样切图。", "This model's processor does not tell how it cuts pictures."),
    "control": ("控制符", "control"),
    "image": ("图片", "image"),
    "text": ("文本", "text"),
    "attentionTitle": ("每个词看着图上哪里", "Where each word looks"),
    "attentionWhich": (
        "所选各层、全部注意力头的平均。指向或点一个词，图上亮处是它注意的地方。它说明注意力落在哪里，不说明为什么这样答。",
        "Mean over all heads of the chosen layers. Point at a word: bright places are where it attends. "
        "It tells where attention goes, not why the word was said.",
    ),
    "attentionHeads": ("头", "heads"),
    "layers": ("层", "layers"),
    "allLayers": ("全部", "all"),
    "wholeAnswer": ("整个回答", "Whole answer"),
    "share": ("的注意力在图上", "of its attention is on the picture"),
    "computing": ("计算中……", "Computing…"),
    "temperature": ("温度（0 = 总取最可能的词）", "Temperature (0: the likeliest)"),
    "top_p": ("核采样 top-p", "Top-p"),
    "top_k": ("top-k", "Top-k"),
    "max_tokens": ("回答最长词元数", "Longest answer, tokens"),
    "seedHint": ("每次随机", "random"),
    "repetition_penalty": ("重复惩罚", "Repetition penalty"),
    "system": ("系统提示", "System prompt"),
    "modelDefault": ("模型默认", "model's default"),
    "private": (
        "图片与对话只在内存里，关掉页面就忘掉；网页不向外界发任何请求。",
        "Pictures and conversation stay in memory and are forgotten with the page; it asks nothing of the outside.",
    ),
    "notPicture": ("不是能用的图片", "not a picture that can be used"),
    "noCamera": ("无法打开摄像头", "The camera cannot be opened"),
}


def tables() -> dict[str, dict[str, str]]:
    """Words by language."""
    return {
        "zh": {name: chinese for name, (chinese, _) in WORDS.items()},
        "en": {name: english for name, (_, english) in WORDS.items()},
    }
