"""Every color has a counterpart on a dark ground, and text in it can be read on either."""

from trl_forking.writing import colors


def compute_luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_color_has_a_counterpart_with_contrast_for_text():
    for light, (role, dark) in colors.VARIABLES.items():
        assert getattr(colors, role.upper()) == light
        if role not in ("rule", "other"):  # those are lines and bars
            assert 1.05 / (compute_luminance(light) + 0.05) >= 4.5, role
            assert (compute_luminance(dark) + 0.05) / (compute_luminance("#1a1a1e") + 0.05) >= 4.5, role


def test_every_color_has_a_role():
    named = {value for name, value in vars(colors).items() if name.isupper() and isinstance(value, str)}
    assert named == set(colors.VARIABLES) and len({dark for _, dark in colors.VARIABLES.values()}) == len(named)
