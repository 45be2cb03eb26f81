"""Texts on which HeadScope's tokenizer and the Python `tokenizers` package must agree.

Only characters that Unicode 14 assigns are used: PCRE2 10.42 knows no newer ones (a documented difference).
"""

import random
import sys
import unicodedata

HAND_WRITTEN = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", "\r", "\r\n", " \n ", "\n \n", "a", " a", "a ", "  a  ", "a\n", "\na",
    "Hello world", "Hello, world!", "Once upon a time, there was a little girl named Lily.",
    "Zoo", "zoo ZOO zOO", "The quick brown fox jumps over the lazy dog.",
    "It's we're they've I'm you'll he'd don't DON'T IT'S We'Re 'tis ''s 's't'll x'y 'S 'ſ 'K",
    "I'll've 'lls 'rex 've. 'd'd 'M'm",
    "1 12 123 1234 12345 1234567890 3.14159 1,000,000 0x1F 1e-9 ½ ² ③ Ⅷ ٣٤٥ १२३ 一二三 𝟘𝟙𝟚",
    "def f(x):\n    return x ** 2  # square\n\n\n\tif x != 3:\n\t\tpass\r\n",
    "for (int i = 0; i < n; ++i) { a[i] = b[i] + c[i]; }  // sum",
    '{"key": ["value", 1, null, true], "k\\u00e9y": "\\n"}', "<html><body class='x'>&nbsp;</body></html>",
    "https://example.org/a?b=c&d=%20e#f", "user@example.org", "C:\\path\\to\\file", "a_b_c __init__ ___ _ _a a_",
    "!!! ??? ... --- *** ### $$$ %%% ^^^ &&& ((( ))) [[[ ]]] {{{ }}} <<< >>> ||| ~~~ ``` \"\"\" ''' ;;; :::",
    "café naïve résumé Zürich Ångström", "cafe\u0301 nai\u0308ve re\u0301sume\u0301 Zu\u0308rich A\u030angstro\u0308m",
    "\u212b \u2126 \u1e9b\u0323 \ufb01 \u0958 \u09dc \u0f73 \u1100\u1161\u11a8 \u1100\u1161 \uac00\u11a8 e\u0323\u0301 e\u0301\u0323",
    "a\u0301\u0301\u0323\u0323 \u0301a \u0301 \u0344 \u0340 \u2adc \U0001d15e \ufb1f \u0387 \u037e",
    "Ελληνικά: Ο γρήγορος σκύλος", "Русский язык: быстрая лиса", "العَرَبِيَّة ١٢٣", "עִבְרִית שלום", "हिन्दी क्षत्रिय ड़",
    "ภาษาไทย ไม่มีช่องว่าง", "中文字符，没有空格。", "日本語のテキスト、カタカナ・ｶﾀｶﾅ", "한국어 텍스트", "ქართული ՀԱՅԵՐԵՆ አማርኛ ខ្មែរ",
    "😀 😀😀 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☃ 1️⃣ 👨🏿‍🚀", "a😀b 😀. 😀!", "𝒳𝓎𝓏 𐍈 𓀀 𠀀𠀁 🀄",
    "a\u00a0b\u00a0\u00a0c \u00a0 d", "a\u2003b\u2009c\u202fd\u3000e\u1680f\u205fg", "a\u200bb\u200cc\u200dd\ufeffe\u2060f\u00adg",
    "a\u0085b\u2028c\u2029d\u000be\u000cf", "\u180e a\u180eb", "\x00", "a\x00b", "\x00\x00 \x00", "\x01\x02\x1b[31m\x7f\x80\x9f",
    "\ufffd \ufffe \uffff \U0010ffff \ue000 \U000f0000", "\u202eabc\u202c \u2066x\u2069", "\ufeffstart",
    "<s>", "</s>", "<unk>", "<s>a</s>", "a<s>b", " <s> ", "<s><s></s>", "<s", "s>", "< s>", "<S>", "<0x41>", "<0x0A>a",
    "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftext", "<|padding|>x",
    "<|begin_of_text|>Hi<|eot_id|>", "▁", "▁▁", "▁a", "a▁b", " ▁ ▁", "Ġ", "Ġa", "Ċ", "ĠĠ", "â½ł",
    "aaaaaaaa", "ababababab", "    four", "        eight", " " * 23 + "x" + " " * 24 + "y" + " " * 25, "\n" * 7, "\t" * 5 + "x",
    "x" + " \n" * 4 + "y", "a  \n  b", "a \t b", "trailing   ", "   \n", "a\r\n\r\nb", "\r\r", "\n\r", "a\u0301" * 9, "e" + "\u0301\u0323" * 40,
]


def assigned(code):
    """Whether Unicode 14 knows the character, so that both sides can treat it alike."""
    return unicodedata.category(chr(code)) not in ("Cn", "Cs")


def every_character():
    """All assigned characters but most of CJK, Hangul and private use, each between a letter and a digit."""
    codes = [c for c in range(sys.maxunicode + 1) if assigned(c) and unicodedata.category(chr(c)) != "Co"]
    codes = [c for c in codes if not (0x3400 <= c <= 0x9FFF or 0xAC00 <= c <= 0xD7A3 or 0x17000 <= c <= 0x18CFF
                                      or 0x20000 <= c <= 0x3FFFF) or c % 97 == 0]
    step = 512
    for i in range(0, len(codes), step):
        part = [chr(c) for c in codes[i:i + step]]
        yield " ".join(part)
        yield "a".join(part)
        yield "".join(part)


def decomposed_characters():
    """The canonical decomposition of every character that has one (of Hangul some), for NFC to compose again."""
    codes = [c for c in range(sys.maxunicode + 1) if assigned(c) and not (0xAC00 <= c <= 0xD7A3 and c % 61)]
    changed = [d for d in (unicodedata.normalize("NFD", chr(c)) for c in codes) if len(d) > 1]
    for i in range(0, len(changed), 256):
        yield "".join(changed[i:i + 256])
        yield " ".join(changed[i:i + 256])


def random_texts(count, seed):
    """Mixtures of scripts, spaces, marks, specials and broken-up words."""
    rng = random.Random(seed)
    blocks = [(0x20, 0x7E), (0x20, 0x7E), (0x61, 0x7A), (0x30, 0x39), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF),
              (0x400, 0x4FF), (0x590, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1FFF),
              (0x2000, 0x206F), (0x2070, 0x218F), (0x3040, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xAD00), (0xFE00, 0xFFEF),
              (0x1F300, 0x1F6FF), (0x0, 0x1F), (0x80, 0x9F)]
    atoms = [" ", " ", "  ", "\n", "\t", "\r\n", "'s", "'LL", "▁", "<s>", "</s>", "<unk>", "<|endoftext|>", "<0x41>", "the",
             " and", "\u0301", "\u200d", "   ", "<m>", "<n>", "<w>", "yz", "\u00e9", "e\u0301", "12", "3456"]
    for _ in range(count):
        pieces = []
        for _ in range(rng.randrange(1, 24)):
            if rng.random() < 0.4:
                pieces.append(rng.choice(atoms))
                continue
            low, high = rng.choice(blocks)
            for _ in range(rng.randrange(1, 6)):
                code = rng.randint(low, high)
                if assigned(code):
                    pieces.append(chr(code))
        yield "".join(pieces)


def corpus_texts(path, count, seed):
    """Passages of a corpus, cut anywhere."""
    text = path.read_text(encoding="utf-8")
    rng = random.Random(seed)
    for _ in range(count):
        begin = rng.randrange(len(text))
        yield text[begin:begin + rng.randrange(1, 700)]
