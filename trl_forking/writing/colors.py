"""One palette for all pictures. A color has a role, and the same thing has the same color in every picture."""

INK = "#22303c"
"""Titles and labels."""
MUTED = "#5c6b7a"
"""Names of axes, notes, marks of things beside the point."""
RULE = "#d9dee4"
"""Lines of the grid."""
FORK = "#c93a4f"
"""Forking tokens, and nothing else."""
OTHER = "#8d99ae"
"""Other tokens, the mean over all tokens, and what a picture compares with."""
ACCENT = "#1d3557"
"""Thresholds, and the one thing that a picture is about where that is not a set of tokens."""
REWARD = "#1b6b43"
"""Rewards and right answers."""

VARIABLES = {
    INK: ("ink", "#eceae5"),
    MUTED: ("muted", "#a9b1bb"),
    RULE: ("rule", "#34373d"),
    FORK: ("fork", "#ef7080"),
    OTHER: ("other", "#7d8aa0"),
    ACCENT: ("accent", "#8fb8e8"),
    REWARD: ("reward", "#7fd1a3"),
}
"""For each color the name of its role, and the color of that role on a dark ground."""
