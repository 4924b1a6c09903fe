"""Drops from a wheel of bitsandbytes the libraries for other devices and for CUDA before 13: 43 MB become 7 MB.

python benchmarks/gpu/slim_wheel.py benchmarks/gpu/bundle/bitsandbytes-*.whl
"""

import io
import re
import sys
import zipfile
from pathlib import Path

from trl_forking.writing.files import write_atomically


NOT_NEEDED = re.compile(r"libbitsandbytes_(xpu|rocm|cuda1[0-2])\d*\.so$")


def slim(wheel: Path) -> None:
    """Write the wheel again without the libraries that are not needed."""
    smaller = io.BytesIO()
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(smaller, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            if not NOT_NEEDED.search(entry.filename):
                target.writestr(entry, source.read(entry), zipfile.ZIP_DEFLATED)
    write_atomically(wheel, smaller.getvalue())


if __name__ == "__main__":
    for name in sys.argv[1:]:
        slim(Path(name))
