"""Which tests may notice a change of a line."""

import ast

#: A function: its file in the checkout and the line where it starts, with its decorators.
Function = tuple[str, int]


def enclosing_function(source: str, line: int) -> int | None:
    """Return the first line of the innermost function around a line, with its decorators; None outside."""
    found = None
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if start <= line <= (node.end_lineno or start):
                found = start if found is None else max(found, start)
    return found


def select_tests(
    functions: dict[str, list[Function]], seconds: dict[str, float], file: str, start: int | None
) -> list[str]:
    """Return the tests that call a function, the fastest first.

    Args:
        functions: Functions that each test calls.
        seconds: Duration of each test.
        file: File of the function, relative to the checkout.
        start: First line of the function; None for the tests that call any function of the file.
    """
    chosen = [
        test
        for test, called in functions.items()
        if any(f == file and (start is None or line == start) for f, line in called)
    ]
    return sorted(chosen, key=lambda test: (seconds.get(test, 0.0), test))
