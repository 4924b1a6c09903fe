import sys
from pathlib import Path


# The scripts import each other by name, as Python does for a script in their folder.
sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "experiments"))
