"""How the files of a converted backbone are written: the same bytes from the same content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# The release whose layout config.json has. Without it the library takes every local tokenizer for a faulty one of
# Mistral's, and says so.
LAYOUT_OF = "4.57.1"


def write_json(file: Path, content: Any) -> None:
    """JSON with sorted keys in UTF-8."""
    file.write_text(json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1) + "\n", encoding="utf-8")
