"""What the lines of random programs of loops say, as text with `{x}` and `{y}` for operands of one shape."""

LENGTHS = (0, 1, 2, 3, 3, 4, 4, 5)
UNARY = (
    "xp.tanh({x})",
    "xp.sin({x})",
    "xp.sigmoid({x})",
    "xp.exp(-{x} * {x})",
    "xp.log1p({x} * {x})",
    "0.5 * {x}",
    "-{x}",
    "{x} * {x}",
    "({x} - 0.25)",
    "xp.sqrt(1.0 + {x} * {x})",
)
BINARY = (
    "({x} + {y})",
    "({x} + {y})",
    "({x} - {y})",
    "{x} * {y}",
    "xp.tanh({x} + {y})",
    "xp.sin({x}) * {y}",
    "(0.9 * {x} + 0.1 * {y})",
    "xp.where({x} > {y}, {x}, 0.5 * {y})",
    "xp.where({x} > 0.2, xp.sin({y}), {x})",
    "xp.maximum({x}, {y})",
    "{x} / (1.5 + {y} * {y})",
)
SAME = (
    "xp.flip({x})",
    "xp.roll({x}, 1)",
    "xp.cumulative_sum({x}, axis=0)",
    "xp.softmax({x}, axis=0)",
    "({x} - xp.mean({x}, axis=0))",
    "{x}[::-1]",
    "xp.tanh(xp.sum({x})) * {x}",
    "xp.max({x}) * {x}",
)
JOINED = ("xp.concat([{x}[1:], {y}[:1]])", "xp.concat([{x}[:1], {y}[1:]])", "xp.concat([{y}[-1:], {x}[:-1]])")
REDUCED = (
    "xp.sum({x}, axis=0)",
    "xp.mean({x}, axis=0)",
    "{x}[0]",
    "{x}[-1]",
    "xp.sum({x} * {x}, axis=0)",
    "xp.max({x}, axis=0)",
)
KEYS = ("1:", ":-1", "::2", ":1", "-1:", "0:2")
MODES = ("add", "add", "add", "set", "set")
