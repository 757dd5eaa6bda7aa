"""Texts that mean something to a shell, a terminal, a spreadsheet, Slurm or a file system."""

from __future__ import annotations

BAD_TEXTS = [
    *("", " ", ".", "..", "../../etc/passwd", "/etc/passwd", "a/../../b", "a\\..\\b"),
    *("-rf", "--help", "-", "~", "~root", "*", "?", "[a]", "{}", "{0}", "{p.__class__}"),
    *("%s", "%j", "%A_%a", "%u", "%%", "%n", "$(touch PWNED)", "`touch PWNED`", "; touch PWNED"),
    *("| touch PWNED", "& touch PWNED", "&& x", "> PWNED", "$HOME", "${IFS}", "a b", "a\tb"),
    *("a'b", 'a"b', "a\\", "!!", "#x", "=1+1", "+1", "@SUM(1)", "=cmd|' /C calc'!A0"),
    *("a\nb", "a\rb", "x\n#SBATCH --uid=0", "x\ntouch PWNED #", "\x1b[2J", "\x1b]0;t\x1b\\"),
    *("[red]x[/red]", "\u202eabc", "\u2028", "\ufeff", "\xe9", "e\u0301", "\U0001f4a5"),
    *("A" * 256, "A" * 5000, "<script>alert(1)</script>", "<!--", "javascript:alert(1)"),
    *("__proto__", "constructor", "__class__", "null", "true", "NaN", "1e999", "0x10", "1_000"),
    *(
        "१२",
        "{p0}",
        "'{p0}'",
        '"',
        "'",
        "\\'",
        "''",
        "a[$(touch PWNED)]",
        "\n",
        "\\\n",
        "$'\\x41'",
    ),
]
"""Each may be the value of a hyperparameter, and must arrive as it is."""

NO_TEXTS = ["a\0b", "\x1b]0;t\x07", "\x9b31m", "\x7f", "\x85"]
"""Texts that a spec may not hold."""

STEERS = [
    "\x1b",
    "\x07",
    "\x08",
    "\x7f",
    "\x9b",
    "\u202e",
    "\u2066",
    "\u200b",
    "\ufeff",
    "\u2028",
    "\r",
]
"""Characters that no command may pass on to a terminal."""
