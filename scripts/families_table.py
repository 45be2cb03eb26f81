#!/usr/bin/env python3
"""Writes docs/families.md from what the program says of itself.

    python scripts/families_table.py build/release/app/cli/headscope > docs/families.md
"""

import json
import subprocess
import sys

HEAD = """# Model families

Made by `scripts/families_table.py` from `headscope info --families --json`. A family is told by the config's `model_type`, or by
`architectures` where that is absent; what the last column names is refused in one sentence.

| family | what it is | sharing | positions | usual tokenizer | refused |
| --- | --- | --- | --- | --- | --- |
"""


def table(program):
    families = json.loads(subprocess.run([program, "info", "--families", "--json"], check=True, capture_output=True).stdout)
    keys = ("family", "description", "variants", "positions", "tokenizer", "refused")
    return HEAD + "".join("| " + " | ".join(one[key] for key in keys) + " |\n" for one in families)


if __name__ == "__main__":
    sys.stdout.write(table(sys.argv[1]))
